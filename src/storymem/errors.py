"""Everything that storymem raises on purpose.

The tree::

    StoryMemError                what went wrong, where, and what to do about it, in one sentence
    ├── InputError               the caller can mend it (the command line ends with exit code 2)
    │   ├── ScriptError          a story script with mistakes; carries every one of them as a `Problem`
    │   ├── SettingsError        a setting outside its range, or settings that contradict each other
    │   ├── MediaError           a picture or video that cannot be read, or a format that cannot be written
    │   ├── ModelError           an unknown, missing or incomplete model
    │   │   └── CheckpointError  a weights file whose keys or shapes do not fit the model
    │   ├── FilmError            a film folder that cannot be used as asked
    │   │   ├── FilmLockedError  another process is working in the folder
    │   │   └── FilmDamagedError a file of the film is missing or does not have the content it was written with
    │   └── MissingExtraError    an optional dependency is needed; names the extra to install
    └── StorageError             the operating system refused a write: exit code 1 (disk full, I/O error), or 2 where
                                 the place is one that cannot be written to (rights, a name too long, a missing folder)

Anything else that escapes is a bug.
"""

from __future__ import annotations

import errno
from dataclasses import dataclass
from pathlib import Path

__all__ = [
    "CheckpointError",
    "FilmDamagedError",
    "FilmError",
    "FilmLockedError",
    "InputError",
    "MediaError",
    "MissingExtraError",
    "ModelError",
    "Problem",
    "ScriptError",
    "SettingsError",
    "StorageError",
    "StoryMemError",
    "is_of_the_place",
]


class StoryMemError(Exception):
    """Base of all errors raised on purpose; `str(error)` is one sentence with the place and the remedy."""

    exit_code: int = 1


class InputError(StoryMemError):
    """Something the caller gave is wrong and can be mended by them."""

    exit_code = 2


@dataclass(frozen=True, slots=True)
class Problem:
    """One mistake in a script.

    Attributes:
        field: path of the field, such as ``scenes[0].shots[2].cut``; empty for the file as a whole.
        message: what was found and what is allowed, without the place.
        line: 1-based line in the file, where it is known.
    """

    field: str
    message: str
    line: int | None = None


class ScriptError(InputError):
    """A story script that cannot be used; `problems` has every mistake found, in file order."""

    def __init__(self, source: str, problems: list[Problem] | tuple[Problem, ...]) -> None:
        self.source = source
        self.problems = tuple(problems)
        super().__init__("\n".join(self.lines()))

    def lines(self) -> list[str]:
        """One line per problem: ``file:line: field: message``."""
        out = []
        for problem in self.problems:
            place = f"{self.source}:{problem.line}" if problem.line is not None else self.source
            field = f"{problem.field}: " if problem.field else ""
            out.append(f"{place}: {field}{problem.message}")
        return out


class SettingsError(InputError):
    """A setting outside its range, or settings that contradict each other."""


class MediaError(InputError):
    """A picture or video that cannot be read, or a format that cannot be written."""


class ModelError(InputError):
    """An unknown, missing or incomplete model."""


class CheckpointError(ModelError):
    """A weights file whose keys or shapes do not fit the model it is meant for."""


class FilmError(InputError):
    """A film folder that cannot be used as asked."""


class FilmLockedError(FilmError):
    """Another process is working in the film folder."""


class FilmDamagedError(FilmError):
    """A file of the film is missing or does not have the content it was written with."""


class MissingExtraError(InputError):
    """An optional dependency is needed.

    Args:
        package: the import that failed.
        extra: the extra of storymem that brings it.
        purpose: what it is needed for, as the end of the sentence "... is needed to".
    """

    def __init__(self, package: str, extra: str, purpose: str) -> None:
        super().__init__(f"{package} is needed to {purpose}: install it with `pip install 'storymem[{extra}]'`.")


# What the system says of a place that no disk can be blamed for: whoever named it can mend it.
_OF_THE_PLACE = frozenset(
    {
        errno.EACCES,
        errno.EPERM,
        errno.EROFS,
        errno.ENAMETOOLONG,
        errno.ENOENT,
        errno.ENOTDIR,
        errno.EISDIR,
        errno.ELOOP,
        errno.EILSEQ,
        errno.EEXIST,  # a link that leads nowhere: no folder is there, and none can be made
    }
)


def is_of_the_place(error: OSError) -> bool:
    """Whether the system refused a place as such (rights, a name too long), and not for want of space or a bad disk."""
    return error.errno in _OF_THE_PLACE


class StorageError(StoryMemError):
    """The operating system refused a write: the disk is full or failed, or the place is no place to write to.

    What was complete before stays complete; running the same command again goes on from there.

    Args:
        path: what was to be written.
        error: what the system said. Rights, names and missing folders are the caller's to mend: exit code 2.

    Attributes:
        what: the message without what to do now.
    """

    def __init__(self, path: Path, error: OSError) -> None:
        remedy = "free space or mend the disk, then run the same command again to go on."
        if is_of_the_place(error):
            self.exit_code = InputError.exit_code
            remedy = "choose another place or mend its rights, then run the command again."
        self.what = f"{path}: could not be written ({error.strerror or error})"
        super().__init__(f"{self.what}; nothing finished is lost: {remedy}")
        self.path = path
