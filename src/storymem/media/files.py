"""Files that appear whole or not at all.

A reader of a file sees the old content or the new content, never a part of it, whatever happens to the writer: an
exception, a kill, a full disk, a power cut.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from storymem.errors import MediaError, StorageError

__all__ = ["TEMPORARY", "replacing", "storage_errors"]

TEMPORARY = ".making-"
"""How the name of every unfinished file begins."""

# What a filesystem without such a call answers to the fsync of a folder (some network and FUSE ones).
_NO_FOLDER_SYNC = {errno.EINVAL, errno.ENOTSUP, errno.EBADF}


@contextmanager
def storage_errors(path: Path) -> Iterator[None]:
    """Turn the operating system's refusals in the block into `StorageError` for `path`.

    PyAV's errors for refused writes are `OSError` as well, so they are caught here too.

    Raises:
        StorageError: instead of any `OSError`.
    """
    try:
        yield
    except OSError as error:
        raise StorageError(path, error) from error


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Give the block a temporary path to write to; at its end that file takes the name `path`.

    The temporary file is in the same folder (``.making-<name>``), so that the rename is atomic, and it is on the disk
    (fsync) before it gets the name. If the block raises, the temporary file is removed and whatever was at `path`
    stays. The temporary name is always the same: what a killed process left behind is overwritten by the next attempt
    instead of piling up. Two processes must therefore not write the same path at the same time (a film's lock sees to
    that).

    Raises:
        MediaError: the folder of `path` does not exist, or `path` is a folder.
        StorageError: the operating system refused.
    """
    folder = path.parent
    if not folder.is_dir():
        raise MediaError(f"{path}: the folder {folder} does not exist: create it first, or choose another place.")
    if path.is_dir():
        raise MediaError(f"{path}: there is a folder of that name: choose another name for the file.")
    temporary = folder / f"{TEMPORARY}{path.name}"
    try:
        yield temporary
        with storage_errors(path):
            _sync(temporary)
            temporary.replace(path)
            _sync(folder)
    except BaseException:
        # The first error is the one to tell; a leftover that cannot be removed now is overwritten next time.
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise


def _sync(path: Path) -> None:
    """Wait until the file, or the folder's list of names, is on the disk."""
    is_folder = path.is_dir()
    if os.name == "nt" and is_folder:
        return  # Windows cannot open a folder; its renames are journalled.
    descriptor = os.open(path, os.O_RDONLY if is_folder else os.O_RDWR)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if not (is_folder and error.errno in _NO_FOLDER_SYNC):
            raise
    finally:
        os.close(descriptor)
