"""Several processes work on one disk: what some of them do not see is told, before each trains by itself."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from storymem.errors import SettingsError

if TYPE_CHECKING:
    from accelerate import Accelerator

__all__ = ["refuse_other_steps", "refuse_unseen"]

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
    """See that what all processes together have written into a folder is there for this one.

    Args:
        accelerator: of the run.
        folder: of the files.
        what: they are, in the plural.
        count_missing: how many are not there.

    Raises:
        SettingsError: some are not.
    """
    until = time.monotonic() + (PATIENCE if accelerator.num_processes > 1 else 0)
    while count := count_missing():
        if time.monotonic() >= until:
            raise SettingsError(
                f"{folder}: {what} are seen by some processes only ({count} are not seen by process "
                f"{accelerator.process_index}): {_REMEDY}."
            )
        time.sleep(1)
