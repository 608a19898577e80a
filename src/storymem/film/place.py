"""Where a film may be: what its folder is called inside, and which folder can become one."""

from __future__ import annotations

from pathlib import Path

from storymem.errors import FilmError
from storymem.film.lock import HOLDER, LOCK
from storymem.film.manifest import Manifest, read_manifest
from storymem.film.storage import TEMPORARY, make_folder, storing

__all__ = ["MANIFEST", "REFERENCES", "TAKES", "check_place", "load_manifest", "make_place"]

MANIFEST = "film.json"
TAKES = "takes"
REFERENCES = "references"


def check_place(folder: Path) -> None:
    """A film goes into its own folder, or a new one begins in a new or empty folder: no mixing with other files.

    Raises:
        FilmError: there is a file of that name, other things are in the folder, or it cannot be read.
    """
    try:
        _no_file_in_the_way(folder)
        # With takes it is a film that lost its film.json: they are found again.
        if not folder.is_dir() or (folder / MANIFEST).exists() or (folder / TAKES).is_dir():
            return
        ours = {LOCK, HOLDER, REFERENCES}  # what a process leaves that is killed before there is a film.json
        foreign = [entry.name for entry in folder.iterdir() if entry.name not in ours]
    except OSError as error:
        raise FilmError(
            f"{folder}: cannot be read ({error.strerror}): choose another folder or mend its rights."
        ) from error
    foreign = sorted(name for name in foreign if not name.startswith(TEMPORARY))
    if foreign:
        raise FilmError(f"{folder}: has other things in it, such as {foreign[0]!r}: choose a new or empty folder.")


def make_place(folder: Path) -> None:
    """Create the folder, if it is missing.

    Raises:
        FilmError: there is a file of that name.
        StorageError: the system refused it.
    """
    _no_file_in_the_way(folder)
    make_folder(folder)


def _no_file_in_the_way(folder: Path) -> None:
    for place in (folder, *folder.parents):
        with storing(place):  # a name of 300 characters, say
            in_the_way = place.is_file()
        if in_the_way:
            raise FilmError(f"{place}: is a file: choose a folder.")


def load_manifest(folder: Path) -> Manifest:
    """What `film.json` in a folder says.

    Raises:
        FilmError: there is none, it cannot be read, or a newer storymem wrote it.
        FilmDamagedError: it is not as it was written.
    """
    path = folder / MANIFEST
    try:
        return read_manifest(path.read_bytes(), path)
    except (FileNotFoundError, NotADirectoryError):
        raise FilmError(
            f"{folder}: there is no film in this folder: make one with `storymem generate SCRIPT -o {folder}`."
        ) from None
    except OSError as error:
        raise FilmError(f"{path}: cannot be read ({error.strerror}): mend its rights or the disk.") from error
