"""`storymem world`: look at Storyland, the world that the small model comes from, and get stories from it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast, get_args

import typer

from storymem.errors import SettingsError

if TYPE_CHECKING:
    from storymem.worlds.storyland import Split as SplitName

__all__ = ["app"]

app = typer.Typer(help="Storyland, the cartoon world of the small model: previews and stories.", no_args_is_help=True)

Seed = Annotated[int, typer.Option(help="Decides everything; another seed gives another one.")]
Split = Annotated[str, typer.Option(help="test: heroes and places that training never saw; train, validation.")]


@app.command()
def preview(
    output: Annotated[Path, typer.Option("-o", "--output", help="A .png for a contact sheet, an .mp4 to see it move.")],
    seed: Seed = 0,
    shots: Annotated[int, typer.Option(min=1, max=400, help="How many shots.")] = 20,
    size: Annotated[str, typer.Option(help="WIDTHxHEIGHT of each, multiples of 16.")] = "224x128",
    split: Split = "test",
) -> None:
    """Draw shots by lot, with nothing downloaded and no model: what the small model was taught from."""
    from storymem.media import write_png, write_video
    from storymem.worlds.storyland import FPS, caption, render, sample_shot
    from storymem.worlds.storyland.sheets import contact_sheet

    width, height = _size(size)
    specs = [sample_shot(seed * 1000 + index, _split(split)) for index in range(shots)]
    if output.suffix.lower() == ".png":
        columns = min(shots, 5)
        write_png(output, contact_sheet(specs, columns=columns, height=height, width=width))
    elif output.suffix.lower() == ".mp4":
        frames = (frame for spec in specs for frame in render([spec], 33, height, width)[0].permute(1, 0, 2, 3).numpy())
        write_video(output, frames, FPS)
    else:
        raise SettingsError(f"{output}: a preview is a .png or an .mp4; give the file one of these endings.")
    typer.echo(f"{output}: {shots} shot{'s' if shots > 1 else ''}, the first: {caption(specs[0])}")


@app.command()
def story(
    output: Annotated[
        Path, typer.Option("-o", "--output", help="The script: .yaml, or .json for the form of ST-Bench.")
    ],
    seed: Seed = 0,
    shots: Annotated[int, typer.Option(min=2, max=200, help="How many shots.")] = 8,
    heroes: Annotated[int, typer.Option(min=1, max=2, help="How many heroes.")] = 1,
    split: Split = "test",
    described: Annotated[
        bool,
        typer.Option("--cast", help="Write the cast with descriptions, by which a film keeps heroes best."),
    ] = False,
    truth: Annotated[Path | None, typer.Option(help="Also write what is really in every shot, as JSON.")] = None,
) -> None:
    """Write a story of Storyland as a script for `storymem generate`."""
    from storymem.cli.script import check_new, form_of, write_new
    from storymem.worlds.storyland import sample_story, stbench_script, story_script, story_truth

    form, _ = form_of(output, None)
    if described and form == "st-bench":
        raise SettingsError(f"--cast: the form of ST-Bench has no cast; name the script .yaml, not {output.name}.")
    if truth is not None:
        if truth.resolve() == output.resolve():
            raise SettingsError(f"--truth {truth}: is the script's own name; give the truth another one.")
        check_new(truth)  # before there is a script without its truth
    told = sample_story(seed, _split(split), shots=shots, heroes=heroes)
    write_new(output, stbench_script(told) if form == "st-bench" else story_script(told, cast=described))
    if truth is not None:
        write_new(truth, json.dumps(story_truth(told), indent=2) + "\n")
    typer.echo(f"{output}: {told.title}, {shots} shots")


def _size(text: str) -> tuple[int, int]:
    width, cross, height = text.lower().partition("x")
    if not (cross and width.isdecimal() and height.isdecimal()):
        raise SettingsError(f"--size {text}: write WIDTHxHEIGHT in pixels, such as 224x128.")
    return int(width), int(height)


def _split(text: str) -> SplitName:
    from storymem.worlds.storyland import Split

    if text not in get_args(Split):
        raise SettingsError(f"--split {text}: there are {', '.join(get_args(Split))}.")
    return cast("SplitName", text)
