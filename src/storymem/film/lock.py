"""One process at a time works in a film's folder."""

from __future__ import annotations

import errno
import json
import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from storymem.errors import FilmError, FilmLockedError, StorageError

__all__ = ["locked"]

LOCK = ".lock"
HOLDER = ".lock-holder.json"

_NOT_ALLOWED = {errno.EACCES, errno.EPERM, errno.EROFS}


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold the folder's lock; the system lets go of it when the process ends, however it ends.

    Args:
        folder: of the film; it exists.

    Raises:
        FilmLockedError: another process holds it.
        FilmError: files in the folder may not be written.
        StorageError: the system refused it for another reason.
    """
    from filelock import FileLock, Timeout

    path = folder / LOCK
    lock = FileLock(path, timeout=0, thread_local=False)
    try:
        lock.acquire()
    except Timeout:
        raise FilmLockedError(
            f"{folder}: {_holder(folder)} is working in this folder: wait until it has ended, or stop it; "
            "what it has finished stays."
        ) from None
    except OSError as error:
        if error.errno in _NOT_ALLOWED:
            raise FilmError(
                f"{folder}: files cannot be written there ({error.strerror}): choose another folder or mend its rights."
            ) from error
        raise StorageError(path, error) from error
    holder = folder / HOLDER
    try:
        # Only for the message above, so it need not survive anything: no fsync.
        with suppress(OSError):
            holder.write_text(json.dumps({"pid": os.getpid(), "host": platform.node()}), encoding="utf-8")
        yield
    finally:
        with suppress(OSError):
            holder.unlink(missing_ok=True)
        lock.release()


def _holder(folder: Path) -> str:
    try:
        fact = json.loads((folder / HOLDER).read_text(encoding="utf-8"))
        return f"process {int(fact['pid'])} on {fact['host']}"
    except (OSError, ValueError, KeyError, TypeError):
        return "another process"  # it has just begun, or is a version that says nothing of itself
