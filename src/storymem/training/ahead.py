"""Groups of a world drawn and encoded by other processes, ahead of the training that asks for them.

A processor has nothing to spare while it trains. An accelerator waits for clips: one thread draws some dozens a second,
and it learns from thousands.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import torch
from safetensors.torch import load, save
from torch.utils.data import DataLoader, Dataset

from storymem.errors import StoryMemError
from storymem.training.encode import ResidentClip
from storymem.training.subjects import LatentSubjects

if TYPE_CHECKING:
    from storymem.training.encode import SourceLoader

__all__ = ["DrawnAhead"]

Packed = list[tuple[bytes, tuple[str, ...]]]
"""The clips of a group: tensors as a safetensors file has them, and captions."""


class DrawnAhead:
    """A `GroupLoader` of groups that other processes make in the order in which a window moves over them.

    What is loaded is what `loader` would load, but for rounding where its VAE is on an accelerator. Groups that are
    asked for out of order are loaded here if they are held out; others begin a new order.

    Args:
        loader: loads in this process.
        twin: the same on the CPU, with a VAE of its own; every process gets a copy, so its source must be picklable.
        workers: how many processes; each holds two groups ready and computes with one thread.
        ordered: groups below this number are asked for in order, 0 after the last; the others are held out.
    """

    def __init__(self, loader: SourceLoader, twin: SourceLoader, workers: int, *, ordered: int) -> None:
        self.loader = loader
        self._twin = twin
        self._workers = workers
        self._ordered = ordered
        self._next: int | None = None
        self._groups: Iterator[Packed | StoryMemError] = iter(())

    @property
    def blank(self) -> torch.Tensor:
        """See `GroupLoader.blank`."""
        return self.loader.blank

    def __len__(self) -> int:
        return len(self.loader)

    def size(self, index: int) -> int:
        """See `GroupLoader.size`."""
        return self.loader.size(index)

    def subjects(self, index: int, clip: int) -> Sequence[Sequence[int]]:
        """See `GroupLoader.subjects`."""
        return self.loader.subjects(index, clip)

    def load(self, index: int) -> tuple[ResidentClip, ...]:
        """See `GroupLoader.load`.

        Raises:
            StoryMemError: as loading here would; or a process ended, as for want of memory.
        """
        if index >= self._ordered:
            return self.loader.load(index)
        if index != self._next:
            self._groups = self._in_order_from(index)
        self._next = (index + 1) % self._ordered
        try:
            group = next(self._groups)
        except RuntimeError as error:
            if "DataLoader worker" not in str(error):
                raise
            raise StoryMemError(
                f"A process that draws clips ended ({error}): is memory short? Lower runtime.workers, and run the same "
                "command again: training goes on from its last checkpoint."
            ) from error
        if isinstance(group, StoryMemError):
            raise group
        return tuple(self._unpacked(content, captions) for content, captions in group)

    def _in_order_from(self, index: int) -> Iterator[Packed | StoryMemError]:
        """New processes, whose groups begin with this one; the ones before end with their iterator."""
        loader: DataLoader[Packed | StoryMemError] = DataLoader(
            _Groups(self._twin),
            sampler=_Circle(index, self._ordered),
            batch_size=None,
            collate_fn=_as_it_is,
            num_workers=self._workers,
            multiprocessing_context="spawn",  # PyTorch's threads do not survive a fork
            generator=torch.Generator(),  # of seeds that nothing needs; the run's own generator must not move
        )
        return iter(loader)

    def _unpacked(self, content: bytes, captions: tuple[str, ...]) -> ResidentClip:
        tensors = {name: tensor.to(self.loader.device) for name, tensor in load(content).items()}
        conditions = {count: tensors[f"known_{count}"] for count in self.loader.known}
        subjects = None
        if "labels" in tensors:
            named = (tensors[name] for name in ("masks", "covered_keyframes", "labels", "shown"))
            subjects = LatentSubjects(*named)
        return ResidentClip(tensors["latents"], conditions, tensors["keyframes"], captions, subjects)


class _Groups(Dataset["Packed | StoryMemError"]):
    """What a process of the loader makes. Mistakes are returned: torch would tell them with the whole way to them."""

    def __init__(self, loader: SourceLoader) -> None:
        self.loader = loader

    def __getitem__(self, index: int) -> Packed | StoryMemError:
        try:
            return [(_packed(clip), clip.captions) for clip in self.loader.load(index)]
        except StoryMemError as error:
            return error


def _packed(clip: ResidentClip) -> bytes:
    # As bytes, because torch would hand every tensor over in shared memory with a file of its own.
    tensors = {"latents": clip.latents, "keyframes": clip.keyframes}
    tensors |= {f"known_{count}": part for count, part in clip.conditions.items()}
    if clip.subjects is not None:
        tensors |= {
            "masks": clip.subjects.masks,
            "covered_keyframes": clip.subjects.keyframes,
            "labels": clip.subjects.labels,
            "shown": clip.subjects.shown,
        }
    return save({name: tensor.contiguous() for name, tensor in tensors.items()})


class _Circle:
    """The numbers from `first` on, 0 after the last, without end."""

    def __init__(self, first: int, count: int) -> None:
        self.first, self.count = first, count

    def __iter__(self) -> Iterator[int]:
        return ((self.first + step) % self.count for step in itertools.count())


def _as_it_is(value: Any) -> Any:
    return value
