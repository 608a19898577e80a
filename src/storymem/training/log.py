"""What a run tells: a line of JSON per record, and TensorBoard event files if asked."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from storymem.errors import MissingExtraError
from storymem.film.storage import make_folder, replace_file, storing

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

__all__ = ["RunLog"]


class RunLog:
    """The records of a run: ``log.jsonl`` in its folder, ``tensorboard/`` beside it, and a listener.

    Args:
        folder: the run's output folder.
        tensorboard: also write event files.
        on_record: called with every record.
        write: False for all processes but one, which then write nothing.

    Raises:
        MissingExtraError: TensorBoard is asked for and not installed.
    """

    def __init__(
        self,
        folder: Path,
        *,
        tensorboard: bool = False,
        on_record: Callable[[Mapping[str, Any]], None] | None = None,
        write: bool = True,
    ) -> None:
        self.path = folder / "log.jsonl"
        self._write = write
        self._on_record = on_record
        self._writer: Any = None
        if write:
            make_folder(folder)
        if write and tensorboard:
            try:
                from torch.utils.tensorboard import SummaryWriter
            except ImportError as error:
                raise MissingExtraError("tensorboard", "train", "write TensorBoard event files") from error
            self._writer = SummaryWriter(str(folder / "tensorboard"))

    def start(self, task: str, step: int) -> None:
        """Forget the records of `task` after `step`: a resumed run makes those steps again."""
        if not self._write or not self.path.is_file():
            return
        with storing(self.path):
            lines = self.path.read_text(encoding="utf-8").splitlines()
        kept = [line for line in lines if not _is_after(line, task, step)]
        if kept != lines:
            replace_file(self.path, "".join(line + "\n" for line in kept).encode())

    def record(self, task: str, step: int, values: Mapping[str, float]) -> None:
        """One line: numbers of `task` after `step` steps."""
        if not self._write:
            return
        clean = {name: value if math.isfinite(value) else None for name, value in values.items()}
        line = {"task": task, "step": step, **clean}
        with storing(self.path), self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")
        if self._writer is not None:
            for name, value in values.items():
                self._writer.add_scalar(f"{task}/{name}", value, step)
        if self._on_record is not None:
            self._on_record(line)

    def picture(self, task: str, step: int, pixels: npt.NDArray[np.uint8]) -> Path | None:
        """A sample sheet, uint8 ``[H, W, 3]``: ``samples/TASK-STEP.png``."""
        if not self._write:
            return None
        from storymem.media import write_png

        path = self.path.parent / "samples" / f"{task}-{step:08d}.png"
        make_folder(path.parent)
        write_png(path, pixels)
        if self._writer is not None:
            self._writer.add_image(f"{task}/samples", pixels, step, dataformats="HWC")
        return path

    def close(self) -> None:
        """Flush the event files."""
        if self._writer is not None:
            self._writer.close()


def _is_after(line: str, task: str, step: int) -> bool:
    try:
        record = json.loads(line)
    except ValueError:  # a line that a kill cut short
        return True
    return bool(record.get("task") == task and record.get("step", 0) > step)
