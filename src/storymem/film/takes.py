"""Takes: what one making of one shot left behind, as a folder that is written once and never changed.

A take is found by its key, the SHA-256 of everything that decided what it looks like, and never by looking around in
the folder. So what an older run left there cannot find its way into a film.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import numpy.typing as npt

from storymem.errors import FilmDamagedError, FilmError
from storymem.film.maker import MOTION_FRAMES, Mode
from storymem.film.recipe import Recipe
from storymem.film.sealed import check_content, read_seal, seal
from storymem.film.storage import make_folder, publish_folder, sweep, sync_folder, temporary_folder, write_file
from storymem.media import write_png, write_video
from storymem.memory.bank import Keyframe

if TYPE_CHECKING:
    from pydantic import TypeAdapter

__all__ = [
    "KEY_LENGTH",
    "KeyframeRecord",
    "SeenKeyframe",
    "Take",
    "TakeRecord",
    "TakeStore",
    "check_shot_id",
    "is_shot_id",
]

FloatArray = npt.NDArray[np.float32]

KEY_LENGTH = 16
"""Characters of a key that name a take's folder; the whole key is in the take's record and is compared."""

MASTER = "master.mkv"
FRAMES = "frames.safetensors"
RECORD = "take.json"
PREVIEWS = "keyframes"

_FORMAT = 1
_SHOT_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_KEY = re.compile(r"[0-9a-f]{64}")


def is_shot_id(text: str) -> bool:
    """Whether it is safe as the name of a folder; see `check_shot_id`."""
    return _SHOT_ID.fullmatch(text) is not None


def check_shot_id(shot_id: str) -> str:
    """The id, if it is safe as the name of a folder.

    Raises:
        FilmError: it is not: it could lead out of the film's folder.
    """
    if not is_shot_id(shot_id):
        raise FilmError(
            f"{shot_id!r} cannot be a shot's id: use up to 64 letters, digits, dots, hyphens and underscores, "
            "a letter or digit first."
        )
    return shot_id


@dataclass(frozen=True, slots=True)
class KeyframeRecord:
    """A keyframe of a take: its id, its place in the shot and its score; its pixels are in ``frames.safetensors``."""

    id: str
    frame_index: int
    quality: float | None


@dataclass(frozen=True, slots=True)
class SeenKeyframe:
    """A keyframe that a shot saw.

    Attributes:
        id: its content address.
        label: what people call it.
        picture: path of a PNG of it, relative to the film's folder, with forward slashes.
    """

    id: str
    label: str
    picture: str


@dataclass(frozen=True, slots=True)
class TakeRecord:
    """What ``take.json`` says.

    Attributes:
        format: of this file.
        key: of the take.
        shot_id: the shot that it is a take of.
        prompt: as written, without the cast woven in.
        mode: what it was conditioned on.
        recipe: what went into the key.
        saw: the memory, in the order of the recipe's.
        continues: id of the shot whose last frames it begins with.
        keyframes: its own, in order of time.
        made: when, how long it took, with which versions: nothing that anything depends on.
    """

    format: int
    key: str
    shot_id: str
    prompt: str
    mode: Mode
    recipe: Recipe
    saw: tuple[SeenKeyframe, ...]
    continues: str | None
    keyframes: tuple[KeyframeRecord, ...]
    made: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Take:
    """A take on the disk, of the right key and with all its files there in the right size."""

    folder: Path
    record: TakeRecord

    @property
    def key(self) -> str:
        """SHA-256 of the recipe."""
        return self.record.key

    @property
    def master(self) -> Path:
        """The shot, lossless: FFV1 in Matroska."""
        return self.folder / MASTER

    @property
    def previews(self) -> tuple[Path, ...]:
        """A PNG of each keyframe."""
        return tuple(self.folder / preview_name(number) for number in range(len(self.record.keyframes)))

    def keyframes(self, shot_index: int) -> tuple[Keyframe, ...]:
        """The keyframes, bit for bit as they were decoded.

        Args:
            shot_index: where the shot is in the film now.

        Raises:
            FilmDamagedError: the file cannot be read.
        """
        pixels, embeddings = self._tensors("keyframes", "embeddings")
        try:
            return tuple(
                Keyframe(
                    id=record.id,
                    pixels=frame,
                    embedding=embedding,
                    quality=record.quality,
                    shot_id=self.record.shot_id,
                    shot_index=shot_index,
                    frame_index=record.frame_index,
                    label=keyframe_label(self.record.shot_id, record.frame_index),
                )
                for record, frame, embedding in zip(self.record.keyframes, pixels, embeddings, strict=True)
            )
        except ValueError as error:
            raise FilmDamagedError(f"{self.folder}: {FRAMES} is not as it was written ({error})") from error

    def last_frames(self, count: int) -> FloatArray:
        """The last frames, ``[count, 3, H, W]``, bit for bit as they were decoded; fewer if the shot is shorter.

        Raises:
            FilmDamagedError: the file cannot be read.
        """
        return self._tensors("tail")[0][-count:]

    def _tensors(self, *names: str) -> list[FloatArray]:
        from safetensors import SafetensorError, safe_open

        path = self.folder / FRAMES
        try:
            with safe_open(path, framework="np") as file:
                return [cast(FloatArray, file.get_tensor(name)) for name in names]
        except (SafetensorError, OSError) as error:
            raise FilmDamagedError(f"{self.folder}: {FRAMES} cannot be read ({error})") from error


class TakeStore:
    """The folder ``takes`` of a film."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._whole: set[Path] = set()  # takes whose every byte was read or written by this process

    def folder_of(self, shot_id: str, key: str) -> Path:
        """Where the take with this key is or would be.

        Raises:
            FilmError: the id or the key is not one, so that the path could lead elsewhere.
        """
        if not _KEY.fullmatch(key):
            raise FilmError(f"{key!r} is not the key of a take: it must be 64 hexadecimal digits.")
        return self.folder / check_shot_id(shot_id) / key[:KEY_LENGTH]

    def find(self, shot_id: str, key: str, *, verify: bool) -> Take | None:
        """The take with this key; None if there is none.

        Args:
            shot_id: the shot.
            key: the whole key.
            verify: read every byte of it, not only the record and the sizes.

        Raises:
            FilmDamagedError: it is there, but not as it was written.
        """
        take = self._read(self.folder_of(shot_id, key), verify=verify)
        if take is not None and (take.key != key or take.record.shot_id != shot_id):
            raise FilmDamagedError(f"{take.folder}: {RECORD} is of another take")
        return take

    def find_named(self, shot_id: str, name: str) -> Take | None:
        """The take in the folder of this name, the first 16 digits of its key; None if there is none.

        Raises:
            FilmDamagedError: as for `find`.
        """
        take = self._read(self.folder_of(shot_id, name.ljust(64, "0")), verify=False)
        return None if take is None else self.find(shot_id, take.key, verify=True)

    def _read(self, folder: Path, *, verify: bool) -> Take | None:
        from pydantic import ValidationError

        if not folder.is_dir():
            return None
        facts = read_seal(folder, RECORD)
        if verify and folder not in self._whole:
            check_content(folder, facts["files"])
            self._whole.add(folder)
        try:
            record = _record_adapter().validate_python(facts)
        except ValidationError as error:
            raise FilmDamagedError(
                f"{folder}: {RECORD} is no take's record ({error.error_count()} mistakes)"
            ) from error
        if record.format > _FORMAT:
            raise FilmError(f"{folder}: this take was made by a newer storymem: update with `pip install -U storymem`.")
        if record.recipe.key != record.key:
            raise FilmDamagedError(f"{folder}: {RECORD} has a key that is not its recipe's")
        return Take(folder, record)

    def write(
        self,
        recipe: Recipe,
        *,
        shot_id: str,
        prompt: str,
        mode: Mode,
        frames: FloatArray,
        keyframes: Sequence[Keyframe],
        saw: Sequence[SeenKeyframe],
        continues: str | None,
        made: Mapping[str, Any],
    ) -> Take:
        """Write a take; it is there whole when this returns, and not at all if it raises.

        Args:
            recipe: what the frames were made from.
            shot_id: the shot.
            prompt: as written.
            mode: what it was conditioned on.
            frames: ``[F, 3, H, W]``, float32 in [-1, 1].
            keyframes: of this shot.
            saw: the memory.
            continues: the shot whose last frames it begins with.
            made: facts for people; anything that JSON can hold.

        Raises:
            StorageError: the system refused a write.
        """
        from safetensors.numpy import save

        key = recipe.key
        final = self.folder_of(shot_id, key)
        height, width = frames.shape[2:]
        empty = np.zeros((0, 3, height, width), dtype=np.float32)
        tensors = {
            "keyframes": np.stack([keyframe.pixels for keyframe in keyframes]) if keyframes else empty,
            "embeddings": np.stack([k.embedding for k in keyframes]) if keyframes else np.zeros((0, 0), np.float32),
            "tail": np.ascontiguousarray(frames[-MOTION_FRAMES:]),
        }
        with temporary_folder(final.parent, key[:KEY_LENGTH]) as folder:
            write_file(folder / FRAMES, save(tensors))
            write_video(folder / MASTER, frames, int(cast(int, recipe.sampling["fps"])), codec="ffv1")
            names = [FRAMES, MASTER]
            if keyframes:
                make_folder(folder / PREVIEWS)
            for number, keyframe in enumerate(keyframes):
                names.append(preview_name(number))
                write_png(folder / names[-1], keyframe.pixels)
            record = TakeRecord(
                format=_FORMAT,
                key=key,
                shot_id=shot_id,
                prompt=prompt,
                mode=mode,
                recipe=recipe,
                saw=tuple(saw),
                continues=continues,
                keyframes=tuple(KeyframeRecord(k.id, k.frame_index or 0, k.quality) for k in keyframes),
                made=made,
            )
            seal(folder, RECORD, asdict(record), names)
            publish_folder(folder, final)
        self._whole.add(final)
        return Take(final, record)

    def confirm(self, take: Take) -> None:
        """Wait until the name of a take is on the disk: the process that renamed it may have been killed before.

        Raises:
            StorageError: the system reports that it could not be written.
        """
        sync_folder(take.folder.parent)

    def sweep(self, shot_ids: Iterable[str]) -> None:
        """Remove unfinished takes of these shots.

        Raises:
            StorageError: the system refused it.
        """
        for shot_id in shot_ids:
            if (folder := self.folder / check_shot_id(shot_id)).is_dir():
                sweep(folder)


def preview_name(number: int) -> str:
    """Path of a keyframe's PNG in its take's folder."""
    return f"{PREVIEWS}/{number:02}.png"


def keyframe_label(shot_id: str, frame_index: int) -> str:
    """What people call a keyframe."""
    return f"shot {shot_id}, frame {frame_index}"


@cache
def _record_adapter() -> TypeAdapter[TakeRecord]:
    from pydantic import TypeAdapter

    return TypeAdapter(TakeRecord)
