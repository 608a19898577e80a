"""`storymem memory`: what a film remembers, and changing it by hand."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from storymem.errors import FilmError

if TYPE_CHECKING:
    from storymem.film.project import Film

__all__ = ["app"]

app = typer.Typer(
    help="See, pin and ban the keyframes that shots remember.", no_args_is_help=True, rich_markup_mode="rich"
)

Folder = Annotated[Path, typer.Argument(help="The film's folder.", show_default=False)]
Keyframes = Annotated[
    list[str], typer.Argument(help="Keyframes: the beginning of an id, or a label (see `list`).", show_default=False)
]


@app.command("list")
def list_keyframes(
    folder: Folder, as_json: Annotated[bool, typer.Option("--json", help="As one JSON object.")] = False
) -> None:
    """List every keyframe of the film: where it comes from and which shots see it."""
    from storymem.film.project import Film

    film = Film.open(folder)
    rows = _keyframes(film)
    if as_json:
        typer.echo(json.dumps({"keyframes": [asdict(row) for row in rows]}, ensure_ascii=False))
        return
    if not rows:
        remembers = film.manifest.settings.memory.capacity > 0
        typer.echo(
            "no keyframes yet: run `storymem generate`" if remembers else "no keyframes: it is made without memory"
        )
        return
    from rich.console import Console
    from rich.text import Text

    console = Console(soft_wrap=True, highlight=False)
    order = [shot.id for shot in film.manifest.all_shots]
    for number, row in enumerate(rows):
        quality = "" if row.quality is None else f"  quality {row.quality:.2f}"
        mark = (f"  {row.mark}", "bold yellow") if row.mark else ""
        console.print(Text.assemble("\n" if number else "", (row.id[:12], "bold"), f"  {row.label}{quality}", mark))
        # A path stands on a line of its own, so that it can be copied whole.
        for line in (f"seen by {spans(row.seen_by, order)}", row.picture):
            console.print(Text(f"{'':14}{line}", style="dim"))


def spans(ids: Sequence[str], order: Sequence[str]) -> str:
    """Shots as people say them: ``01-02 to 01-30, 02-02; 30 shots``.

    Args:
        ids: some of the film's shots, in order.
        order: all of them.
    """
    runs: list[list[str]] = []
    places = {shot: place for place, shot in enumerate(order)}
    for shot in ids:
        if runs and places[shot] == places[runs[-1][-1]] + 1:
            runs[-1].append(shot)
        else:
            runs.append([shot])
    said = ", ".join(f"{run[0]} to {run[-1]}" if len(run) > 2 else ", ".join(run) for run in runs)
    return f"{said}; {len(ids)} shots" if any(len(run) > 2 for run in runs) else said or "no shot"


@app.command()
def pin(folder: Folder, keyframes: Keyframes) -> None:
    """Keep keyframes in the memory for ever."""
    _change(folder, keyframes, "pinned")


@app.command()
def ban(folder: Folder, keyframes: Keyframes) -> None:
    """Keep keyframes out of the memory."""
    _change(folder, keyframes, "banned")


@app.command()
def free(folder: Folder, keyframes: Keyframes) -> None:
    """Take back a pin or a ban."""
    _change(folder, keyframes, "freed")


def _change(folder: Path, names: list[str], how: str) -> None:
    from storymem.film.plan import plan_film
    from storymem.film.project import Film

    with Film.work(folder) as film:
        ids = [_find(film, name) for name in names]
        if how == "pinned":
            film.pin(ids)
        elif how == "banned":
            film.pin(ban=ids)
        else:
            marked = {*film.manifest.pinned, *film.manifest.banned}
            if unmarked := [name for name, id_ in zip(names, ids, strict=True) if id_ not in marked]:
                raise FilmError(f"The keyframe {unmarked[0]!r} is neither pinned nor banned: there is nothing to free.")
            film.pin(free=ids)
        stale = [planned.shot.id for planned in plan_film(film) if planned.status == "stale"]
    typer.echo(f"{len(ids)} keyframe{'s' * (len(ids) != 1)} {how}.")
    if stale:
        typer.echo(f"Stale now: {', '.join(stale)}; `storymem generate … --remake` makes them again.")


def _find(film: Film, name: str) -> str:
    rows = _keyframes(film)
    fitting = {row.id for row in rows if row.label == name}
    # A keyframe can have left the film with its take, and its pin or ban have stayed.
    ids = [*(row.id for row in rows), *film.manifest.pinned, *film.manifest.banned]
    fitting |= {one for one in ids if name and one.startswith(name)}
    if len(fitting) == 1:
        return fitting.pop()
    if fitting:
        raise FilmError(f"{len(fitting)} keyframes begin with {name!r}: give more of the id.")
    raise FilmError(f"The film has no keyframe {name!r}; `storymem memory list {film.folder}` shows all of them.")


@dataclass(frozen=True, slots=True)
class _Row:
    """A keyframe as it is listed; the names are those of `--json`."""

    id: str
    label: str
    quality: float | None
    seen_by: list[str]
    mark: str
    picture: str


def _keyframes(film: Film) -> list[_Row]:
    """Every reference and every keyframe of the takes in the film, in order."""
    from storymem.film.plan import plan_film
    from storymem.film.portraits import label_of
    from storymem.film.takes import preview_name

    plan = plan_film(film)
    seen_by: dict[str, list[str]] = {}
    for planned in plan:
        for seen in planned.memory or ():
            seen_by.setdefault(seen.id, []).append(planned.shot.id)
    manifest = film.manifest
    marks = dict.fromkeys(manifest.pinned, "pinned") | dict.fromkeys(manifest.banned, "banned")
    rows: dict[str, _Row] = {}

    def add(identity: str, label: str, quality: float | None, picture: str) -> None:
        row = _Row(identity, label, quality, seen_by.get(identity, []), marks.get(identity, ""), picture)
        rows.setdefault(identity, row)

    for number, keyframe in enumerate(film.reference_keyframes()):
        assert manifest.references is not None
        add(keyframe.id, keyframe.label, None, film.references.picture(manifest.references, number))
    for planned in plan:
        if planned.take is None:
            continue
        folder = planned.take.folder.relative_to(film.folder).as_posix()
        for number, record in enumerate(planned.take.record.keyframes):
            label = label_of(planned.shot, record.frame_index)
            add(record.id, label, record.quality, f"{folder}/{preview_name(number)}")
    return list(rows.values())
