"""Several processes work on one disk: what some of them do not see is told, before each trains by itself."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from storymem.errors import ModelError, SettingsError

if TYPE_CHECKING:
    from accelerate import Accelerator

__all__ = ["all_or_none", "refuse_other_steps", "refuse_unseen"]

PATIENCE = 60.0
"""Seconds until a file that another machine wrote is seen at the latest: a network disk may be that much behind."""
_REMEDY = "put output and data.folder on a disk that all machines share"


def refuse_other_steps(accelerator: Accelerator, root: Path, step: int) -> None:
    """See that all processes go on from the same checkpoint. Every process must ask.

    Args:
        accelerator: of the run.
        root: the folder of checkpoints.
        step: of the last checkpoint that this process sees; 0 if it sees none.

    Raises:
        SettingsError: they do not.
    """
    if accelerator.num_processes == 1:
        return
    steps = accelerator.gather(torch.tensor([step], device=accelerator.device)).tolist()
    if len(set(steps)) > 1:
        raise SettingsError(
            f"{root}: checkpoints are seen by some processes only (they would go on from the steps "
            f"{', '.join(map(str, steps))}): {_REMEDY}."
        )


def refuse_unseen(accelerator: Accelerator, folder: Path, what: str, count_missing: Callable[[], int]) -> None:
    """See that what all processes together have written into a folder is there for all. Every process must ask.

    Args:
        accelerator: of the run.
        folder: of the files.
        what: they are, in the plural.
        count_missing: how many are not there.

    Raises:
        SettingsError: some are not, for one of them; all raise it.
    """
    until = time.monotonic() + (PATIENCE if accelerator.num_processes > 1 else 0)
    while (count := count_missing()) and time.monotonic() < until:
        time.sleep(1)
    counts: list[int] = accelerator.gather(torch.tensor([count], device=accelerator.device)).tolist()
    if any(counts):  # told by all: whoever went on alone would wait for the others
        worst = max(range(len(counts)), key=counts.__getitem__)
        raise SettingsError(
            f"{folder}: {what} are seen by some processes only ({counts[worst]} are not seen by process {worst}): "
            f"{_REMEDY}."
        )


@contextmanager
def all_or_none(accelerator: Accelerator, what: str) -> Iterator[None]:
    """Work that is shared out among processes: they wait for one another, and what fails in one ends it for all.

    Args:
        accelerator: of the run. Every process must come here.
        what: is done, such as "footage is encoded".

    Raises:
        Exception: what went wrong here.
        ModelError: it went wrong in another process, which tells what.
    """
    failure: Exception | None = None
    try:
        yield
    except Exception as error:  # noqa: BLE001 - raised again, when the others know of it
        failure = error
    flags = accelerator.gather(torch.tensor([int(failure is not None)], device=accelerator.device)).tolist()
    if failure is not None:
        raise failure
    if any(flags):
        raise ModelError(
            f"process {flags.index(1)} stopped while {what}, and this one with it: what it says tells what to do."
        )
