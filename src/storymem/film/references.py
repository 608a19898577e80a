"""Reference images of the cast, kept in the film: a film goes on when the originals are gone."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from storymem.errors import FilmDamagedError, FilmError
from storymem.film.record import digest_of
from storymem.film.sealed import check_content, read_seal, seal, set_aside
from storymem.film.storage import make_folder, publish_folder, sweep, temporary_folder, write_file
from storymem.film.takes import KEY_LENGTH
from storymem.media import read_image, resize_frame, write_png
from storymem.memory.bank import FloatArray, Keyframe, frame_id
from storymem.memory.encoders import FrameEncoder
from storymem.memory.keyframes import encode_references
from storymem.story.model import Story

__all__ = ["Image", "ReferenceStore", "read_references", "reference_labels", "reference_set_key", "same_references"]

_FRAMES = "references.safetensors"
_RECORD = "references.json"
_KEY = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, eq=False)
class Image:
    """A reference image in the film's size: ``[3, H, W]`` and what people call it."""

    label: str
    pixels: FloatArray


def reference_labels(story: Story) -> tuple[str, ...]:
    """What each reference image of the cast is called, in the order of the script."""
    return tuple(f"{character.name} ({path.name})" for character in story.cast for path in character.references)


def same_references(story: Story, before: Story) -> bool:
    """Whether two versions of a script speak of the same reference images: whose each is, and where it lies as seen
    from the script; without a script, what it is called.

    Args:
        story: as it is now.
        before: as a film kept it, perhaps when its script lay elsewhere.
    """
    now, then = _references(story), _references(before)
    if [name for name, _ in now] != [name for name, _ in then]:
        return False
    home, old_home = _home(story), _home(before)
    seen = [_seen_from(home, path) for _, path in now]
    if before.source is not None and not before.source.is_absolute():
        # Nobody knows any more from which folder that was meant, only where the images were.
        return all(old.parts[-len(new.parts) :] == new.parts for new, (_, old) in zip(seen, then, strict=True))
    return seen == [_seen_from(old_home, path) for _, path in then]


def _references(story: Story) -> list[tuple[str, Path]]:
    return [(character.name, path.resolve()) for character in story.cast for path in character.references]


def _home(story: Story) -> Path | None:
    return None if story.source is None else story.source.parent.resolve()


def _seen_from(home: Path | None, path: Path) -> Path:
    return Path(path.name) if home is None or not path.is_relative_to(home) else path.relative_to(home)


def read_references(story: Story, width: int, height: int) -> tuple[Image, ...]:
    """The reference images of the cast, scaled to fill the film's size and cut to its middle.

    Raises:
        MediaError: one cannot be read.
    """
    return tuple(
        Image(label, resize_frame(read_image(path), width, height))
        for label, path in zip(reference_labels(story), story.references, strict=True)
    )


def reference_set_key(images: Sequence[Image], encoder: str) -> str:
    """SHA-256 of labels, pixels and the encoder's identity: what a kept set is found by."""
    return digest_of({"images": [[image.label, frame_id(image.pixels)] for image in images], "encoder": encoder})


class ReferenceStore:
    """The folder ``references`` of a film."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._loaded: dict[str, tuple[Keyframe, ...]] = {}

    def folder_of(self, key: str) -> Path:
        """Where the set with this key is or would be.

        Raises:
            FilmError: it is no key.
        """
        if not _KEY.fullmatch(key):
            raise FilmError(f"{key!r} is not the key of a set of reference images: it must be 64 hexadecimal digits.")
        return self.folder / key[:KEY_LENGTH]

    def picture(self, key: str, number: int) -> str:
        """Path of an image's PNG, relative to the film's folder."""
        return f"{self.folder.name}/{key[:KEY_LENGTH]}/{number:02}.png"

    def load(self, key: str) -> tuple[Keyframe, ...]:
        """The set with this key.

        Raises:
            FilmDamagedError: it is missing or not as it was written.
        """
        from safetensors.numpy import load

        if key in self._loaded:
            return self._loaded[key]
        folder = self.folder_of(key)
        try:
            record = read_seal(folder, _RECORD)
            check_content(folder, record["files"])
            if record.get("key") != key:
                raise FilmDamagedError(f"{folder}: {_RECORD} is of another set of images")
            data = (folder / _FRAMES).read_bytes()
        except (FilmDamagedError, OSError) as error:
            raise FilmDamagedError(
                f"{error}: the film's reference images are missing or damaged: run the same `generate` command again "
                "while the original pictures are where the script says."
            ) from error
        tensors = load(data)
        self._loaded[key] = tuple(
            Keyframe(id=image["id"], pixels=pixels, embedding=embedding, label=image["label"])
            for image, pixels, embedding in zip(record["images"], tensors["pixels"], tensors["embeddings"], strict=True)
        )
        return self._loaded[key]

    def find(self, labels: Sequence[str]) -> str | None:
        """The key of the kept set with these labels, where nothing says it any more; None if none or several are whole.

        Args:
            labels: see `reference_labels`.
        """
        found = []
        for folder in sorted(self.folder.iterdir()) if self.folder.is_dir() else ():
            try:
                record = read_seal(folder, _RECORD)
                keyframes = self.load(str(record.get("key")))
            except FilmError:
                continue  # what is damaged cannot take the place of the pictures, whose loss is told then
            if tuple(keyframe.label for keyframe in keyframes) == tuple(labels):
                found.append(str(record["key"]))
        return found[0] if len(found) == 1 else None

    def keep(self, images: Sequence[Image], encoder: FrameEncoder) -> str:
        """Keep a set, unless it is there already and whole; returns its key.

        Raises:
            StorageError: the system refused a write.
        """
        from safetensors.numpy import save

        key = reference_set_key(images, encoder.identity)
        folder = self.folder_of(key)
        if folder.exists():
            try:
                self.load(key)
            except FilmDamagedError:
                set_aside(folder)
            else:
                return key
        keyframes = encode_references(
            [image.pixels for image in images], encoder=encoder, labels=[image.label for image in images]
        )
        tensors = {
            "pixels": np.stack([keyframe.pixels for keyframe in keyframes]),
            "embeddings": np.stack([keyframe.embedding for keyframe in keyframes]),
        }
        make_folder(self.folder)
        with temporary_folder(self.folder, key[:KEY_LENGTH]) as temporary:
            write_file(temporary / _FRAMES, save(tensors))
            pictures = [f"{number:02}.png" for number in range(len(images))]
            for name, image in zip(pictures, images, strict=True):
                write_png(temporary / name, image.pixels)
            facts = {
                "key": key,
                "encoder": encoder.identity,
                "images": [{"label": keyframe.label, "id": keyframe.id} for keyframe in keyframes],
            }
            seal(temporary, _RECORD, facts, [_FRAMES, *pictures])
            publish_folder(temporary, folder)
        return key

    def sweep(self) -> None:
        """Remove what unfinished work left.

        Raises:
            StorageError: the system refused it.
        """
        if self.folder.is_dir():
            sweep(self.folder)
