"""The seam to what reads attributes off pictures: a world that knows what is true may bring a reader of its own."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from storymem.film.storage import hash_file, make_folder, replace_file
from storymem.media import FloatArray, Uint8Array, from_uint8, read_video

__all__ = ["AttributeReader", "ShotSeen", "cached_reading"]

_MOST_FRAMES = 33


@dataclass(frozen=True)
class ShotSeen:
    """What was seen in a shot.

    Attributes:
        characters: the attributes of each character of the truth, in its order; empty for one that was not found.
        setting: what else was seen, by the names that the truth's ``setting`` has.
    """

    characters: tuple[Mapping[str, str | None], ...]
    setting: Mapping[str, str | None]


class AttributeReader(Protocol):
    """Says what is in a shot.

    The truth of a shot is a mapping: ``characters``, a list with ``name``, ``attributes`` (name to value, None for "not
    there"), ``visible`` (the attributes that can be seen) and ``told`` (those that the prompt tells) of each; and
    ``setting``, name to value, all that else was asked for, such as the place.
    """

    @property
    def name(self) -> str:
        """What reports call it."""

    @property
    def identity(self) -> str:
        """Changes whenever its results do."""

    @property
    def accuracy(self) -> Mapping[str, float]:
        """How often it is right where the truth is known, by attribute; empty if that was not measured."""

    def read(self, frames: FloatArray, truth: Mapping[str, Any]) -> ShotSeen:
        """What is in the frames ``[F, 3, H, W]`` in [-1, 1] of a shot; the truth says only whom to look for."""


def cached_reading(
    path: Path, drop: int, truth: Mapping[str, Any], reader: AttributeReader, cache: Path | None
) -> ShotSeen:
    """What a reader sees in a shot's file, in at most 33 frames; from the cache, if it has read this content before.

    Args:
        path: a video.
        drop: frames at its start that do not count.
        truth: see `AttributeReader`.
        reader: reads.
        cache: a folder; None: no cache.
    """
    file = None
    if cache is not None:
        parts = ("reading-1", reader.identity, json.dumps(truth, sort_keys=True), str(drop), hash_file(path))
        key = hashlib.sha256("\n".join(parts).encode()).hexdigest()
        file = cache / key[:2] / f"{key}.json"
        try:
            kept = json.loads(file.read_text(encoding="utf-8"))
            return ShotSeen(tuple(kept["characters"]), kept["setting"])
        except (OSError, ValueError, KeyError, TypeError):
            pass  # not there, or not whole: read again
    seen = reader.read(from_uint8(np.stack(_thinned(list(read_video(path))[drop:]))), truth)
    if file is not None:
        make_folder(file.parent)
        kept = {"characters": [dict(one) for one in seen.characters], "setting": dict(seen.setting)}
        replace_file(file, json.dumps(kept).encode())
    return seen


def _thinned(frames: Sequence[Uint8Array]) -> list[Uint8Array]:
    step = -(-len(frames) // _MOST_FRAMES)
    return list(frames[::step])
