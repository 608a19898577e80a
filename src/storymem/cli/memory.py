"""`storymem memory`: what a film remembers, and changing it by hand."""

from __future__ import annotations

import json
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
        typer.echo(json.dumps({"keyframes": rows}, ensure_ascii=False))
        return
    from rich import box
    from rich.console import Console
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for column in ("keyframe", "from", "quality", "seen by", "", "picture"):
        # What is copied into other commands stays on one line; a path that has no room is folded, not cut.
        table.add_column(column, no_wrap=column in ("keyframe", "from"), overflow="fold")
    for row in rows:
        quality = row["quality"]
        table.add_row(
            str(row["id"])[:12],
            str(row["label"]),
            "" if quality is None else f"{quality:.2f}",
            ", ".join(row["seen_by"]) or "-",  # type: ignore[arg-type]
            str(row["mark"]),
            str(row["picture"]),
        )
    Console(markup=False, emoji=False).print(table)  # names and paths are shown as they are


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
    fitting = {str(row["id"]) for row in rows if row["label"] == name}
    # A keyframe can have left the film with its take, and its pin or ban have stayed.
    ids = [*(str(row["id"]) for row in rows), *film.manifest.pinned, *film.manifest.banned]
    fitting |= {one for one in ids if name and one.startswith(name)}
    if len(fitting) == 1:
        return fitting.pop()
    if fitting:
        raise FilmError(f"{len(fitting)} keyframes begin with {name!r}: give more of the id.")
    raise FilmError(f"The film has no keyframe {name!r}; `storymem memory list {film.folder}` shows all of them.")


def _keyframes(film: Film) -> list[dict[str, object]]:
    """Every reference and every keyframe of the takes in the film, in order."""
    from storymem.film.plan import plan_film
    from storymem.film.takes import keyframe_label, preview_name

    plan = plan_film(film)
    seen_by: dict[str, list[str]] = {}
    for planned in plan:
        for seen in planned.memory or ():
            seen_by.setdefault(seen.id, []).append(planned.shot.id)
    manifest = film.manifest
    marks = dict.fromkeys(manifest.pinned, "pinned") | dict.fromkeys(manifest.banned, "banned")
    rows: dict[str, dict[str, object]] = {}

    def add(identity: str, label: str, quality: float | None, picture: str) -> None:
        rows.setdefault(
            identity,
            {
                "id": identity,
                "label": label,
                "quality": quality,
                "seen_by": seen_by.get(identity, []),
                "mark": marks.get(identity, ""),
                "picture": picture,
            },
        )

    for number, keyframe in enumerate(film.reference_keyframes()):
        assert manifest.references is not None
        add(keyframe.id, keyframe.label, None, film.references.picture(manifest.references, number))
    for planned in plan:
        if planned.take is None:
            continue
        folder = planned.take.folder.relative_to(film.folder).as_posix()
        for number, record in enumerate(planned.take.record.keyframes):
            label = keyframe_label(planned.shot.id, record.frame_index)
            add(record.id, label, record.quality, f"{folder}/{preview_name(number)}")
    return list(rows.values())
