"""Checkpoints of a run: whole or not there, without pickle, the same from one process or from many."""

from __future__ import annotations

import errno
import json
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from storymem.errors import CheckpointError, ModelError
from storymem.film.storage import make_folder, publish_folder, storing, sweep, temporary_folder, write_file
from storymem.training.ema import Ema

__all__ = ["full_tensor", "latest_checkpoint", "remove_folder", "restore", "save_checkpoint", "storing_weights"]

Parameters = Mapping[str, torch.nn.Parameter]


def full_tensor(tensor: torch.Tensor) -> torch.Tensor:
    """A tensor whole and on the CPU, also if its parts lie on several devices (then every process must ask)."""
    from torch.distributed.tensor import DTensor

    whole = tensor.full_tensor() if isinstance(tensor, DTensor) else tensor
    return whole.detach().cpu().contiguous()


def remove_folder(path: Path) -> None:
    """Remove a folder and what is in it.

    Raises:
        StorageError: the system refused it.
    """
    with storing(path):
        shutil.rmtree(path)


@contextmanager
def storing_weights(path: Path) -> Iterator[None]:
    """Turn what safetensors and the system say of a refused write inside into a `StorageError` that names `path`."""
    with storing(path):
        try:
            yield
        except SafetensorError as error:  # of a full disk it makes an error of its own
            raise OSError(errno.EIO, str(error)) from error


def _placed(value: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
    """`value` on the device of `like`, and shared out as it is."""
    from torch.distributed.tensor import DTensor, distribute_tensor

    if isinstance(like, DTensor) and value.shape == like.shape:
        return distribute_tensor(value.to(like.device), like.device_mesh, like.placements)
    return value.to(like.device)


def _folder(root: Path, task: str, step: int) -> Path:
    return root / f"{task}-{step:08d}"


def _checkpoints(root: Path, task: str) -> list[Path]:
    return sorted(path for path in root.glob(f"{task}-{'[0-9]' * 8}") if path.is_dir())


def save_checkpoint(
    root: Path,
    task: str,
    step: int,
    *,
    parameters: Parameters,
    optimizer: torch.optim.Optimizer,
    ema: Ema,
    notes: Mapping[str, Any],
    keep: int,
    write: bool,
) -> None:
    """Write everything that the run needs to go on after `step` steps, and remove the oldest checkpoints.

    Every process must call it; only the one with `write` touches the disk.

    Raises:
        ModelError: something in it is not a number any more.
        StorageError: the disk refused it.

    After an error the checkpoints before are as they were.
    """
    groups: dict[str, dict[str, torch.Tensor]] = {
        "weights": {name: full_tensor(parameter) for name, parameter in parameters.items()},
        "average": {name: full_tensor(value) for name, value in ema.average.items()},
        "optimizer": {
            f"{name}/{key}": full_tensor(value)
            for name, parameter in parameters.items()
            for key, value in optimizer.state.get(parameter, {}).items()
        },
    }
    for name, tensors in groups.items():
        if not all(bool(tensor.isfinite().all()) for tensor in tensors.values()):
            raise ModelError(
                f"{task}: after {step} steps its {name} has numbers that are not finite, so it ran off; this is "
                "not kept; go on from the checkpoint before with a lower learning rate and --accept-changes."
            )
    if not write:
        return
    make_folder(root)
    sweep(root)
    final = _folder(root, task, step)
    if final.is_dir():
        return
    with storing_weights(final), temporary_folder(root, final.name) as temporary:
        for name, tensors in groups.items():
            save_file(tensors, temporary / f"{name}.safetensors")
        text = json.dumps({"task": task, "step": step, **notes}, indent=2, sort_keys=True, allow_nan=False)
        write_file(temporary / "state.json", text.encode())
        publish_folder(temporary, final)
    for old in _checkpoints(root, task)[:-keep]:
        remove_folder(old)


def latest_checkpoint(root: Path, task: str) -> tuple[Path, dict[str, Any]] | None:
    """The newest checkpoint and its notes; None if there is none.

    Raises:
        CheckpointError: its notes cannot be read.
    """
    found = _checkpoints(root, task)
    if not found:
        return None
    try:
        # Earlier ones may say Infinity without quotes.
        notes = json.loads((found[-1] / "state.json").read_text(encoding="utf-8"), parse_constant=str)
    except (OSError, ValueError) as error:
        raise CheckpointError(
            f"{found[-1]}: cannot be read ({error}); remove it to go on from the one before."
        ) from error
    return found[-1], notes


@torch.no_grad()
def restore(folder: Path, *, parameters: Parameters, optimizer: torch.optim.Optimizer | None, ema: Ema) -> None:
    """Put a checkpoint's weights, average and optimizer state in place, bit for bit.

    Args:
        folder: the checkpoint.
        parameters: what is trained.
        optimizer: None leaves its state as it is, which is then that of a new run.
        ema: the average.

    Raises:
        CheckpointError: it is damaged, or was written for other weights.
    """
    try:
        groups = {name: load_file(folder / f"{name}.safetensors") for name in ("weights", "average", "optimizer")}
    except (SafetensorError, OSError) as error:
        raise CheckpointError(f"{folder}: cannot be read ({error}); remove it to go on from the one before.") from error
    expected = {name: tuple(parameter.shape) for name, parameter in parameters.items()}
    if {name: tuple(tensor.shape) for name, tensor in groups["weights"].items()} != expected:
        raise CheckpointError(f"{folder}: holds weights of another model; choose another output folder.")
    if bool(groups["average"]) != bool(ema.decay):
        raise CheckpointError(f"{folder}: was written {'without' if ema.decay else 'with'} an average of weights.")
    for name, parameter in parameters.items():
        parameter.copy_(_placed(groups["weights"][name], parameter))
        if ema.decay:
            ema.average[name].copy_(_placed(groups["average"][name], parameter))
    if optimizer is None:
        return
    for full_name, value in groups["optimizer"].items():
        name, _, key = full_name.rpartition("/")
        # "step" is a number that lives on the CPU unless the optimizer is fused.
        like = parameters[name]
        placed = _placed(value, like) if value.ndim or optimizer.defaults.get("fused") else value
        optimizer.state[like][key] = placed
