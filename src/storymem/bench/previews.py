"""Small pictures of scored films, for contact sheets; from the cache that scoring left, or made anew."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from storymem.bench.encoders import BuiltinVideoEncoder
from storymem.bench.films import CACHE, find_films, open_film
from storymem.bench.naming import system_names
from storymem.bench.score import Instruments, film_features, read_scores
from storymem.errors import FilmError
from storymem.media import Uint8Array

__all__ = ["load_previews"]


def load_previews(folders: Sequence[Path], stories: int) -> dict[tuple[str, str], list[Uint8Array]]:
    """The middle frame of each shot, by system and story, of the first stories of each scored folder.

    Args:
        folders: scored.
        stories: how many; with none, the films need not be there.

    Raises:
        FilmError: a folder is not scored, or a film has other shots now than when it was scored.
    """
    if not stories:
        return {}
    found: dict[tuple[str, str], list[Uint8Array]] = {}
    instruments = Instruments(BuiltinVideoEncoder())
    scored = [read_scores(folder)["systems"] for folder in folders]
    for folder, scores, names in zip(folders, scored, system_names(folders, scored), strict=True):
        first = set(sorted({story for system in scores.values() for story in system})[:stories])
        for system, story, place in find_films(folder):
            if story in first and story in scores.get(system, {}):
                film = open_film(folder, system, story, place)
                if (count := len(film.shots)) != (then := len(scores[system][story]["shots"])):
                    raise FilmError(
                        f"{place}: has {count} shots, and had {then} when it was scored: run `storymem bench score "
                        f"{folder}` again."
                    )
                found[names[system], story] = [f.preview for f in film_features(film, instruments, folder / CACHE)]
    return found
