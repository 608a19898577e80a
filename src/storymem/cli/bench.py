"""`storymem bench`: make the films of a suite, score films whoever made them, and put systems side by side."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from storymem.cli.film_options import film_settings
from storymem.cli.options import (
    MACHINE,
    SAMPLING,
    Device,
    Dtype,
    LoraOption,
    ModelOption,
    OffloadOption,
    maker_of,
    parse_size,
    runtime_of,
    tools_of,
)
from storymem.errors import FilmError, SettingsError
from storymem.film.critics import NO_CRITIC
from storymem.settings import MAX_FPS

if TYPE_CHECKING:
    from storymem.bench.comparison import Comparison
    from storymem.film.film_settings import FilmSettings
    from storymem.film.pipeline_maker import PipelineShotMaker, Runtime
    from storymem.film.resolve import ModelRequest, ResolvedModel
    from storymem.film.tools import Tools
    from storymem.settings import MemoryConfig
    from storymem.story import Story

__all__ = ["app"]

app = typer.Typer(help="Measure films of many shots: ours, another system's, real ones.", no_args_is_help=True)

Output = Annotated[Path, typer.Option("--output", "-o", help="Folder of all films of the suite.", show_default=False)]
Processes = Annotated[int, typer.Option(min=1, help="How many work side by side.", rich_help_panel=MACHINE)]


def register_suites() -> None:
    """Make the suites of procedural worlds known to the bench, which itself knows none."""
    from storymem.bench.suites import register_suite

    register_suite("storyland", _storyland)


def _storyland(options: Any) -> Any:
    from storymem.worlds.storyland.suite import StorylandSuite

    return StorylandSuite(options)


@functools.cache
def _maker(request: ModelRequest, runtime: Runtime) -> PipelineShotMaker:
    """One model per process, whatever number of films it makes."""
    from storymem.film.resolve import resolve_model

    return maker_of(resolve_model(request), runtime)


@dataclass(frozen=True)
class ModelTools:
    """Makes the tools of a film from a model's name; can be sent to another process."""

    request: ModelRequest
    runtime: Runtime
    threads: int | None

    def __call__(self, memory: MemoryConfig) -> Tools:
        """See `storymem.bench.make.ToolsFor`."""
        import torch

        if self.threads is not None:
            torch.set_num_threads(self.threads)
        return tools_of(_maker(self.request, self.runtime), memory)


@dataclass(frozen=True)
class ModelSettings:
    """The settings of a film as `storymem generate` would have them, of one take each; can go to another process."""

    resolved: ResolvedModel
    sampling: Mapping[str, Any]
    seed: int

    def __call__(self, story: Story) -> FilmSettings:
        """See `storymem.bench.make.SettingsFor`."""
        return film_settings(
            story,
            self.resolved,
            None,
            sampling=dict(self.sampling),
            memory={"recall": "all"},  # what systems say of the memory is said of the method's
            seed=self.seed,
            continue_with=None,
            negative_prompt=None,
            portraits=False,
            takes=1,  # what is compared are ways to remember, and not critics
            critic=NO_CRITIC,
        )


@app.command()
def run(
    suite: Annotated[str, typer.Argument(help="storyland, st-bench or footage.", show_default=False)],
    output: Output,
    systems: Annotated[
        str,
        typer.Option(
            help="Names with commas: no-memory, memory, guided-memory, first-frame-only, no-sink, stride-1, "
            "portraits, last-frame-chain; and controls without a model: real, shuffled, frozen, noise."
        ),
    ] = "no-memory,memory,first-frame-only,no-sink,stride-1,last-frame-chain",
    source: Annotated[
        Path | None, typer.Option(help="st-bench: a folder of scripts. footage: a video, or a folder.")
    ] = None,
    stories: Annotated[int | None, typer.Option(min=1, help="How many at most.", show_default="8, or all")] = None,
    shots: Annotated[int, typer.Option(min=2, help="Of each story of storyland, or film of footage.")] = 8,
    seed: Annotated[int, typer.Option(help="Of the first story of storyland, and of the films.")] = 0,
    model: ModelOption = None,
    lora: LoraOption = None,
    size: Annotated[str | None, typer.Option(help="Such as 832x480.", rich_help_panel=SAMPLING)] = None,
    frames: Annotated[
        int | None, typer.Option(min=1, help="Frames of a shot, 4k + 1.", rich_help_panel=SAMPLING)
    ] = None,
    fps: Annotated[
        int | None, typer.Option(min=1, max=MAX_FPS, help="Frames per second.", rich_help_panel=SAMPLING)
    ] = None,
    steps: Annotated[int | None, typer.Option(min=1, help="Denoising steps.", rich_help_panel=SAMPLING)] = None,
    guidance: Annotated[float | None, typer.Option(help="Of both experts.", rich_help_panel=SAMPLING)] = None,
    device: Device = "auto",
    dtype: Dtype = "auto",
    offload: OffloadOption = "none",
    processes: Processes = 1,
) -> None:
    """Make the films of a suite with several systems. Run the same command again to go on where it stopped."""
    import os

    from storymem.bench.make import FilmJob, make_controls, make_films, write_suite
    from storymem.bench.suites import SuiteOptions, open_suite
    from storymem.bench.systems import systems_named
    from storymem.film.resolve import ModelRequest, parse_loras, resolve_model
    from storymem.story import Story

    register_suites()
    wanted, controls = systems_named(systems)
    request = ModelRequest() if model is None else ModelRequest(model=model)
    if lora is not None:
        request = ModelRequest(model=request.model, loras=parse_loras(lora))
    width, height = parse_size(size)
    sampling = {"width": width, "height": height, "num_frames": frames, "fps": fps,
                "num_inference_steps": steps, "guidance_scale": guidance}  # fmt: skip
    runtime = runtime_of(device, dtype, offload, None, False)
    made_with: ModelSettings | None = None
    common: dict[str, Any] | None = None
    if wanted:
        made_with = ModelSettings(resolve_model(request), sampling, seed)
        settings = made_with(Story("", "", ()))
        common = _in_common(_maker(request, runtime), settings)
        shape = settings.sampling
        width, height, frames, fps = shape.width, shape.height, shape.num_frames, shape.fps
    fps = SuiteOptions().fps if fps is None else fps
    chosen = open_suite(
        suite,
        SuiteOptions(
            source=source, stories=stories, shots=shots, seed=seed, width=width, height=height, num_frames=frames,
            fps=fps,
        ),
    )  # fmt: skip
    scripts = write_suite(output, chosen, common)
    if wanted and any(story.script is None for story in scripts):
        raise SettingsError(f"the suite {suite} has no scripts to film: name only controls, such as --systems real.")
    for control, name in make_controls(output, chosen, controls, fps=fps):
        typer.echo(f"{control}/{name}: written")
    if made_with is not None:
        threads = max(1, (os.cpu_count() or 1) // processes) if processes > 1 else None
        tools = ModelTools(request, runtime, threads)
        jobs = [FilmJob(output, story, system, made_with, tools) for story in scripts for system in wanted]
        for number, (job, seconds) in enumerate(make_films(jobs, processes=processes), 1):
            typer.echo(f"{number}/{len(jobs)}  {job.system.name}/{job.story.name}: {seconds:.0f} s")
    typer.echo(f"Now: storymem bench score {output}")


def _in_common(maker: PipelineShotMaker, settings: FilmSettings) -> dict[str, Any]:
    """What all systems of a folder are made with, see `storymem.bench.make.write_suite`."""
    from dataclasses import asdict

    about = {key: value for key, value in maker.description.items() if key != "request"}  # where models lie is no part
    return {"about": about, "model": maker.identity, "settings": asdict(settings)}


@app.command()
def score(
    folder: Annotated[Path, typer.Argument(help="<system>/<story>/<number>*.mp4 or film folders.", show_default=False)],
    encoder: Annotated[str, typer.Option(help="Of shots: builtin, viclip-l14.")] = "builtin",
    encoder_path: Annotated[Path | None, typer.Option(help="Folder of the encoder in place of the hub.")] = None,
    judge: Annotated[str, typer.Option(help="Of beauty: none, laion (CLIP ViT-L/14 with LAION's head).")] = "none",
    judge_path: Annotated[Path | None, typer.Option(help="Folder of CLIP ViT-L/14 in place of the hub.")] = None,
    judge_head: Annotated[Path | None, typer.Option(help="LAION's linear head, a file.")] = None,
    reader: Annotated[str, typer.Option(help="Of attributes: auto (if the suite has one), none, storyland.")] = "auto",
    device: Annotated[str, typer.Option(help="cpu, cuda; of encoder and judge.", rich_help_panel=MACHINE)] = "cpu",
    processes: Processes = 1,
) -> None:
    """Measure every film in a folder, whoever made it, and write scores.json there.

    What was looked at once is not looked at again, so a folder with one more film is scored in no time.
    """
    from storymem.bench.encoders import load_judge, load_video_encoder
    from storymem.bench.score import SCORES, Instruments, score_folder

    instruments = Instruments(
        load_video_encoder(encoder, device=device, path=encoder_path),
        load_judge(judge, device=device, clip=judge_path, head=judge_head),
        _reader(folder, reader),
    )

    def tell(system: str, story: str, numbers: Mapping[str, float | None] | None) -> None:
        if numbers is None:
            typer.echo(f"{system}/{story}: left out")
        else:
            typer.echo(f"{system}/{story}: {_headline(numbers)}")

    result = score_folder(folder, instruments, processes=processes, on_film=tell)
    for one in result["left_out"]:
        typer.echo(f"left out: {one['reason']}", err=True)
    typer.echo(f"{folder / SCORES} is written. Now: storymem bench compare {folder}")
    if left_out := len(result["left_out"]):  # last, after all that can be done without them
        films = left_out + sum(map(len, result["systems"].values()))
        raise FilmError(
            f"{left_out} of {films} films could not be scored and were left out (named above): finish or mend them, "
            "then run the same command again."
        )


def _headline(numbers: Mapping[str, float | None]) -> str:
    shown = ("consistency_all", "diversity", "identity_untold", "worth")
    return "  ".join(f"{key} {value:.3f}" for key in shown if (value := numbers.get(key)) is not None)


def _reader(folder: Path, name: str) -> Any:
    from storymem.bench.films import read_suite

    suite = (read_suite(folder) or {}).get("suite")
    if name == "storyland" or (name == "auto" and suite == "storyland"):
        from storymem.worlds.storyland.suite import StorylandReader

        return StorylandReader()
    if name not in ("auto", "none"):
        raise SettingsError(f"--reader {name}: there are auto, none, storyland.")
    return None


@app.command()
def compare(
    folders: Annotated[list[Path], typer.Argument(help="Scored folders.", show_default=False)],
    baseline: Annotated[
        str | None, typer.Option(help="What the others are compared with.", show_default="no-memory, or the first")
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Folder of the report.", show_default="FOLDER/report")
    ] = None,
    sheets: Annotated[int, typer.Option(min=0, help="Stories on contact sheets at most.")] = 8,
) -> None:
    """Put systems side by side: what is better, by how much, and is it real? Writes JSON and an HTML report."""
    from storymem.bench.comparison import compare_folders, findings, uneven_stories, without_findings
    from storymem.bench.previews import load_previews
    from storymem.bench.report import write_report

    comparison = compare_folders(folders, baseline)
    data, page = write_report(
        comparison, output or folders[0] / "report", load_previews(folders, sheets), sheets=sheets
    )
    _print_table(comparison)
    if uneven := uneven_stories(comparison):
        typer.echo(uneven)
    found = findings(comparison)
    for _, text in found:
        typer.echo(text)
    if not found:
        typer.echo(without_findings(comparison))
    typer.echo(f"{page} and {data.name} are written.")


def _print_table(comparison: Comparison) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    table.add_column("")
    for system in comparison.systems:
        table.add_column(system, justify="right")
    for metric in comparison.metrics:
        cells = [metric["title"]]
        for system in comparison.systems:
            value, difference = comparison.value(metric["key"], system), comparison.difference(metric["key"], system)
            mark = "*" if difference is not None and difference.real else " "
            cells.append("." if value is None else f"{value.mean:.3f}{mark}")
        table.add_row(*cells)
    Console(soft_wrap=True, markup=False, emoji=False).print(table)  # names of systems are shown as they are
