"""Films on disk, whoever made them: a folder per system, in it a folder per story, in it the shots.

::

    FOLDER/
      stories/<story>/script.yaml or .json     what was to be made (optional; see below)
      stories/<story>/truth.json               ground truth, if there is any
      <system>/<story>/01*.mp4, 02*.mp4 ...    one clip per shot, in the order of their numbers; or
      <system>/<story>/film.json ...           a film folder of storymem

The script may also lie in the story's own folder, as ``script.yaml`` or ``script.json``. Without one, nothing that
needs prompts, scenes or characters is measured. A clip of another system holds what the film shows: where a shot
continues the one before, frames that repeat it must not be in it.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from storymem.bench.naming import leading_numbers, natural_order
from storymem.bench.numbers import FilmFacts
from storymem.bench.systems import CONTROLS
from storymem.errors import FilmError, MediaError
from storymem.story import Story, load_story

__all__ = [
    "CACHE",
    "DONE",
    "STORIES",
    "SUITE",
    "TRUTH",
    "BenchFilm",
    "ShotFile",
    "find_films",
    "open_film",
    "read_suite",
    "script_in",
]

STORIES = "stories"
CACHE = ".cache"
TRUTH = "truth.json"
SUITE = "suite.json"
DONE = ".done"
"""In the folder of a control of the bench's own making, when all of its shots are written."""

_RESERVED = {STORIES, "report"}
_SCRIPTS = ("script.yaml", "script.yml", "script.json", "script.json5")
_VIDEOS = {".mp4", ".mkv", ".mov", ".webm", ".avi", ".m4v"}


@dataclass(frozen=True, slots=True)
class ShotFile:
    """The video of one shot, and how many frames at its start repeat the shot before."""

    path: Path
    drop: int = 0


@dataclass(frozen=True)
class BenchFilm:
    """A film to be measured.

    Attributes:
        system: what made it.
        story: its name.
        shots: in order.
        facts: what is known of it.
    """

    system: str
    story: str
    shots: tuple[ShotFile, ...]
    facts: FilmFacts


def find_films(folder: Path) -> list[tuple[str, str, Path]]:
    """(system, story, folder) of every film, in order.

    Raises:
        FilmError: there are none.
    """
    if not folder.is_dir():
        raise FilmError(
            f"{folder}: there is no such folder: give one with a folder per system, and in it one per story."
        )
    found = [
        (system.name, story.name, story)
        for system in _folders(folder)
        if system.name not in _RESERVED
        for story in _folders(system)
        if (story / "film.json").is_file() or _numbered(story)
    ]
    if not found:
        raise FilmError(
            f"{folder}: there are no films in it: shots are looked for as <system>/<story>/<number>*.mp4, and films of "
            "storymem as <system>/<story>/film.json."
        )
    return found


def open_film(folder: Path, system: str, story: str, place: Path) -> BenchFilm:
    """A film with what is known of it.

    Args:
        folder: of all films.
        system: what made it.
        story: its name.
        place: its own folder.

    Raises:
        FilmError: shots are not made yet, or script, truth and clips do not have the same number of shots; or it is a
            control that the bench has not finished.
        MediaError: two clips have the same number.
        ScriptError: the script has mistakes.
    """
    if system in CONTROLS and not (place / DONE).is_file() and read_suite(folder) is not None:
        raise FilmError(
            f"{place}: this control is not finished: run the same `storymem bench run` again; or, if its clips are not "
            f"the bench's own, give the folder {system} another name."
        )
    script = script_in(folder / STORIES / story) or script_in(place)
    if (place / "film.json").is_file():
        shots, own = _of_film(place)
    else:
        shots, own = tuple(ShotFile(path) for path in _clips(place)), None
    facts = _facts(own if script is None else load_story(script), len(shots), _truth(folder / STORIES / story / TRUTH))
    for what, count in (("script", len(facts.scenes)), ("truth", len(shots if facts.truth is None else facts.truth))):
        if count != len(shots):
            raise FilmError(f"{place}: has {len(shots)} shots and its {what} {count}: make or remove what differs.")
    return BenchFilm(system, story, shots, facts)


def script_in(folder: Path) -> Path | None:
    """The script in a folder, if there is one."""
    return next((folder / name for name in _SCRIPTS if (folder / name).is_file()), None)


def read_suite(folder: Path) -> dict[str, Any] | None:
    """The description of the suite that a folder was made from; None if it is not known.

    Raises:
        FilmError: it cannot be read.
    """
    try:
        return dict(json.loads((folder / SUITE).read_text(encoding="utf-8")))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError) as error:
        raise FilmError(
            f"{folder / SUITE}: cannot be read ({error}): remove it, and run the same command again."
        ) from error


def _folders(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))


def _numbered(folder: Path) -> list[tuple[tuple[int, ...], Path]]:
    """Videos whose names begin with a number, by number: 1, 2, 10; 01-01, 01-02, 02-01."""
    numbered = []
    for path in sorted(folder.iterdir(), key=lambda path: natural_order(path.name)):
        number = leading_numbers(path.name)
        if number and path.suffix.lower() in _VIDEOS and path.is_file():
            numbered.append((number, path))
    return numbered


def _clips(folder: Path) -> list[Path]:
    """One clip per shot, in order."""
    numbered = _numbered(folder)
    for (one, first), (other, second) in pairwise(numbered):
        if one == other:
            raise MediaError(f"{folder}: {first.name} and {second.name} have the same number: one clip per shot.")
    return [path for _, path in numbered]


def _of_film(folder: Path) -> tuple[tuple[ShotFile, ...], Story]:
    from storymem.film.export import film_edit
    from storymem.film.project import Film

    film = Film.open(folder)
    return tuple(ShotFile(shot.master, shot.drop) for shot in film_edit(film).shots), film.manifest.story


def _truth(path: Path) -> list[dict[str, Any]] | None:
    if not path.is_file():
        return None
    try:
        shots = json.loads(path.read_text(encoding="utf-8"))["shots"]
        for number, shot in enumerate(shots, 1):
            for character in shot["characters"]:
                if mistake := _mistake(character):
                    raise FilmError(f"{path}: shot {number}: {mistake}: see docs/bench.md for its form.")
            if not isinstance(shot["setting"], dict):
                raise TypeError("the setting is no mapping")
        return list(shots)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise FilmError(f"{path}: is no ground truth ({error!r}): see docs/bench.md for its form.") from error


def _mistake(character: dict[str, Any]) -> str | None:
    """What is wrong with a character of the truth, if anything is."""
    name, attributes = character["name"], character["attributes"]
    if not isinstance(name, str) or not isinstance(attributes, dict):
        return f"{name!r} is no name, or its attributes are no mapping"
    for key in ("visible", "told"):
        if not isinstance(character[key], list):
            return f"{key} of {name} is {character[key]!r} and must be a list"
        if unknown := [one for one in character[key] if one not in attributes]:
            return f"{key} of {name} has {unknown[0]!r}, which is none of its attributes"
    return None


def _facts(story: Story | None, count: int, truth: list[dict[str, Any]] | None) -> FilmFacts:
    shown = None if truth is None else tuple(tuple(one["name"] for one in shot["characters"]) for shot in truth)
    kept = None if truth is None else tuple(truth)
    if story is None:
        every = range(count)
        return FilmFacts(None, tuple(1 for _ in every), tuple(True for _ in every), shown or tuple(() for _ in every),
                         truth=kept, scenes_known=False)  # fmt: skip
    shots = story.shots
    return FilmFacts(
        prompts=tuple(shot.full_prompt for shot in shots),
        scenes=tuple(shot.scene for shot in shots),
        cuts=tuple(shot.cut for shot in shots),
        shown=shown or tuple(shot.characters for shot in shots),
        overview=story.overview,
        truth=kept,
    )
