"""What a film's folder holds that the film does not need: takes that are not in it, and damaged ones set aside."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from storymem.errors import FilmDamagedError
from storymem.film.plan import plan_film
from storymem.film.project import Film
from storymem.film.storage import remove_folder
from storymem.film.takes import KEY_LENGTH, is_shot_id

__all__ = ["Leftover", "leftovers", "tidy"]

_NAME = re.compile(rf"[0-9a-f]{{{KEY_LENGTH}}}")
_ASIDE = re.compile(rf"\.damaged-[0-9a-f]{{{KEY_LENGTH}}}-[0-9]+")


@dataclass(frozen=True, slots=True)
class Leftover:
    """A folder that can go.

    Attributes:
        path: relative to the film's folder, with forward slashes.
        what: in words, what it is.
        size: bytes of the files in it.
    """

    path: str
    what: str
    size: int


def leftovers(film: Film) -> tuple[Leftover, ...]:
    """Every folder that the film does not need, in the order of their paths.

    What is needed are the takes in the film, those found by what they are made from, and takes and reference images
    whose pictures they saw, which the contact sheet shows. All takes stay of a shot of which nobody can tell yet which
    it needs. Folders that are none of ours are not looked at.

    Raises:
        FilmDamagedError: a take in the film is not as it was written, so that nobody can tell what it saw.
    """
    needed: set[Path] = set()
    if film.manifest.references is not None:
        needed.add(film.references.folder_of(film.manifest.references))
    undecided: set[Path] = set()
    for planned in plan_film(film):
        if planned.status == "damaged":
            raise FilmDamagedError(f"{planned.reason}: `storymem generate`, run again as before, makes the shot anew.")
        if planned.take is not None:
            seen = planned.take.record.saw
            needed.add(planned.take.folder)
            needed.update(parent for picture in seen for parent in (film.folder / picture.picture).parents)
            if planned.status == "stale" and planned.wanted > 1:  # takes to choose from may be there
                undecided.add(film.takes.folder / planned.shot.id)
        elif planned.key is None or planned.wanted > 1:  # some of its takes may be there, and none chosen yet
            undecided.add(film.takes.folder / planned.shot.id)
    found = [
        Leftover(folder.relative_to(film.folder).as_posix(), what, _size(folder))
        for folder, what in _ours(film)
        if folder not in needed and folder.parent not in undecided
    ]
    return tuple(sorted(found, key=lambda one: one.path))


def _ours(film: Film) -> Iterator[tuple[Path, str]]:
    """Every take and every set of reference images, damaged ones too, and what they are in words."""
    shots = {shot.id for shot in film.manifest.all_shots}
    for shot in _folders(film.takes.folder):
        kind = f"a take of {shot.name}, not in the film" if shot.name in shots else "of a shot that left the script"
        for folder in _folders(shot):
            if _NAME.fullmatch(folder.name):
                yield folder, kind
            elif _ASIDE.fullmatch(folder.name):
                yield folder, f"a damaged take of {shot.name}"
    for folder in _folders(film.references.folder):
        if _NAME.fullmatch(folder.name):
            yield folder, "reference images of before"
        elif _ASIDE.fullmatch(folder.name):
            yield folder, "damaged reference images"


def _folders(parent: Path) -> list[Path]:
    if not parent.is_dir():
        return []
    return sorted(entry for entry in parent.iterdir() if entry.is_dir() and not entry.is_symlink())


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file() and not path.is_symlink())


def tidy(film: Film) -> tuple[Leftover, ...]:
    """Remove what the film does not need; returns what that was.

    Args:
        film: open to work in.

    Raises:
        FilmDamagedError: as `leftovers`; nothing is removed.
        StorageError: the system refused it; what is gone is gone, and the rest is there.
    """
    film.takes.sweep(folder.name for folder in _folders(film.takes.folder) if is_shot_id(folder.name))
    found = leftovers(film)
    gone = {film.folder / one.path for one in found}
    # First it is noted, then removed: a take that is there and not noted is found again by its key.
    film.save(
        replace(
            film.manifest,
            kept={
                shot_id: tuple(take for take in takes if film.takes.folder_of(shot_id, take.key) not in gone)
                for shot_id, takes in film.manifest.kept.items()
            },
        )
    )
    for one in found:
        remove_folder(film.folder / one.path)
    return found
