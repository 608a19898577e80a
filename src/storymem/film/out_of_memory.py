"""Running out of memory is no bug but a machine too small for what was asked: one sentence says what helps."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from storymem.errors import ModelError

__all__ = ["enough_memory"]


@contextmanager
def enough_memory(when: str, remedy: str) -> Iterator[None]:
    """Turn what torch and Python raise where memory runs out into one sentence.

    Args:
        when: it ran out, such as "while the weights were loaded".
        remedy: what to do, such as "try --offload model".

    Raises:
        ModelError: memory ran out, of the GPU or of the machine. Other errors pass.
    """
    import torch

    try:
        yield
    except (MemoryError, torch.OutOfMemoryError, RuntimeError) as error:
        # On the CPU torch has no error of its own for it, nor where memory is pinned.
        known = isinstance(error, MemoryError | torch.OutOfMemoryError)
        if not known and not any(words in str(error) for words in ("can't allocate memory", "out of memory")):
            raise
        raise ModelError(f"memory ran out {when}: {remedy}.") from error
