"""The method's objective: rectified flow on the shot, with the memory as given context.

Pure functions. What the transformer sees is put together by `ShotCondition.channels`, as in the pipeline: training and
sampling cannot drift apart.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import NormalDist
from typing import TYPE_CHECKING

import torch

from storymem.conditioning.condition import ShotCondition
from storymem.sampling import shift_level, unshift_level

if TYPE_CHECKING:
    from storymem.training.sections import NoiseSection

__all__ = [
    "NUM_TRAIN_TIMESTEPS",
    "add_noise",
    "noise_level",
    "noise_levels",
    "sequence_of",
    "transformer_input",
    "velocity_target",
    "video_loss",
]

NUM_TRAIN_TIMESTEPS = 1000


def noise_level(u: float, config: NoiseSection, low: float = 0.0, high: float = 1.0) -> float:
    """The noise level t in [low, high] that belongs to u, uniform in (0, 1): the inverse of the distribution function.

    s is uniform or logit-normal (arXiv 2403.03206, section 3.1), t is its `shift_level`. An expert sees the part of
    this distribution that lies in its range.
    """
    s_low, s_high = unshift_level(low, config.shift), unshift_level(high, config.shift)
    if config.distribution == "uniform":
        s = s_low + u * (s_high - s_low)
    else:
        normal = NormalDist(config.mean, config.std)
        edges = [0.0 if s <= 0 else 1.0 if s >= 1 else normal.cdf(math.log(s / (1 - s))) for s in (s_low, s_high)]
        p = edges[0] + u * (edges[1] - edges[0])
        s = 1 / (1 + math.exp(-normal.inv_cdf(min(max(p, 1e-12), 1 - 1e-12))))
    return min(max(shift_level(s, config.shift), low), high)


def noise_levels(us: Sequence[float], config: NoiseSection, low: float = 0.0, high: float = 1.0) -> torch.Tensor:
    """`noise_level` of each: ``[B]`` float32."""
    return torch.tensor([noise_level(u, config, low, high) for u in us], dtype=torch.float32)


def sequence_of(memory_latents: torch.Tensor | None, latents: torch.Tensor) -> torch.Tensor:
    """Clean latents of the whole sequence ``[B, z, M + F_lat, h, w]``: the memory's, then the clip's.

    The memory slots are noised along, as they are while sampling; the loss leaves them out.
    """
    return latents if memory_latents is None else torch.cat([memory_latents, latents], dim=2)


def add_noise(clean: torch.Tensor, noise: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
    """``x_t = (1 - t) * x_0 + t * noise`` for levels ``[B]``."""
    level = t.to(clean).view(-1, 1, 1, 1, 1)
    return (1 - level) * clean + level * noise


def velocity_target(clean: torch.Tensor, noise: torch.Tensor) -> torch.Tensor:
    """What the transformer has to say: ``noise - x_0``."""
    return noise - clean


def transformer_input(
    noisy: torch.Tensor, conditions: Sequence[ShotCondition], in_channels: int, dtype: torch.dtype
) -> torch.Tensor:
    """``[B, in_channels, M + F_lat, h, w]``: the noisy latents, and beside them each sample's condition.

    Args:
        noisy: ``[B, z, M + F_lat, h, w]``.
        conditions: one per sample; all with the same number of keyframes, so the same positions.
        in_channels: of the transformer.
        dtype: the transformer's input is cast to this, as the pipeline does.
    """
    assert len({condition.positions for condition in conditions}) == 1
    parts = [condition.channels(in_channels, noisy.device, dtype) for condition in conditions]
    channels = [part for part in parts if part is not None]
    if not channels:
        return noisy.to(dtype)
    return torch.cat([noisy.to(dtype), torch.cat(channels)], dim=1)


def video_loss(
    velocity: torch.Tensor, target: torch.Tensor, num_memory: int, weight: torch.Tensor | None = None
) -> torch.Tensor:
    """Mean squared error of the clip's own latents, per sample ``[B]``, in float32; memory slots do not count.

    Args:
        velocity: what the transformer said, ``[B, z, M + F_lat, h, w]``.
        target: what it should have said.
        num_memory: M.
        weight: of each latent pixel, ``[B, F_lat, h, w]``, above 0; the mean is weighed by it. None: all are alike.
    """
    error = velocity[:, :, num_memory:].float() - target[:, :, num_memory:].float()
    squares = error.square().mean(dim=1)  # [B, F_lat, h, w]
    if weight is None:
        return squares.flatten(1).mean(dim=1)
    return (squares * weight).flatten(1).sum(dim=1) / weight.flatten(1).sum(dim=1)
