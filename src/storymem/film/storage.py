"""Writing so that a kill, a full disk or a failing one leaves the old or the new, never a half.

The only module of `film/` that changes anything on disk. Two ways are used, both ending in one rename:

- `replace_file`: a temporary file, fsync, rename over the old one, fsync of the folder;
- `publish_folder`: a temporary folder that is filled in peace, fsync of all that is in it, rename, fsync of the parent.

A temporary name begins with `TEMPORARY` and is swept up by `sweep` the next time somebody works in the folder.
"""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from storymem.errors import StorageError

__all__ = [
    "TEMPORARY",
    "hash_file",
    "make_folder",
    "publish_folder",
    "remove_file",
    "remove_folder",
    "rename",
    "replace_file",
    "storing",
    "sweep",
    "sync_folder",
    "temporary_folder",
    "write_file",
]

TEMPORARY = ".making-"
"""How the name of every unfinished file and folder begins."""

# What a filesystem without such a call answers to the fsync of a folder (some network and FUSE ones).
_NO_FOLDER_SYNC = {errno.EINVAL, errno.ENOTSUP, errno.EBADF}


@contextmanager
def storing(path: Path) -> Iterator[None]:
    """Turn every `OSError` inside into a `StorageError` that names `path`."""
    try:
        yield
    except OSError as error:
        raise StorageError(path, error) from error


def make_folder(path: Path) -> None:
    """Create a folder and those above it that are missing, durably; one that is there already is left as it is.

    Raises:
        StorageError: it cannot be created.
    """
    missing = []
    folder = path
    while not _is_folder(folder) and folder != folder.parent:  # a drive may be missing, above which is nothing
        missing.append(folder)
        folder = folder.parent
    for folder in reversed(missing):
        with storing(folder):
            folder.mkdir(exist_ok=True)
        sync_folder(folder.parent)


def write_file(path: Path, data: bytes | memoryview) -> None:
    """Write a new file and wait until it is on the disk.

    Raises:
        StorageError: it exists already or cannot be written.
    """
    with storing(path), path.open("xb", buffering=0) as file:
        rest = memoryview(data).cast("B")
        while rest:
            rest = rest[file.write(rest) :]
        os.fsync(file.fileno())


def replace_file(path: Path, data: bytes) -> None:
    """Write a file whole or not at all: whoever reads `path` finds the old content or the new.

    Raises:
        StorageError: the content is the old one, unless only the last step, the fsync of the folder, failed.
    """
    temporary = path.with_name(f"{TEMPORARY}{path.name}-{os.getpid()}")
    try:
        with storing(temporary):
            temporary.unlink(missing_ok=True)  # left by a killed process that had our process id, as in containers
        write_file(temporary, data)
        with storing(path):
            temporary.replace(path)
    except BaseException:
        with suppress(OSError):  # the first error is the one to tell; the next `sweep` tries again
            temporary.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


@contextmanager
def temporary_folder(parent: Path, name: str) -> Iterator[Path]:
    """A new empty folder in `parent` to fill and then to `publish_folder`; removed if an exception ends the block.

    Raises:
        StorageError: it cannot be created.
    """
    make_folder(parent)
    folder = parent / f"{TEMPORARY}{name}-{os.getpid()}"
    with storing(folder):
        if folder.exists():  # left by a killed process that had our process id
            shutil.rmtree(folder)
        folder.mkdir()
    try:
        yield folder
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)  # the first error is the one to tell; `sweep` tries again
        raise


def publish_folder(temporary: Path, final: Path) -> None:
    """Make a filled temporary folder appear under its name, complete and on the disk.

    Raises:
        StorageError: something failed, or there is a folder of that name with something in it.
    """
    for folder, _, names in os.walk(temporary, onerror=_raise):
        for name in names:
            _sync_file(Path(folder) / name)
        sync_folder(Path(folder))
    rename(temporary, final)


def rename(old: Path, new: Path) -> None:
    """Rename within one folder, durably.

    Raises:
        StorageError: the system refused it.
    """
    with storing(new):
        old.rename(new)
    sync_folder(new.parent)


def remove_file(path: Path) -> None:
    """Remove a file, if it is there.

    Raises:
        StorageError: the system refused it.
    """
    with storing(path):
        path.unlink(missing_ok=True)


def remove_folder(path: Path) -> None:
    """Remove a folder with all that is in it, so that it is never there by half under its name.

    Raises:
        StorageError: the system refused it.
    """
    temporary = path.with_name(f"{TEMPORARY}{path.name.lstrip('.')}-{os.getpid()}")
    rename(path, temporary)
    with storing(temporary):
        shutil.rmtree(temporary)


def sweep(folder: Path) -> None:
    """Remove what unfinished work of a killed process left directly in `folder`.

    Raises:
        StorageError: the system refused it.
    """
    with storing(folder):
        for entry in sorted(folder.iterdir()):
            if entry.name.startswith(TEMPORARY):
                if entry.is_dir() and not entry.is_symlink():
                    shutil.rmtree(entry)
                else:
                    entry.unlink()


def sync_folder(path: Path) -> None:
    """Wait until the names in a folder are on the disk.

    Raises:
        StorageError: the system reports that they could not be written.
    """
    if os.name == "nt":  # Windows cannot open a folder, and writes its names with the rename
        return
    with storing(path):
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        except OSError as error:
            if error.errno not in _NO_FOLDER_SYNC:
                raise
        finally:
            os.close(descriptor)


def hash_file(path: Path) -> str:
    """SHA-256 (hexadecimal) of a file's content.

    Raises:
        OSError: it cannot be read.
    """
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _sync_file(path: Path) -> None:
    with storing(path), path.open("rb+") as file:
        os.fsync(file.fileno())


def _is_folder(path: Path) -> bool:
    with storing(path):  # above it may be a folder that may not be looked into
        return path.is_dir()


def _raise(error: OSError) -> None:
    raise StorageError(Path(str(error.filename)), error) from error
