"""Folders that are written once: a record says the size and SHA-256 of every file, and has a checksum of its own."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from storymem.errors import FilmDamagedError
from storymem.film.record import pack_record, unpack_record
from storymem.film.storage import hash_file, rename, storing, write_file

__all__ = ["check_content", "read_seal", "seal", "set_aside"]

_PART = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_FILES = "files"


def seal(folder: Path, record_name: str, facts: Mapping[str, Any], files: Sequence[str]) -> None:
    """Write the record of a folder that is otherwise filled.

    Args:
        folder: that the files are in.
        record_name: file name of the record.
        facts: what else the record says; JSON values.
        files: paths of all files in the folder, with forward slashes.

    Raises:
        StorageError: the system refused it.
    """
    written = {}
    for name in files:
        with storing(folder / name):
            written[name] = {"size": (folder / name).stat().st_size, "sha256": hash_file(folder / name)}
    write_file(folder / record_name, pack_record({**facts, _FILES: written}))


def read_seal(folder: Path, record_name: str) -> dict[str, Any]:
    """The facts and ``files`` of a sealed folder, after a look at record and sizes.

    Raises:
        FilmDamagedError: the record is not as it was written, or a file is missing or of another size.
    """
    try:
        record = unpack_record((folder / record_name).read_bytes())
        files = record[_FILES]
        sizes = {name: (_inside(folder, name), int(written["size"])) for name, written in files.items()}
    except OSError as error:
        raise FilmDamagedError(f"{folder}: {record_name} cannot be read ({error.strerror or error})") from error
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise FilmDamagedError(f"{folder}: {record_name} is not as it was written ({error})") from error
    for name, (path, size) in sizes.items():
        try:
            found = path.stat().st_size
        except OSError as error:
            raise FilmDamagedError(f"{folder}: {name} cannot be read ({error.strerror or error})") from error
        if found != size:
            raise FilmDamagedError(f"{folder}: {name} has {found} bytes instead of {size}")
    return record


def check_content(folder: Path, files: Mapping[str, Mapping[str, Any]]) -> None:
    """Read every byte of a sealed folder's files.

    Raises:
        FilmDamagedError: a file does not have the content that was written.
    """
    for name, written in files.items():
        try:
            found = hash_file(_inside(folder, name))
        except (OSError, ValueError) as error:
            raise FilmDamagedError(f"{folder}: {name} cannot be read ({error})") from error
        if found != written["sha256"]:
            raise FilmDamagedError(f"{folder}: {name} does not have the content that was written")


def set_aside(folder: Path) -> Path:
    """Rename a damaged folder so that its place is free; returns where it is now.

    Raises:
        StorageError: the system refused it.
    """
    number = 1
    while (aside := folder.with_name(f".damaged-{folder.name}-{number}")).exists():
        number += 1
    rename(folder, aside)
    return aside


def _inside(folder: Path, name: str) -> Path:
    """A file of the folder; its name comes from a file that somebody may have edited."""
    parts = name.split("/")
    if not all(_PART.fullmatch(part) for part in parts):
        raise ValueError(f"{name!r} is not a file of this folder")
    return folder.joinpath(*parts)
