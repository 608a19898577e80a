"""What the systems of several folders are called when they are put side by side."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path

from storymem.errors import SettingsError

__all__ = ["folder_labels", "system_names"]


def folder_labels(folders: Sequence[Path]) -> list[str]:
    """Each folder's shortest ending that no other one has: ``x/bench`` and ``y/bench``, but ``ours`` and ``theirs``.

    Raises:
        SettingsError: a folder is given twice.
    """
    paths = [folder.resolve() for folder in folders]
    labels = []
    for index, path in enumerate(paths):
        others = paths[:index] + paths[index + 1 :]
        if path in others:
            raise SettingsError(f"{folders[index]}: is given twice: name every folder once.")
        length = next(n for n in range(1, len(path.parts) + 1) if all(_end(path, n) != _end(o, n) for o in others))
        labels.append(str(Path(*_end(path, length))))
    return labels


def _end(path: Path, length: int) -> tuple[str, ...]:
    return path.parts[-length:]


def system_names(folders: Sequence[Path], systems: Sequence[Collection[str]]) -> list[dict[str, str]]:
    """For each folder what its systems are called: by their own name in the first that has it, then behind a label.

    Args:
        folders: that are compared, in order.
        systems: of each folder.

    Raises:
        SettingsError: a folder is given twice.
    """
    known: set[str] = set()
    names = []
    for label, own in zip(folder_labels(folders), systems, strict=True):
        names.append({name: f"{label}/{name}" if name in known else name for name in own})
        known.update(own)
    return names
