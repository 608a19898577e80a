"""Portraits of the cast: made before a film, like shots but no part of it, and remembered like reference images.

One clear picture of each character is fetched better from the memory than many that were made in passing
(`docs/storyland.md`, "With portraits"). A portrait is made of its prompt, with the character's description woven in,
and sees the character's own reference images and nothing else. Its middle frame goes into the memory.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import count
from typing import TYPE_CHECKING

from storymem.errors import FilmError
from storymem.film.takes import keyframe_label
from storymem.memory.bank import FloatArray, Keyframe
from storymem.memory.encoders import FrameEncoder
from storymem.memory.keyframes import encode_references
from storymem.story.cast import weave
from storymem.story.model import Character, Shot, Story

if TYPE_CHECKING:
    from storymem.film.film_settings import FilmSettings

__all__ = [
    "as_reference",
    "choosing",
    "label_of",
    "no_such_shot",
    "portrait_keyframe",
    "portrait_label",
    "portraits_of",
    "shots_until",
]

ALL = "portraits"
"""What stands for all portraits where a shot's id is asked for."""

_PREFIX = "portrait-"
_LONGEST_ID, _MARK = 64, 6
_TOLD = 8  # ids of shots in a message, at most


def portraits_of(story: Story, settings: FilmSettings) -> tuple[Shot, ...]:
    """The portraits of a film, in the order of its cast.

    Of a character of whom the script says nothing else, one is made if the film's settings ask for portraits, the
    character has a description and no reference images, and a shot shows it. Without memory none is made.

    Args:
        story: with its cast.
        settings: of the film.
    """
    if not settings.memory.capacity:
        return ()
    named = {name for shot in story.shots for name in (*shot.characters, *(shot.shows or ()))}
    shown = [character for character in story.cast if _is_wanted(character, named, settings)]
    ids = _ids(shown, taken={shot.id for shot in story.shots})
    return tuple(
        _portrait(number, character, shot_id, story, settings.portrait_prompt)
        for number, (character, shot_id) in enumerate(zip(shown, ids, strict=True))
    )


def _is_wanted(character: Character, named: set[str], settings: FilmSettings) -> bool:
    if character.portrait is not None:
        return bool(character.portrait)
    return settings.portraits and bool(character.description) and not character.references and character.name in named


def _portrait(number: int, character: Character, shot_id: str, story: Story, suggested: str) -> Shot:
    own = character.portrait
    prompt = own if isinstance(own, str) else suggested.replace("{name}", character.name)
    full_prompt, characters = weave(prompt, story.cast)
    return Shot(
        id=shot_id,
        index=number,
        scene=0,
        prompt=prompt,
        full_prompt=full_prompt,
        cut=True,
        characters=characters,
        portrait_of=character.name,
    )


def _ids(cast: Sequence[Character], taken: set[str]) -> list[str]:
    """Ids that name files, each only once. Who else is in the cast changes none, but where two would have the same."""
    slugs = [_slug(character.name) for character in cast]
    return [
        next(name for name in _choices(slug, character.name, alone=slugs.count(slug) == 1) if name not in taken)
        for slug, character in zip(slugs, cast, strict=True)
    ]


def _choices(slug: str, name: str, *, alone: bool) -> Iterator[str]:
    if alone:
        yield _PREFIX + slug
    for number in count():
        yield _PREFIX + _marked(slug, name if not number else f"{name} {number}")


def _slug(name: str) -> str:
    """The name in small Latin letters, with a mark if that is not all of it."""
    plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode()
    slug = _cut(re.sub(r"[^a-z0-9]+", "-", plain.lower()).strip("-"))
    return slug if name.isascii() and slug else _marked(slug, name)


def _marked(slug: str, name: str) -> str:
    mark = hashlib.sha256(name.encode()).hexdigest()[:_MARK]
    return f"{_cut(slug)}-{mark}" if slug else mark


def _cut(slug: str) -> str:
    """So much of it that there is room for a mark in an id."""
    return slug[: _LONGEST_ID - len(_PREFIX) - _MARK - 1].strip("-")


def shots_until(story: Story, settings: FilmSettings, last: str | None) -> tuple[Shot, ...]:
    """All that takes are made of, in the order of making, up to one that is among them.

    Args:
        story: the story.
        settings: of its film.
        last: id of a shot or portrait; ``portraits``, where no shot has that id, for those alone; None for all.

    Raises:
        FilmError: the film has no such shot, or no portraits.
    """
    portraits = portraits_of(story, settings)
    shots = (*portraits, *story.shots)
    if last is None:
        return shots
    ids = [shot.id for shot in shots]
    if last in ids:
        return shots[: ids.index(last) + 1]
    if last != ALL:
        raise no_such_shot(last, ids)
    if not portraits:
        how = "ask for them with --portraits, or in the script"
        how = how if settings.memory.capacity else "they are made where there is a memory: raise its capacity"
        raise FilmError(f"The film has no portraits: {how}.")
    return portraits


def no_such_shot(name: str, ids: Sequence[str]) -> FilmError:
    """The error that says so, and which there are."""
    some = ", ".join(ids if len(ids) <= _TOLD else [*ids[: _TOLD // 2], "...", *ids[-2:]])
    return FilmError(f"The film has no shot {name!r}; its shots are {some}.")


def portrait_keyframe(frames: FloatArray, *, encoder: FrameEncoder, shot: Shot) -> Keyframe:
    """The keyframe of a portrait: its middle frame.

    Args:
        frames: ``[F, 3, H, W]``, as decoded.
        encoder: the film's frame encoder.
        shot: the portrait.

    Raises:
        ModelError: the frame has values that are not finite.
    """
    middle = len(frames) // 2
    (keyframe,) = encode_references([frames[middle]], encoder=encoder)
    return replace(keyframe, shot_id=shot.id, shot_index=shot.index, frame_index=middle)


def as_reference(keyframe: Keyframe, name: str) -> Keyframe:
    """A portrait's keyframe as the memory of the film has it: a reference image of the character `name`."""
    return replace(keyframe, shot_id=None, shot_index=None, frame_index=None, label=portrait_label(name))


def portrait_label(name: str) -> str:
    """What people call the portrait of the character `name`."""
    return f"{name} (portrait)"


def label_of(shot: Shot, frame_index: int) -> str:
    """What people call a keyframe of a shot or of a portrait."""
    return keyframe_label(shot.id, frame_index) if shot.portrait_of is None else portrait_label(shot.portrait_of)


def choosing(encoder: str) -> dict[str, int | float | str | None]:
    """The part of a portrait's recipe that decides which of its frames is remembered.

    Args:
        encoder: identity of the frame encoder.
    """
    return {"frame": "middle", "encoder": encoder}
