"""The videos among files and folders."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from storymem.errors import MediaError

__all__ = ["find_videos"]

_SUFFIXES = {".mp4", ".mkv", ".mov", ".webm", ".avi", ".m4v", ".mpg", ".mpeg"}
_SUFFIXES |= {".mts", ".m2ts", ".ts", ".mxf", ".3gp", ".wmv"}  # camcorders, phones, broadcast


def find_videos(paths: Sequence[Path], output: Path | None = None) -> list[Path]:
    """The videos among files and folders, folders looked through by suffix, in order; links to folders are followed.

    Args:
        paths: files and folders.
        output: a folder of prepared footage: where it lies inside one of the folders, it is no footage. Of a folder
            that is the output, or lies inside it, only the clips that were cut are left out.

    Raises:
        MediaError: a path is not there, or there is no video in any of them.
    """
    found: list[Path] = []
    for path in paths:
        if path.is_dir():
            files = sorted(file for file in _files_in(path) if file.suffix.lower() in _SUFFIXES and file.is_file())
            if output is not None:
                is_inside = path.resolve() in output.resolve().parents
                ours = output.resolve() if is_inside else (output / "clips").resolve()
                files = [file for file in files if not file.resolve().is_relative_to(ours)]
            found += files
        elif path.is_file():
            found.append(path)
        else:
            raise MediaError(f"{path}: there is no such video or folder: check the path.")
    if not found:
        raise MediaError(f"{paths[0]}: no videos there; looked for {', '.join(sorted(_SUFFIXES))}.")
    return list(dict.fromkeys(found))


def _files_in(folder: Path) -> Iterator[Path]:
    """All files below a folder, each folder looked into once, under its own name rather than that of a link to it."""
    seen: set[str] = set()
    waiting = [folder]
    while waiting:
        links: list[Path] = []
        for top in waiting:
            for place, folders, names in os.walk(top):
                real = os.path.realpath(place)
                if real in seen:  # a link to where we have been, perhaps to a folder that it lies in
                    folders.clear()
                    continue
                seen.add(real)
                links += [link for link in (Path(place) / name for name in folders) if link.is_symlink()]
                yield from (Path(place) / name for name in names)
        waiting = sorted(links)
