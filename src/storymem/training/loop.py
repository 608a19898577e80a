"""The training loop, the same for every stage: steps, averages, checkpoints, records."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import torch

from storymem.errors import ModelError, SettingsError
from storymem.training.checkpoint import latest_checkpoint, restore, save_checkpoint
from storymem.training.ema import Ema
from storymem.training.log import RunLog
from storymem.training.muon import MuonWithAdamW, muon_groups
from storymem.training.networks import decay_groups, dtype_of, trainable_parameters
from storymem.training.processes import refuse_other_steps
from storymem.training.seeding import seed_of
from storymem.training.store import AS_EVER, HELD_OUT

if TYPE_CHECKING:
    from accelerate import Accelerator

    from storymem.training.config import BaseStage, MemoryStage, VaeStage
    from storymem.training.sections import OptimizerSection

__all__ = ["Task", "TrainedTask", "compile_blocks", "learning_rate", "train_task"]


class Task(Protocol):
    """One thing that is trained: a VAE, or one expert."""

    @property
    def name(self) -> str:
        """Short, fit for file names."""

    @property
    def module(self) -> torch.nn.Module:
        """What is trained; only its parameters that require a gradient change."""

    @property
    def beside(self) -> Sequence[torch.nn.Module]:
        """Networks of its own that are asked and never trained, such as a teacher's."""

    def prepare(self, step: int) -> None:
        """Bring the data of a step into reach."""

    def loss(self, module: torch.nn.Module, step: int, part: int) -> torch.Tensor:
        """Mean loss of this process's share of one part of a step; `module` is `self.module`, perhaps wrapped."""

    def observe(self, step: int, log: RunLog, module: torch.nn.Module) -> None:
        """After a step, with the averaged weights in place: validate and draw, if it is time to."""

    def is_due(self, step: int) -> bool:
        """Whether `observe` would do anything after this many steps."""


@dataclass
class TrainedTask:
    """What training one task came to.

    Attributes:
        module: the unwrapped module; `ema.applied` puts the average in place.
        ema: the average.
        first_step: where this sitting began.
        samples_per_second: of this sitting, without its first step, validation and checkpoints.
    """

    module: torch.nn.Module
    ema: Ema
    first_step: int
    samples_per_second: float = math.nan


def learning_rate(step: int, steps: int, config: OptimizerSection) -> float:
    """The learning rate of step number `step` (from 0)."""
    if step < config.warmup_steps:
        return config.learning_rate * (step + 1) / config.warmup_steps
    progress = (step - config.warmup_steps) / max(1, steps - config.warmup_steps)
    if config.schedule == "constant":
        factor = 1.0
    elif config.schedule == "linear":
        factor = 1 - progress * (1 - config.final_ratio)
    else:
        factor = config.final_ratio + (1 - config.final_ratio) * 0.5 * (1 + math.cos(math.pi * progress))
    return config.learning_rate * factor


@dataclass
class _Clock:
    """Time spent on steps alone; the first of a sitting, which fills the pool and compiles, is left out."""

    samples: int = 0
    seconds: float = 0.0
    _started: float = 0.0
    _warm: bool = False

    def start(self) -> None:
        self._started = time.perf_counter()

    def stop(self, samples: int) -> None:
        if self._warm:
            self.seconds += time.perf_counter() - self._started
            self.samples += samples
        self._warm = True

    @property
    def rate(self) -> float:
        return self.samples / self.seconds if self.seconds else math.nan


def train_task(
    task: Task,
    stage: VaeStage | BaseStage | MemoryStage,
    accelerator: Accelerator,
    log: RunLog,
    notes: Mapping[str, Any],
    accept_changes: bool = False,
) -> TrainedTask:
    """Train one task to `stage.steps` steps, from its last checkpoint if there is one.

    Everything random is a function of the seed and the step, so a run that was killed and resumed makes the steps that
    an uninterrupted one would have made, bit for bit on the same machine.

    Args:
        task: what is trained.
        stage: the configuration.
        accelerator: of the run.
        log: of the run.
        notes: what a checkpoint says of the run; a resumed one must agree. ``settings``, flat, and what they name, each
            under a name for people: the clips, the weights it begins with.
        accept_changes: resume although the notes differ; a new kind of optimizer begins anew.

    Raises:
        SettingsError: a checkpoint is there, but of a run with other settings, clips or weights, or of more steps; or
            not all processes see it.
        ModelError: the loss or the weights are not numbers any more; such weights are not kept.
    """
    config = stage.optimizer
    bare = task.module
    fused = accelerator.device.type in ("cpu", "cuda")
    optimizer = _optimizer(bare, config, fused=fused, precision=dtype_of(stage.runtime.precision))
    module, optimizer = accelerator.prepare(bare, optimizer)
    bare = accelerator.unwrap_model(module)
    raw: torch.optim.Optimizer = optimizer.optimizer
    parameters = trainable_parameters(bare)
    ema = Ema(parameters, stage.ema.decay)
    root = stage.output / "checkpoints"
    found = latest_checkpoint(root, task.name)
    refuse_other_steps(accelerator, root, 0 if found is None else int(found[1]["step"]))
    first = 0 if found is None else _resume(*found, stage.steps, notes, accept_changes, parameters, raw, ema)
    log.start(task.name, first)
    result = TrainedTask(bare, ema, first)
    if stage.runtime.compile != "off":
        compile_blocks((bare, *task.beside), dynamic=stage.runtime.compile == "dynamic")

    clock, total, since = _Clock(), torch.zeros((), device=accelerator.device), 0
    for step in range(first, stage.steps):
        clock.start()
        for group in raw.param_groups:
            group["lr"] = learning_rate(step, stage.steps, config)
        loss = _gradients(task, stage, accelerator, module, step)
        norms = _scale_down(accelerator, bare, config.max_grad_norm)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        ema.update(step)
        total += loss
        since += 1
        done = step + 1
        recorded = done % stage.log_every == 0 or done == stage.steps
        values = _reduced(accelerator, torch.stack([loss, total / since])) if recorded else []
        clock.stop(stage.batch_size)
        if recorded:
            _check_finite(task.name, done, values[0])
            norm = math.hypot(*(float(_whole(one)) for one in norms))
            record = {"loss": values[0], "mean_loss": values[1], "gradient_norm": norm}
            record |= {"learning_rate": raw.param_groups[0]["lr"], "samples_per_second": clock.rate}
            log.record(task.name, done, record)
            total.zero_()
            since = 0
        if task.is_due(done):
            module.eval()
            with ema.applied(), torch.no_grad():
                task.observe(done, log, module)
        if done == stage.steps or (stage.checkpoint_every and done % stage.checkpoint_every == 0):
            save_checkpoint(
                root,
                task.name,
                done,
                parameters=parameters,
                optimizer=raw,
                ema=ema,
                notes=notes,
                keep=stage.keep_checkpoints,
                write=accelerator.is_main_process,
            )
    result.samples_per_second = clock.rate
    module.eval()
    return result


def _scale_down(accelerator: Accelerator, module: torch.nn.Module, limit: float) -> list[Any]:
    """Scale gradients down to a norm, and tell what it was; of two experts each by itself, as neither learns from what
    the other is asked for."""
    every = [trainable_parameters(network) for network in getattr(module, "networks", (module,))]
    return [accelerator.clip_grad_norm_(some.values(), limit) for some in every if some]


def _optimizer(module: torch.nn.Module, config: OptimizerSection, *, fused: bool, precision: torch.dtype) -> Any:
    arguments: dict[str, Any] = {"lr": config.learning_rate, "betas": config.betas, "eps": config.eps, "fused": fused}
    parameters = trainable_parameters(module)
    if config.kind == "muon":
        return MuonWithAdamW(muon_groups(parameters, config.weight_decay), precision=precision, **arguments)
    return torch.optim.AdamW(decay_groups(parameters.values(), config.weight_decay), **arguments)


def _gradients(
    task: Task,
    stage: VaeStage | BaseStage | MemoryStage,
    accelerator: Accelerator,
    module: torch.nn.Module,
    step: int,
) -> torch.Tensor:
    """Forward and backward of one step, in its parts; this process's mean loss."""
    torch.manual_seed(seed_of(stage.seed, "dropout", step, accelerator.process_index))
    task.prepare(step)
    module.train()
    loss = torch.zeros((), device=accelerator.device)
    for part in range(stage.accumulate):
        # Gradients travel between processes only in the last part of a step.
        last = part == stage.accumulate - 1
        with nullcontext() if last else accelerator.no_sync(module):
            share = task.loss(module, step, part) / stage.accumulate
            accelerator.backward(share)
        loss += share.detach()
    return loss


def _resume(
    folder: Path,
    before: Mapping[str, Any],
    steps: int,
    notes: Mapping[str, Any],
    accept_changes: bool,
    parameters: Mapping[str, torch.nn.Parameter],
    optimizer: torch.optim.Optimizer,
    ema: Ema,
) -> int:
    """Put a checkpoint with its notes in place; how many steps it had made."""
    if int(before["step"]) > steps:
        raise SettingsError(
            f"{folder}: has made {before['step']} steps already, and steps is {steps}: raise it, or choose another "
            "output folder to train for less."
        )
    old, new = dict(before.get("settings", {})), dict(notes.get("settings", {}))
    changed = sorted(key for key in old.keys() | new.keys() if old.get(key) != new.get(key))
    if changed and not accept_changes:
        some = ", ".join(f"{key} was {old.get(key)!r} and is {new.get(key)!r}" for key in changed[:3])
        raise SettingsError(
            f"{folder}: was made with other settings ({some}): choose another output folder, put the settings back, or "
            "go on all the same with --accept-changes."
        )
    # Checkpoints of before these notes were taken say nothing of them; of what was held out it is known all the same.
    said = {HELD_OUT: AS_EVER, **before}
    others = sorted(key for key in notes.keys() - {"settings"} if key in said and said[key] != notes[key])
    if others and not accept_changes:
        raise SettingsError(
            f"{folder}: the settings are the same, but not what they name ({', '.join(others)}): choose another output "
            "folder, put it back, or go on all the same with --accept-changes."
        )
    same_kind = old.get("optimizer.kind") == new.get("optimizer.kind")
    restore(folder, parameters=parameters, optimizer=optimizer if same_kind else None, ema=ema)
    return int(before["step"])


def compile_blocks(modules: Sequence[torch.nn.Module], *, dynamic: bool) -> None:
    """Compile the repeated blocks of every network inside that has some, however deep it lies.

    Args:
        modules: with the networks.
        dynamic: one program for all shapes; else one for each number of keyframes and batch.
    """
    import torch._dynamo

    if not dynamic:
        # One program per number of keyframes, and per shape at the end of a batch.
        torch._dynamo.config.recompile_limit = 64
    for network in (part for module in modules for part in module.modules()):
        repeated = getattr(network, "_repeated_blocks", None) or ()
        for block in network.modules() if repeated else ():
            # diffusers' own `compile_repeated_blocks` does not know blocks that are sharded, which FSDP2 makes a class
            # of their own, derived from theirs.
            if any(kind.__name__ in repeated for kind in type(block).__mro__):
                block.compile(dynamic=dynamic)


def _reduced(accelerator: Accelerator, values: torch.Tensor) -> list[float]:
    mean: torch.Tensor = accelerator.reduce(values, reduction="mean")
    return [float(value) for value in mean.tolist()]


def _whole(norm: Any) -> torch.Tensor:
    from storymem.training.checkpoint import full_tensor

    return full_tensor(torch.as_tensor(norm))


def _check_finite(name: str, step: int, loss: float) -> None:
    if not math.isfinite(loss):
        raise ModelError(
            f"{name}: the loss is {loss} after {step} steps, so it ran off; go on from the last checkpoint with a "
            "lower learning rate and --accept-changes."
        )
