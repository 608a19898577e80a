"""The next batch put together while an accelerator computes the one before."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import fields, is_dataclass
from typing import Any, Generic, TypeVar, cast

import torch

__all__ = ["BatchesAhead"]

T = TypeVar("T")


class BatchesAhead(Generic[T]):
    """Makes batches in a thread, one ahead.

    On CUDA the thread has a stream of its own. In the network's stream each of its many small copies would wait for
    all that the network was given to compute.

    Args:
        make: makes the batch of a step and part; tensors in it are found in dataclasses and tuples.
        device: that it is for.
        ahead: False makes every batch when it is asked for.
    """

    def __init__(self, make: Callable[[int, int], T], device: torch.device, *, ahead: bool) -> None:
        self._make = make
        self._thread = ThreadPoolExecutor(1, "batches") if ahead else None
        self._stream: Any = None
        if ahead and device.type == "cuda":
            self._stream = cast(Any, torch.cuda.Stream)(device)
        self._next: tuple[tuple[int, int], Future[T]] | None = None

    def take(self, step: int, part: int, following: tuple[int, int] | None) -> T:
        """The batch of a step and part; the `following` one is begun."""
        waiting, self._next = self._next, None
        if self._thread is None:
            return self._made(step, part)
        if waiting is None or waiting[0] != (step, part):  # the thread makes one after the other
            waiting = ((step, part), self._thread.submit(self._made, step, part))
        batch = waiting[1].result()
        if self._stream is not None:
            for tensor in _tensors(batch):  # its memory must not be given away while the network may still read it
                if tensor.is_cuda:
                    tensor.record_stream(torch.cuda.current_stream(tensor.device))
        if following is not None:
            self._next = (following, self._thread.submit(self._made, *following))
        return batch

    def wait(self) -> None:
        """Until nothing is being made."""
        if self._next is not None:
            self._next[1].result()

    def _made(self, step: int, part: int) -> T:
        if self._stream is None:
            return self._make(step, part)
        with torch.cuda.stream(self._stream):
            batch = self._make(step, part)
        self._stream.synchronize()
        return batch


def _tensors(value: Any) -> Iterator[torch.Tensor]:
    if isinstance(value, torch.Tensor):
        yield value
    elif is_dataclass(value):
        for field in fields(value):
            yield from _tensors(getattr(value, field.name))
    elif isinstance(value, tuple):
        for item in value:
            yield from _tensors(item)
