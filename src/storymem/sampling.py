"""Sigmas and solvers: the method's sampling schedule on diffusers' schedulers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias, TypeVar, cast

import numpy as np
import torch
from diffusers import (
    DPMSolverMultistepScheduler,
    FlowMatchEulerDiscreteScheduler,
    UniPCMultistepScheduler,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from storymem.settings import SamplingConfig, Solver

__all__ = [
    "FlowDPMSolverMultistepScheduler",
    "Scheduler",
    "flow_sigmas",
    "make_scheduler",
    "shift_level",
    "unshift_level",
]

Levels = TypeVar("Levels", float, "NDArray[np.float64]", torch.Tensor)

Scheduler: TypeAlias = UniPCMultistepScheduler | DPMSolverMultistepScheduler | FlowMatchEulerDiscreteScheduler

NUM_TRAIN_TIMESTEPS = 1000
# The noisiest training step of Wan's UniPC schedule: sigma(t) = t / 1000 over t = 1 .. 1000, reversed, less its last 1.
UNIPC_SIGMA_MAX = 1.0 - 1.0 / NUM_TRAIN_TIMESTEPS


def shift_level(s: Levels, shift: float) -> Levels:
    """The noise level ``shift * s / (1 + (shift - 1) * s)`` of s in [0, 1] (arXiv 2403.03206, eq. 23)."""
    return shift * s / (1 + (shift - 1) * s)


def unshift_level(t: float, shift: float) -> float:
    """The s of a noise level: the inverse of `shift_level`."""
    return t / (shift - (shift - 1) * t)


def flow_sigmas(num_inference_steps: int, shift: float, solver: Solver = "unipc") -> NDArray[np.float64]:
    """Noise levels of the steps, falling, without the final zero.

    `shift_level` of ``s = linspace(s_max, 0, n + 1)[:-1]`` with s_max = 0.999 for UniPC and 1 for the others (Wan2.2's
    schedules).
    """
    start = UNIPC_SIGMA_MAX if solver == "unipc" else 1.0
    return shift_level(np.linspace(start, 0.0, num_inference_steps + 1)[:-1], shift)


class FlowDPMSolverMultistepScheduler(DPMSolverMultistepScheduler):  # type: ignore[misc]  # diffusers is untyped
    """diffusers' DPM++ solver with the sigmas given, which its own `set_timesteps` does not take."""

    def set_timesteps(
        self,
        num_inference_steps: int | None = None,
        device: str | torch.device | None = None,
        mu: float | None = None,
        timesteps: list[int] | None = None,
        sigmas: NDArray[np.float64] | None = None,
    ) -> None:
        """As in diffusers; `sigmas` (falling, without the final zero) take the place of its own spacing."""
        if sigmas is None:
            super().set_timesteps(num_inference_steps, device, mu, timesteps)
            return
        super().set_timesteps(len(sigmas), device)  # resets the solver's state
        self.sigmas = torch.from_numpy(np.append(sigmas, 0.0).astype(np.float32))
        self.timesteps = torch.from_numpy(sigmas * self.config.num_train_timesteps).to(device, torch.int64)


def make_scheduler(config: SamplingConfig, device: torch.device | str | None = None) -> Scheduler:
    """The scheduler of a shot, its timesteps set: flow prediction, order 2, final sigma zero.

    Args:
        config: solver, number of steps and shift.
        device: where the timesteps are needed.
    """
    sigmas = flow_sigmas(config.num_inference_steps, config.shift, config.solver)
    flow: dict[str, Any] = {"prediction_type": "flow_prediction", "use_flow_sigmas": True, "flow_shift": 1.0}
    if config.solver == "unipc":
        scheduler: Any = UniPCMultistepScheduler(solver_order=2, solver_type="bh2", **flow)
    elif config.solver == "dpm++":
        scheduler = FlowDPMSolverMultistepScheduler(solver_order=2, algorithm_type="dpmsolver++", **flow)
    else:
        scheduler = FlowMatchEulerDiscreteScheduler(num_train_timesteps=NUM_TRAIN_TIMESTEPS, shift=1.0)
    scheduler.set_timesteps(sigmas=sigmas, device=device)
    # Not found by the timestep, which two steps may share: timesteps are whole numbers, and many steps lie close.
    scheduler.set_begin_index(0)
    return cast("Scheduler", scheduler)
