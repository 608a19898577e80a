"""Where training data comes from: groups of related clips."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from storymem.errors import SettingsError

if TYPE_CHECKING:
    import torch

    from storymem.training.subjects import Subjects

__all__ = ["Caption", "Clip", "ClipSource", "SourceFactory", "open_source", "register_source"]


class Caption(str):
    """A caption that knows which parts of it speak of which subject; in all else the text that it is.

    Args:
        text: the caption, without blanks at its ends or twice in a row.
        clauses: for each subject, in the order of the text, the first character that speaks of it and what it does,
            and the one after the last.
    """

    __slots__ = ("clauses",)

    clauses: tuple[tuple[int, int], ...]

    def __new__(cls, text: str, clauses: tuple[tuple[int, int], ...] = ()) -> Caption:
        """See the class."""
        self = super().__new__(cls, text)
        self.clauses = clauses
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        return Caption, (str(self), self.clauses)  # captions come from other processes too


@dataclass(frozen=True, slots=True, eq=False)
class Clip:
    """One clip of one shot.

    Attributes:
        frames: ``[3, F, H, W]`` float32 in [-1, 1], on any device.
        captions: texts that describe it, one of which is drawn whenever the clip is trained on; at least one. Those
            that are a `Caption` say more.
        subjects: who or what it shows, in the order of `ClipSource.subjects`; None: not known.
    """

    frames: torch.Tensor
    captions: tuple[str, ...]
    subjects: Subjects | None = None


class ClipSource(Protocol):
    """Groups of clips that share characters or places, by number.

    Anything that can draw or read the same group again when asked for the same number; a procedural world, or footage.
    """

    @property
    def identity(self) -> str:
        """Changes whenever the clips do."""

    @property
    def classes(self) -> Sequence[int]:
        """How many classes there are in each respect that labels of subjects describe; empty: it has no labels."""

    def __len__(self) -> int:
        """Groups there are; a world without end says a large number."""

    def size(self, index: int) -> int:
        """Clips of one group, without drawing them."""

    def group(self, index: int) -> Sequence[Clip]:
        """The clips of one group, all of the size and length that was asked for; at least two for memory training."""

    def subjects(self, index: int, clip: int) -> Sequence[Sequence[int]]:
        """For each subject of a clip, such as a hero, the other clips of its group that show it too.

        Memory has a frame of each subject if it has room for as many.
        """

    def setting(self, index: int, clip: int) -> Sequence[int]:
        """Where and when a clip is, for a judge: a class in each respect, -1 where there is nothing to see; as long for
        every clip, and empty if it is not known."""

    def captions(self, count: int) -> Sequence[str]:
        """At least `count` typical captions if there are so many, without drawing anything: for the tokenizer.

        `loss.clauses` takes it from the first of them whether captions know their clauses.
        """


SourceFactory = Callable[[int, int, int, Mapping[str, Any]], ClipSource]
"""Makes a source of (width, height, num_frames, options); raises SettingsError for options it does not know."""

_factories: dict[str, SourceFactory] = {}


def register_source(name: str, factory: SourceFactory) -> None:
    """Make a world known by the name that `data.world` takes."""
    _factories[name] = factory


def open_source(name: str, width: int, height: int, num_frames: int, options: Mapping[str, Any]) -> ClipSource:
    """The world of that name.

    Raises:
        SettingsError: nothing is registered by that name, or the world does not know an option.
    """
    if name not in _factories:
        known = ", ".join(sorted(_factories)) or "none here"
        raise SettingsError(f"data.world is {name!r}; known worlds: {known}.")
    return _factories[name](width, height, num_frames, options)
