"""`storymem data`: real videos into training data."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from storymem.cli.options import Device, parse_size

__all__ = ["app"]

app = typer.Typer(help="Turn real videos into training data.", no_args_is_help=True)

Folder = Annotated[Path, typer.Option("--output", "-o", help="Folder for the training data.", show_default=False)]


@app.callback()
def _root() -> None:
    """Turn real videos into training data."""


@app.command()
def prepare(
    footage: Annotated[
        list[Path] | None, typer.Argument(help="Videos, or folders of videos (looked through).", show_default=False)
    ] = None,
    output: Folder = Path("data"),
    size: Annotated[str, typer.Option(help="Width x height of a clip in pixels, multiples of 16.")] = "832x480",
    num_frames: Annotated[int, typer.Option(help="Frames of a clip, 4k + 1.")] = 81,
    fps: Annotated[int, typer.Option(help="Frames per second of a clip.")] = 16,
    encoder: Annotated[str, typer.Option(help="Says which clips are related: builtin, clip-vit-b32.")] = "builtin",
    scorer: Annotated[str, typer.Option(help="Says which clips are good: builtin, hpsv3, none.")] = "builtin",
    min_quality: Annotated[
        float | None, typer.Option(help="Drop clips scored below this.", show_default="the scorer's own")
    ] = None,
    similarity: Annotated[float, typer.Option(help="Clips less alike than this are not related.")] = 0.7,
    largest_group: Annotated[int, typer.Option(help="Related clips in a group at most.")] = 16,
    clips_per_shot: Annotated[int, typer.Option(help="Clips cut from one shot at most.")] = 1,
    device: Device = "auto",
    encode: Annotated[
        Path | None,
        typer.Option(help="A training configuration: also write the latents and prompt embeddings it needs."),
    ] = None,
) -> None:
    """Find shots, cut clips, drop bad ones, group related ones, and leave a place for captions.

    Write the captions into OUTPUT/clips.jsonl (OUTPUT/thumbnails shows the clips), then train, or run this again with
    --encode to prepare the latents ahead. Run again with more footage, it is added; captions stay.
    """
    from storymem.errors import MediaError, SettingsError
    from storymem.film.choosers import encoder_for, scorer_for
    from storymem.film.pipeline_maker import Runtime
    from storymem.settings import SamplingConfig
    from storymem.training.footage import FootageSettings
    from storymem.training.prepare import find_videos, prepare_footage

    if not footage and encode is None:
        raise SettingsError("there is nothing to do: give videos, or --encode with a training configuration.")
    left_out = 0
    videos: list[Path] = []
    if footage:
        width, height = parse_size(size)
        assert width is not None
        assert height is not None
        SamplingConfig(width=width, height=height, num_frames=num_frames, fps=fps)  # checks the numbers
        where = str(Runtime(device=device).resolve()[0])
        videos = find_videos(footage, output)
        report = prepare_footage(
            videos,
            output,
            FootageSettings(width, height, num_frames, fps),
            encoder=encoder_for(encoder, device=where),
            scorer=scorer_for(scorer, device=where),
            min_quality=min_quality,
            similarity=similarity,
            largest_group=largest_group,
            clips_per_shot=clips_per_shot,
            on_video=lambda path, count: typer.echo(f"{path}: {count} clips"),
            on_trouble=lambda message: typer.echo(message, err=True),
        )
        left_out = report.left_out
        typer.echo(
            f"{report.clips} clips in {output}: {report.groups} groups of related ones, {report.alone} alone; of "
            f"{report.shots} new shots {report.too_short} were too short and {report.too_bad} clips too bad."
        )
        if report.as_before:
            typer.echo(f"{report.as_before} of {len(videos)} videos had been prepared before.")
        if report.captioned < report.clips:
            typer.echo(f"{report.clips - report.captioned} clips wait for captions in {output / 'clips.jsonl'}.")
    if encode is not None:
        from storymem.training.config import load_config
        from storymem.training.stages import encode_footage

        folder = json.dumps(str(output), ensure_ascii=False)  # a name may mean something else in YAML
        count = encode_footage(load_config(encode, (f"data.folder={folder}",)))
        typer.echo(f"latents of {count} clips are in {output}.")
    if left_out:  # last, after all that can be done without them
        raise MediaError(
            f"{left_out} of {len(videos)} videos could not be read and were left out (named above): mend or replace "
            "them, then run the same command again to add them."
        )
