from __future__ import annotations

import pytest
import torch

from storymem.sampling import flow_sigmas, make_scheduler
from storymem.settings import SamplingConfig


@pytest.mark.parametrize("solver", ["unipc", "dpm++", "euler"])
def test_steps_so_close_that_their_timesteps_are_equal_are_all_taken(solver: str) -> None:
    """At a velocity of one, each step goes down by its own distance, and the last one arrives at zero."""
    config = SamplingConfig(num_inference_steps=100, shift=12.0, solver=solver)
    scheduler = make_scheduler(config)
    level = torch.tensor(flow_sigmas(100, 12.0, solver)[0], dtype=torch.float32).view(1, 1, 1, 1, 1)
    for number, timestep in enumerate(scheduler.timesteps):
        level = scheduler.step(torch.ones_like(level), timestep, level, return_dict=False)[0]
        assert scheduler.step_index == number + 1
    assert level.item() == pytest.approx(0.0, abs=1e-4)
