"""What the loaders of encoders and scorers share: devices, and the identity of weights on disk."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING

from storymem.errors import SettingsError

if TYPE_CHECKING:
    import torch

__all__ = ["device_dtype", "fingerprint"]

_WEIGHTS = (".safetensors", ".bin", ".json")


def device_dtype(device: str, dtype: str | None, *, default: torch.dtype) -> tuple[torch.device, torch.dtype]:
    """The device and number type that those words mean.

    Raises:
        SettingsError: this machine has no such device.
    """
    import torch

    number_type = default if dtype is None else getattr(torch, dtype)
    try:
        target = torch.device(device)
        torch.empty(0, device=target)
    except (RuntimeError, AssertionError) as error:  # torch built without CUDA asserts
        raise SettingsError(f"device {device!r} is not there on this machine: choose another, such as cpu.") from error
    return target, number_type


def fingerprint(folder: Path) -> str:
    """SHA-256 of the names and contents of the weights and settings in a folder."""
    digest = hashlib.sha256()
    for file in sorted(path for path in folder.iterdir() if path.suffix in _WEIGHTS):
        digest.update(file.name.encode() + b"\0")
        with file.open("rb") as stream:
            digest.update(hashlib.file_digest(stream, "sha256").digest())
    return digest.hexdigest()
