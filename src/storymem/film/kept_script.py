"""The script in a film's folder: a copy of what the film was made of, which people edit all the same."""

from __future__ import annotations

from pathlib import Path

from storymem.film.manifest import Manifest
from storymem.film.storage import hash_file, remove_file, rename, replace_file

__all__ = ["keep_script"]


def keep_script(folder: Path, script: bytes, *, before: Manifest, now: Manifest) -> Path | None:
    """Put the film's script into its folder, and the one that it takes the place of aside if somebody edited it.

    Args:
        folder: of the film.
        script: the content that `now` has the hash of.
        before: the film as it was.
        now: the film as it is.

    Returns:
        Where the edited script is now; None if there was none.

    Raises:
        StorageError: the system refused a write; what was edited is still there.
    """
    path, edited = folder / now.script_name, None
    for old in dict.fromkeys((folder / before.script_name, path)):
        if _hash(old) not in (None, before.script_sha256, now.script_sha256) and _is_text(old):
            edited = _set_aside(old)
    if _hash(path) != now.script_sha256:
        replace_file(path, script)
    if before.script_name != now.script_name:
        remove_file(folder / before.script_name)
    return edited


def _hash(path: Path) -> str | None:
    try:
        return hash_file(path)
    except OSError:
        return None


def _is_text(path: Path) -> bool:
    """Whether somebody may have written it, mistakes and all; of what a disk spoils nothing is left, or no text."""
    try:
        text = path.read_bytes().decode()
    except (OSError, UnicodeDecodeError):
        return False
    return bool(text.strip()) and "\0" not in text


def _set_aside(path: Path) -> Path:
    number = 1
    while (aside := path.with_name(f"{path.stem}.edited-{number}{path.suffix}")).exists():
        number += 1
    rename(path, aside)
    return aside
