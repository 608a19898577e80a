"""Names: of systems of several folders that are put side by side, and the order of clips by the numbers in theirs."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from pathlib import Path

from storymem.errors import SettingsError

__all__ = ["folder_labels", "leading_numbers", "natural_order", "system_names"]

_NUMBERS = re.compile(r"\d+(?:[-_.]\d+)*")


def leading_numbers(name: str) -> tuple[int, ...]:
    """The numbers that a name begins with: 1 of ``1.mp4``, 1 and 2 of ``01-02_take3.mp4``; empty if there is none."""
    found = _NUMBERS.match(name)
    return () if found is None else tuple(int(part) for part in re.findall(r"\d+", found.group()))


def natural_order(name: str) -> tuple[bool, tuple[int, ...], tuple[str | int, ...]]:
    """What to sort names by so that they stand as people count: 1, 2, 10; 01-01, 01-02, 02-01; shot1, shot2, shot10.

    Names that begin with a number come first, and those without any stand by their letters.
    """
    # Texts and numbers take turns, a text first, so only like is compared with like.
    parts = tuple(int(part) if index % 2 else part for index, part in enumerate(re.split(r"(\d+)", name)))
    numbers = leading_numbers(name)
    return not numbers, numbers, parts


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
