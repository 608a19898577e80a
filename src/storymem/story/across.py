"""Mistakes in a script of our own form that no single field shows.

They are looked for in the raw data, so that they are reported together with the mistakes in single fields.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

from storymem.errors import SettingsError
from storymem.settings import MAX_FPS, MemoryConfig, SamplingConfig
from storymem.story.cast import normalise
from storymem.story.check import SWITCHES, Mistakes
from storymem.story.entries import NAME, DefaultsEntry, MemoryEntry, seconds_of
from storymem.story.model import DEFAULT_FPS, MAX_NUM_FRAMES, frames_for
from storymem.story.nodes import Key

__all__ = ["check_across"]


def _mapping(data: object) -> dict[str, Any]:
    return data if isinstance(data, dict) else {}


def _list(data: object) -> list[Any]:
    return data if isinstance(data, list) else []


def _shots(data: object) -> Iterator[tuple[int, int, tuple[Key, ...], object]]:
    """Scene number, number in the scene, path and raw value of every shot, whatever else is wrong."""
    film = _mapping(data)
    if "scenes" not in film:
        for index, shot in enumerate(_list(film.get("shots"))):
            yield 1, index + 1, ("shots", index), shot
    for number, scene in enumerate(_list(film.get("scenes"))):
        for index, shot in enumerate(_list(_mapping(scene).get("shots"))):
            yield number + 1, index + 1, ("scenes", number, "shots", index), shot


def check_across(
    data: object, base: Path | None, mistakes: Mistakes, *, pictures_kept: bool = False
) -> dict[tuple[Key, ...], Path]:
    """Note in `mistakes` what contradicts something else in `data`, or a file that is not there.

    Args:
        data: the contents of the script.
        base: its folder.
        mistakes: takes what is wrong.
        pictures_kept: reference images need not be there.

    Returns:
        The reference images: ``("cast", name, index)`` to absolute path.
    """
    film = _mapping(data)
    if isinstance(data, dict) and ("scenes" in film) == ("shots" in film):
        both = "scenes" in film
        message = (
            "both scenes and shots are given; keep one" if both else "is missing; write scenes, or shots for one scene"
        )
        mistakes.add(("shots",) if both else ("scenes",), message)
    _check_shots(data, mistakes)
    _check_defaults(_mapping(film.get("defaults")), mistakes)
    references: dict[tuple[Key, ...], Path] = {}
    seen: dict[str, str] = {}
    called = {_as_called(name): name for name in _mapping(film.get("cast")) if isinstance(name, str)}
    for name, entry in _mapping(film.get("cast")).items():
        if not NAME.fullmatch(name):
            mistakes.add(
                ("cast", name), "the name is empty, over 80 characters or several lines, or has blanks at an end"
            )
        if seen.setdefault(normalise(name), name) != name:
            mistakes.add(("cast", name), "stands twice, typed in two ways that look alike; keep one")
        fields = _mapping(entry)
        wanted = SWITCHES.get(str(fields.get("portrait")).strip().lower(), False)
        if wanted and not (fields.get("description") or fields.get("references")):
            message = "found true; nothing says what to show: add a description, or give the prompt of the portrait"
            mistakes.add(("cast", name, "portrait"), message)
        others = fields.get("called")
        for index, other in enumerate([others] if isinstance(others, str) else _list(others)):
            if isinstance(other, str) and (whom := called.setdefault(_as_called(other), name)) != name:
                place: tuple[Key, ...] = ("cast", name, "called", *((index,) if isinstance(others, list) else ()))
                mistakes.add(place, f'found "{other}"; that is {whom} already, and a prompt with it could mean either')
        given = fields.get("references")
        for index, reference in enumerate([given] if isinstance(given, str) else _list(given)):
            path: tuple[Key, ...] = ("cast", name, "references", *((index,) if isinstance(given, list) else ()))
            if isinstance(reference, str) and reference.strip():
                found = _reference(reference, base, kept=pictures_kept)
                if isinstance(found, Path):
                    references["cast", name, index] = found
                else:
                    mistakes.add(path, f'found "{reference}"; {found}')
    return references


def _as_called(text: str) -> str:
    """A name as it is compared: its first letter may be small or a capital."""
    name = " ".join(normalise(text).split())
    return name[:1].lower() + name[1:]


def _check_shots(data: object, mistakes: Mistakes) -> None:
    ids: dict[str, str] = {}
    cast = {normalise(name): name for name in _mapping(_mapping(data).get("cast")) if isinstance(name, str)}
    fps = _mapping(_mapping(_mapping(data).get("defaults"))).get("fps")
    for position, (scene, number, path, shot) in enumerate(_shots(data)):
        fields = _mapping(shot)
        if position == 0 and str(fields.get("cut", True)).strip().lower() in ("false", "no"):
            mistakes.add((*path, "cut"), "found false; the first shot of a film has nothing to continue: leave cut out")
        _check_length(path, fields, fps, mistakes)
        for index, name in enumerate(_list(fields.get("shows"))):
            if isinstance(name, str) and name.strip() and normalise(name) not in cast:
                among = f"the cast is {', '.join(cast.values())}" if cast else "the script has no cast"
                mistakes.add((*path, "shows", index), f'found "{name}"; {among}')
        own = fields.get("id")
        shot_id = own if isinstance(own, str) else f"{scene:02d}-{number:02d}"
        where = f"shot {number} of scene {scene}"
        if shot_id in ids:
            message = f'the id "{shot_id}" is also that of {ids[shot_id]}; choose another'
            mistakes.add((*path, "id") if own == shot_id else path, message)
        ids.setdefault(shot_id, where)
    _check_length(("defaults",), _mapping(_mapping(data).get("defaults")), fps, mistakes)


def _check_length(path: tuple[Key, ...], fields: dict[str, Any], fps: object, mistakes: Mistakes) -> None:
    duration = fields.get("duration")
    if duration is None:
        return
    if fields.get("num_frames") is not None:
        mistakes.add((*path, "duration"), "both duration and num_frames are given; keep one")
    rate = fps if type(fps) is int and 1 <= fps <= MAX_FPS else DEFAULT_FPS  # another one is told of by itself
    try:
        seconds = seconds_of(duration)
    except ValueError:
        return
    if frames_for(seconds, rate) > MAX_NUM_FRAMES:
        message = f"is {frames_for(seconds, rate)} frames at {rate} per second; a shot has at most {MAX_NUM_FRAMES}"
        mistakes.add((*path, "duration"), message)


def _check_defaults(fields: dict[str, Any], mistakes: Mistakes) -> None:
    """Settings that contradict each other, by the settings' own rules; a single wrong one is found without these."""
    for path, raw, entry, config in (
        (("defaults",), fields, DefaultsEntry, SamplingConfig),
        (("defaults", "memory"), _mapping(fields.get("memory")), MemoryEntry, MemoryConfig),
    ):
        try:
            said = entry.model_validate(raw).model_dump(exclude_none=True)
        except ValueError:
            continue
        try:
            config(**{name: value for name, value in said.items() if name in config.__dataclass_fields__})
        except SettingsError as error:
            mistakes.add(path, str(error).removesuffix("."))


def _reference(text: str, base: Path | None, *, kept: bool) -> Path | str:
    """The reference image `text` in the script's folder `base`, or what is wrong with it."""
    inside = 'a reference is a path inside the script\'s folder, such as "pictures/mara.png": copy the picture there'
    pure = PurePosixPath(text)
    if (
        "\\" in text
        or "\0" in text
        or pure.is_absolute()
        or PureWindowsPath(text).drive
        or ".." in pure.parts
        or text.startswith("~")
    ):
        return inside
    if base is None:
        return "a script without a folder of its own cannot have reference images"
    folder = Path(os.path.realpath(base))
    path = Path(os.path.realpath(folder / pure))
    if not path.is_relative_to(folder):
        return inside
    try:
        found = path.is_file()
    except (OSError, ValueError):
        found = False
    return path if found or kept else f"there is no such file in {folder}"
