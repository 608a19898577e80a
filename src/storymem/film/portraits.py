"""Portraits of the cast: made before a film, like shots but no part of it, and remembered like reference images.

One clear picture of each character is fetched better from the memory than many that were made in passing
(`docs/storyland.md`, "With portraits"). A portrait is made of its prompt, with the character's description woven in,
and sees the character's own reference images and nothing else. Its middle frame goes into the memory.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from storymem.memory.bank import FloatArray, Keyframe
from storymem.memory.encoders import FrameEncoder
from storymem.memory.keyframes import encode_references
from storymem.story.cast import weave
from storymem.story.model import Character, Shot, Story

if TYPE_CHECKING:
    from storymem.film.film_settings import FilmSettings

__all__ = ["as_reference", "choosing", "portrait_keyframe", "portrait_label", "portraits_of"]

_PREFIX = "portrait-"
_LONGEST_ID = 64


def portraits_of(story: Story, settings: FilmSettings) -> tuple[Shot, ...]:
    """The portraits of a film, in the order of its cast.

    Of a character of whom the script says nothing else, one is made if the film's settings ask for portraits, the
    character has a description and no reference images, and a prompt names it. Without memory none is made.

    Args:
        story: with its cast.
        settings: of the film.
    """
    if not settings.memory.capacity:
        return ()
    named = {name for shot in story.shots for name in shot.characters}
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


def _ids(cast: Sequence[Character], taken: set[str]) -> Iterator[str]:
    """Ids that name files, by the characters' names as far as Latin letters go, each only once."""
    used = set(taken)
    for number, character in enumerate(cast, 1):
        plain = unicodedata.normalize("NFKD", character.name).encode("ascii", "ignore").decode().lower()
        slug = re.sub(r"[^a-z0-9]+", "-", plain).strip("-")[: _LONGEST_ID - len(_PREFIX) - 4].strip("-")
        wanted = name = _PREFIX + (slug or str(number))
        again = 1
        while name in used:
            again += 1
            name = f"{wanted}-{again}"
        used.add(name)
        yield name


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


def choosing(encoder: str) -> dict[str, int | float | str | None]:
    """The part of a portrait's recipe that decides which of its frames is remembered.

    Args:
        encoder: identity of the frame encoder.
    """
    return {"frame": "middle", "encoder": encoder}
