"""`train`: from a configuration to trained weights on disk."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from storymem.errors import SettingsError
from storymem.film.lock import locked
from storymem.film.out_of_memory import enough_memory
from storymem.film.storage import make_folder
from storymem.training.config import BaseStage, MemoryStage, VaeStage
from storymem.training.log import RunLog

if TYPE_CHECKING:
    from accelerate import Accelerator

__all__ = ["TrainResult", "make_accelerator", "settings_of", "train"]

# What may change between two sittings of one run: it does not change what the steps compute, but for rounding, and but
# for `steps`, over which a learning rate falls.
_FREE = {"output", "steps", "runtime", "checkpoint_every", "keep_checkpoints", "log_every", "tensorboard"}
_FREE |= {"sample", "validation"}

_LONGEST_WAIT = timedelta(days=1)  # of processes for one another


@dataclass
class TrainResult:
    """What a run came to.

    Attributes:
        outputs: folders that were written.
        samples_per_second: of each task in this sitting; not a number where nothing was left to do.
    """

    outputs: list[Path] = field(default_factory=list)
    samples_per_second: dict[str, float] = field(default_factory=dict)


def make_accelerator(stage: VaeStage | BaseStage | MemoryStage) -> Accelerator:
    """accelerate's view of the devices and processes, as the configuration wants them.

    Raises:
        SettingsError: the device is not there, or several processes were not started for `runtime.fsdp`.
    """
    from accelerate import Accelerator
    from accelerate.utils import (
        DistributedDataParallelKwargs,
        DistributedType,
        FullyShardedDataParallelPlugin,
        InitProcessGroupKwargs,
    )

    runtime = stage.runtime
    if runtime.device == "cuda" and not torch.cuda.is_available():
        raise SettingsError("runtime.device is cuda, but PyTorch sees no CUDA device here: use auto or cpu.")
    if runtime.device == "mps" and not torch.backends.mps.is_available():
        raise SettingsError("runtime.device is mps, but PyTorch sees no such device here: use auto or cpu.")
    plugin = None
    if runtime.fsdp:
        plugin = FullyShardedDataParallelPlugin(
            fsdp_version=2,
            auto_wrap_policy="transformer_based_wrap",
            transformer_cls_names_to_wrap=["WanTransformerBlock"],
            reshard_after_forward=True,
            cpu_ram_efficient_loading=False,
        )
    if runtime.threads:
        torch.set_num_threads(runtime.threads)
    # Where one process has more footage to encode than another, the others wait for it, and NCCL's ten minutes are few.
    handlers: list[Any] = [InitProcessGroupKwargs(timeout=_LONGEST_WAIT)]
    # A VAE's convolutions in time rest in steps on single frames, and processes would wait for their gradients. To look
    # for what rests takes time in every step, so it is done only here.
    if isinstance(stage, VaeStage):
        handlers.append(DistributedDataParallelKwargs(find_unused_parameters=True))
    # Mixed precision is our own autocast: accelerate's would turn frozen bfloat16 weights into float32.
    accelerator = Accelerator(
        cpu=runtime.device == "cpu", mixed_precision="no", fsdp_plugin=plugin, kwargs_handlers=handlers
    )
    if runtime.fsdp and accelerator.num_processes < 2:
        raise SettingsError("runtime.fsdp shards a model over processes; start several with torchrun or switch it off.")
    if plugin is not None and not accelerator.is_fsdp2:
        # accelerate shards on accelerators only, and on the CPU would silently copy; there it is good for testing.
        accelerator.state.fsdp_plugin = plugin
        accelerator.state.distributed_type = DistributedType.FSDP
    per_part = stage.batch_size // stage.accumulate
    if per_part % accelerator.num_processes:
        raise SettingsError(
            f"{per_part} clips at a time (batch_size / accumulate) cannot be shared out among "
            f"{accelerator.num_processes} processes: make it a multiple of their number."
        )
    return accelerator


def settings_of(stage: VaeStage | BaseStage | MemoryStage) -> dict[str, Any]:
    """The settings that a resumed run must share with what was trained before, flat."""
    flat: dict[str, Any] = {}

    def walk(prefix: str, value: Any) -> None:
        if isinstance(value, Mapping):
            for key, inner in value.items():
                walk(f"{prefix}.{key}" if prefix else str(key), inner)
        else:
            # JSON has no number without end; as text it is what Python says of it.
            flat[prefix] = "Infinity" if value == math.inf else value

    walk("", {key: value for key, value in stage.model_dump(mode="json").items() if key not in _FREE})
    return flat


def train(
    stage: VaeStage | BaseStage | MemoryStage,
    *,
    on_record: Callable[[Mapping[str, Any]], None] | None = None,
    accept_changes: bool = False,
) -> TrainResult:
    """Run a stage to its end, going on from its last checkpoint if there is one.

    Args:
        stage: from `storymem.training.config.load_config`.
        on_record: called with every record of the log (in the first process only).
        accept_changes: go on although settings were changed since the last checkpoint.

    Raises:
        InputError: a setting, the data or a checkpoint cannot be used, or another process trains into the folder; see
            the subclasses.
        ModelError: memory ran out, of the accelerator or of the machine, or the weights ran off.
        StorageError: the disk refused a write; the last checkpoint stays.
    """
    accelerator = make_accelerator(stage)
    alone = _alone(stage.output) if accelerator.is_main_process else nullcontext()
    with alone, enough_memory("in training", _remedy(stage, accelerator.num_processes)):
        log = RunLog(
            stage.output, tensorboard=stage.tensorboard, on_record=on_record, write=accelerator.is_main_process
        )
        try:
            if isinstance(stage, VaeStage):
                from storymem.training.stages import run_vae

                return run_vae(stage, accelerator, log, accept_changes)
            from storymem.training.stages import run_denoising

            return run_denoising(stage, accelerator, log, accept_changes)
        finally:
            log.close()


def _remedy(stage: VaeStage | BaseStage | MemoryStage, processes: int) -> str:
    """What helps where memory ran out, but for what is done already; the parts of a batch first, which cost nothing."""
    part, runtime = stage.batch_size // stage.accumulate, stage.runtime
    helps = [f"raise accumulate, so that fewer than {part} clips are computed at a time"] if part > processes else []
    if not isinstance(stage, VaeStage):
        if not runtime.gradient_checkpointing:
            helps.append("set runtime.gradient_checkpointing: true")
        if not runtime.fsdp:
            helps.append("runtime.fsdp: true with several processes")
        if stage.conditioning.max_memory > 1:
            helps.append(f"lower conditioning.max_memory ({stage.conditioning.max_memory})")
    if runtime.precision != "bfloat16":
        helps.append("runtime.precision: bfloat16")
    if isinstance(stage, MemoryStage) and stage.train == "lora" and runtime.base_dtype != "bfloat16":
        helps.append("runtime.base_dtype: bfloat16")
    data = stage.data
    helps.append(f"smaller or shorter clips than data's {data.width}x{data.height} with {data.num_frames} frames")
    if data.world is not None or isinstance(stage, VaeStage):
        helps.append(f"a lower data.pool ({data.pool})")
    goes_on = "with --accept-changes the run goes on from its last checkpoint"
    return f"try, one after the other: {'; '.join(helps)}; {goes_on}"


@contextmanager
def _alone(output: Path) -> Iterator[None]:
    """Hold the lock of an output folder: two runs would sweep up each other's checkpoints."""
    make_folder(output)
    with locked(output):
        yield
