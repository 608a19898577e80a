"""The identity of weights: what says, in the key of a take, which model made it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from pathlib import Path

from storymem.errors import ModelError
from storymem.models.layouts import find_lora, find_model, weights_in

__all__ = ["FULL_UP_TO", "file_identity", "lora_identity", "model_identity"]

_BLOCK = 1 << 20
_BLOCKS = 64
FULL_UP_TO = _BLOCK * _BLOCKS
"""Files up to this size (64 MiB) are hashed whole; of larger ones, 64 blocks of 1 MiB, evenly spread."""


def file_identity(path: Path) -> str:
    """SHA-256 of a file's size and content, or, above `FULL_UP_TO`, of its size and 64 blocks of 1 MiB.

    The blocks are evenly spread, the first at the start and the last at the end. So a fine-tuned, quantized or cut
    copy of a 28 GB file is told from the original in a moment; a few changed bytes between two blocks are not: that is
    what ``storymem models check --hash`` is for.

    Raises:
        ModelError: the file cannot be read.
    """
    digest = hashlib.sha256()
    try:
        size = path.stat().st_size
        digest.update(size.to_bytes(8, "little"))
        with path.open("rb") as file:
            if size <= FULL_UP_TO:
                while block := file.read(_BLOCK):
                    digest.update(block)
            else:
                for i in range(_BLOCKS):
                    file.seek((size - _BLOCK) * i // (_BLOCKS - 1))
                    digest.update(file.read(_BLOCK))
    except OSError as error:
        raise ModelError(f"{path}: cannot be read ({error.strerror or error}).") from error
    return digest.hexdigest()


def model_identity(folder: Path | None, *, files: Mapping[str, Path] | None = None) -> str:
    """SHA-256 identity of a model, as `storymem.models.layouts.find_model` finds it.

    It depends on what the files contain and on the component each belongs to, not on where they lie: a copy in another
    folder is the same model, exchanged experts are not.

    Args:
        folder: an original or a diffusers folder; None when `files` names every part.
        files: component name → a file that takes the place of the folder's.

    Raises:
        ModelError: a part is missing or cannot be read.
    """
    parts = find_model(folder, files=files).parts
    roles: dict[str, tuple[Path, ...]] = {}
    for name, part in parts.items():
        if name == "tokenizer":
            roles[name] = tuple(sorted(path for path in part.path.iterdir() if path.is_file()))
        else:
            config = (part.path / "config.json",) if part.config else ()
            roles[name] = (*config, *weights_in(part.path))
    return _identity(roles)


def lora_identity(path: Path) -> str:
    """SHA-256 identity of a LoRA, as `storymem.models.layouts.find_lora` finds it; its strength is not in it.

    Raises:
        ModelError: there is no such LoRA, or it cannot be read.
    """
    return _identity({role: _with_settings(file) for role, file in find_lora(path).items()})


def _with_settings(file: Path) -> tuple[Path, ...]:
    """A LoRA file and the settings that PEFT may have put beside it: they change its scale."""
    settings = file.parent / "adapter_config.json"
    return (file, settings) if settings.is_file() else (file,)


def _identity(roles: Mapping[str, Iterable[Path]]) -> str:
    digest = hashlib.sha256()
    for role in sorted(roles):
        for path in roles[role]:
            digest.update(f"{role}\0{file_identity(path)}\n".encode())
    return digest.hexdigest()
