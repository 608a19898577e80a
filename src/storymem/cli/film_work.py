"""What the commands that work on a film have in common: export what it is now, and say what stands."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import typer

if TYPE_CHECKING:
    from storymem.cli.show import Show
    from storymem.film.export import Product
    from storymem.film.plan import PlannedShot
    from storymem.film.project import Film

__all__ = ["export_products", "is_complete", "moved_notes", "say_stale", "stopping_cleanly"]

_MOST_MOVED = 4  # shots that are named


def export_products(
    film: Film,
    products: tuple[Product, ...],
    show: Show,
    *,
    folder: Path | None = None,
    crf: int | None = None,
    again: bool = False,
) -> None:
    """Write products of the film as it is, and say what was written and what was left out."""
    from storymem.film.export import export_film

    done, left_out = export_film(film, products, folder=folder, crf=crf, again=again, on_work=show.progress)
    for product, paths in done.items():
        first = paths[0].parent if product == "clips" else paths[0]
        pages = f" and {len(paths) - 1} more of its pages" if product == "sheet" and len(paths) > 1 else ""
        show.say("exported", f"{product:>8}  {first}{pages}", product=product, files=[str(path) for path in paths])
    for product, how in left_out.items():
        show.say("note", f"{product:>8}  left out: {how}", product=product)


def is_complete(film: Film) -> bool:
    """Whether every shot has been made."""
    return all(shot.id in film.manifest.chosen for shot in film.manifest.all_shots)


def moved_notes(film: Film, plan: Sequence[PlannedShot]) -> list[str]:
    """What to do about takes that stayed behind when their shots moved; nothing if none did."""
    from storymem.film.moved import moved_shots

    moved = moved_shots(film, plan)
    if not moved:
        return []
    pairs = [f"{shot} was {before}" for shot, before in moved.items()]
    if len(pairs) > _MOST_MOVED:
        pairs[_MOST_MOVED - 1 :] = [f"{len(pairs) - _MOST_MOVED + 1} more"]
    shot, before = next(iter(moved.items()))
    return [
        f"shots have moved ({', '.join(pairs)}), and their takes stayed behind, for a shot without an id is known "
        f"by its place. Give each in the script the id that it had (`id: {before}` for {shot}), and new shots ids of "
        "their own: then the takes come along."
    ]


def say_stale(show: Show, film: Film) -> None:
    """Say which shots are stale, and what makes them again."""
    from storymem.film.plan import plan_film

    stale = [planned.shot.id for planned in plan_film(film) if planned.status == "stale"]
    if stale:
        verb = "is" if len(stale) == 1 else "are"
        show.say(
            "warning",
            f"{', '.join(stale)} {verb} stale: `storymem generate {film.folder / film.manifest.script_name} "
            f"-o {film.folder} --remake` makes again what depends on a change.",
            stale=stale,
        )


@contextmanager
def stopping_cleanly(show: Show, how_to_go_on: str) -> Iterator[None]:
    """Ctrl-C ends the work in hand, says how to go on, and leaves with 130, as shells expect."""
    try:
        yield
    except KeyboardInterrupt:
        show.say("stopped", f"Stopped. Everything finished is kept: {how_to_go_on}.")
        raise typer.Exit(130) from None
