"""`storymem script`: check scripts, start a new one, turn ST-Bench into YAML, print the JSON Schema."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from storymem.errors import ModelError, Problem, ScriptError, StorageError
from storymem.settings import SamplingConfig
from storymem.story import DEFAULT_FPS, ScriptForm, Story, load_story

__all__ = ["app"]

app = typer.Typer(help="Check, start and convert story scripts.", no_args_is_help=True)


class Form(StrEnum):
    """The forms of a script, as an option."""

    YAML = "yaml"
    ST_BENCH = "st-bench"


@app.command()
def check(
    files: Annotated[list[Path], typer.Argument(metavar="FILE...", help="Scripts: .yaml, .yml, .json or .json5.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON list with an entry for each file.")] = False,
) -> None:
    """Read scripts and say what is in them, or every mistake: file, line, field, what was found, what is allowed."""
    from storymem.story.notes import notes_on

    reports, failed = [], False
    for file in files:
        try:
            story = load_story(file)
        except ScriptError as error:
            failed = True
            reports.append({"file": str(file), "ok": False, "problems": [_problem(item) for item in error.problems]})
            if not as_json:
                typer.echo("\n".join(error.lines()), err=True)
            continue
        notes = notes_on(story)
        reports.append({"file": str(file), "ok": True, "problems": [], "notes": notes, **_summary(story)})
        if not as_json:
            typer.echo("\n".join([_friendly(file, story), *(f"  note: {note}" for note in notes)]))
    if as_json:
        typer.echo(json.dumps(reports, ensure_ascii=False))
    if failed:
        raise typer.Exit(2)


@app.command()
def new(
    file: Annotated[Path, typer.Argument(help="The script to write; - prints it.")] = Path("film.yaml"),
    title: Annotated[str, typer.Option(help="The title of the film.")] = "A Walk by the Sea",
    form: Annotated[
        Form | None, typer.Option(help="How it is written; the file's ending says it if this does not.")
    ] = None,
) -> None:
    """Write a script to start from, with every field explained. An existing file is never overwritten."""
    from storymem.story.template import new_script

    chosen, comments = form_of(file, form)
    text = new_script(title, chosen, comments=comments)
    if str(file) == "-":
        typer.echo(text, nl=False)
        return
    write_new(file, text)
    typer.echo(f"Wrote {file}. Change it as you like, then: storymem generate {file} -o {file.with_suffix('').name}")


@app.command()
def convert(
    script: Annotated[Path, typer.Argument(help="The script to read, in either form.")],
    out: Annotated[Path, typer.Argument(help="The YAML file to write.")],
) -> None:
    """Turn a script, such as one of ST-Bench, into StoryMem's YAML form. An existing file is never overwritten."""
    from storymem.story.write import dump_story

    if out.suffix.lower() not in (".yaml", ".yml"):
        raise ScriptError(str(out), [Problem("", "the name of a YAML script ends in .yaml or .yml")])
    story = load_story(script)
    home = out.parent.resolve()
    if outside := [
        Problem(f"cast.{character.name}", f"{picture} lies outside of {home}: copy it there first, script and all")
        for character in story.cast
        for picture in character.references
        if not picture.resolve().is_relative_to(home)
    ]:
        raise ScriptError(str(out), outside)
    write_new(out, dump_story(story, out.parent))
    typer.echo(f"Wrote {out}: {len(story.shots)} shots.")


@app.command()
def schema(
    form: Annotated[Form, typer.Option(help="Of which form.")] = Form.YAML,
) -> None:
    """Print the JSON Schema of a script, with which editors complete and check fields as you type."""
    from storymem.story.schema import json_schema

    typer.echo(json.dumps(json_schema(_literal(form)), indent=2, ensure_ascii=False))


def _literal(form: Form) -> ScriptForm:
    return "yaml" if form is Form.YAML else "st-bench"


def form_of(file: Path, form: Form | None) -> tuple[ScriptForm, bool]:
    """The form to write `file` in, and whether it may have comments: plain JSON has none."""
    ending = file.suffix.lower()
    by_ending: ScriptForm | None = {".yaml": "yaml", ".yml": "yaml", ".json": "st-bench", ".json5": "st-bench"}.get(
        ending
    )  # type: ignore[assignment]
    if str(file) == "-":
        by_ending = _literal(form or Form.YAML)
    if by_ending is None or (form is not None and by_ending != _literal(form)):
        wanted = ".yaml or .yml" if form is Form.YAML else ".json or .json5" if form else ".yaml, .yml, .json or .json5"
        raise ScriptError(str(file), [Problem("", f"the name of such a script ends in {wanted}")])
    return by_ending, ending != ".json"


def check_new(file: Path) -> None:
    """Nothing is written over.

    Raises:
        ScriptError: there is a file of that name.
    """
    if os.path.lexists(file):
        raise _exists(file)


def _exists(file: Path) -> ScriptError:
    return ScriptError(str(file), [Problem("", "exists and is not overwritten; choose another name")])


def write_new(file: Path, text: str) -> None:
    """Write a text file that is not there yet.

    Raises:
        ScriptError: it exists, or its folder does not.
        StorageError: the system refused it.
    """
    try:
        with file.open("x", encoding="utf-8", newline="\n") as out:
            out.write(text)
    except FileExistsError:
        raise _exists(file) from None
    except (FileNotFoundError, NotADirectoryError):
        raise ScriptError(str(file), [Problem("", f"there is no folder {file.parent}; make it first")]) from None
    except OSError as error:
        raise StorageError(file, error) from error


def _problem(problem: Problem) -> dict[str, object]:
    return {"line": problem.line, "field": problem.field, "message": problem.message}


def _sampling(story: Story) -> SamplingConfig:
    """Length and frames per second as the script says, else those its model was made for."""
    from storymem.cli.options import model_request
    from storymem.film.resolve import resolve_model

    try:
        own = SamplingConfig(**resolve_model(model_request(story, None, model=None, lora=None)).sampling)
    except ModelError:  # not on this machine: of the length that Wan has
        own = SamplingConfig(fps=DEFAULT_FPS)
    fps = story.defaults.fps or own.fps
    return replace(own, fps=fps, num_frames=story.defaults.frames(fps) or own.num_frames)


def _summary(story: Story) -> dict[str, Any]:
    """What the story is, with every number that the script, its model or the defaults give."""
    sampling = _sampling(story)
    fps = sampling.fps
    shots = [
        {
            "id": shot.id,
            "scene": shot.scene,
            "cut": shot.cut,
            "seconds": round(shot.frames(sampling) / fps, 3),
            "num_frames": shot.frames(sampling),
            "characters": list(shot.characters),
            "prompt": shot.full_prompt,
        }
        for shot in story.shots
    ]
    return {
        "title": story.title,
        "scenes": len(story.scenes),
        "fps": fps,
        # A continuing shot begins with a frame of the one before, which the film shows once.
        "seconds": round(sum(shot.frames(sampling) - (not shot.cut) for shot in story.shots) / fps, 3),
        "cast": [
            {"name": character.name, "references": [str(path) for path in character.references]}
            for character in story.cast
        ],
        "shots": shots,
    }


def _friendly(file: Path, story: Story) -> str:
    summary = _summary(story)
    size = f"{_count(len(story.scenes), 'scene')}, {_count(len(story.shots), 'shot')}"
    lines = [f"{file}: {story.title}", f"  {size}, about {summary['seconds']:.1f} seconds"]
    if story.cast:
        members = []
        for character in story.cast:
            pictures = len(character.references)
            members.append(character.name + (f" ({_count(pictures, 'picture')})" if pictures else ""))
        lines.append(f"  cast: {', '.join(members)}")
    seconds = {shot["id"]: shot["seconds"] for shot in summary["shots"]}
    width = max(len(shot.id) for shot in story.shots)
    for scene in story.scenes:
        lines.append(f"  scene {scene.number}" + (f": {scene.title}" if scene.title else ""))
        for shot in scene.shots:
            start = "cut      " if shot.cut else "continues"
            prompt = " ".join(shot.prompt.split())
            prompt = prompt if len(prompt) <= 60 else prompt[:59] + "…"
            lines.append(f"    {shot.id:{width}}  {start}  {seconds[shot.id]:4.1f} s  {prompt}")
    return "\n".join(lines)


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" + ("" if number == 1 else "s")
