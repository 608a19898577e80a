"""Gaussian noise of which every sample has its own seed, drawn for a whole batch at once.

Samples keep their noise however many processes share a batch, and whatever device draws it. A generator per sample
would do that too, but costs an accelerator longer than the network's own step where samples are small and many.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch

__all__ = ["draw_noise"]

# SplitMix64 (Steele, Lea and Flood, OOPSLA 2014), as signed numbers: the step of its counter and its two factors.
_STEP = 0x9E3779B97F4A7C15 - 2**64
_FACTORS = (0xBF58476D1CE4E5B9 - 2**64, 0x94D049BB133111EB - 2**64)
_SHIFTS = (30, 27, 31)


def _mixed(z: torch.Tensor) -> torch.Tensor:
    """The output function of SplitMix64, on int64 tensors: they wrap as unsigned numbers do."""
    for shift, factor in zip(_SHIFTS, (*_FACTORS, None), strict=True):
        z = z ^ ((z >> shift) & (2 ** (64 - shift) - 1))  # >> keeps the sign; the mask makes it a logical shift
        if factor is not None:
            z = z * factor
    return z


def draw_noise(seeds: Sequence[int], shape: Sequence[int], device: torch.device | str) -> torch.Tensor:
    """Standard normal ``[B, *shape]`` float32, each sample from its own seed.

    Every 64 bits of a sample's SplitMix64 are two normal numbers by Box and Muller's method (Ann. Math. Stat. 1958).

    Args:
        seeds: B numbers of up to 64 bits; samples with the same seed have the same noise.
        shape: of a sample; a longer sample begins as a shorter one of the same seed.
        device: where it is drawn; the same everywhere but for rounding.
    """
    number = math.prod(shape)
    start = torch.tensor([(seed + 2**63) % 2**64 - 2**63 for seed in seeds], dtype=torch.int64).to(device)
    counter = torch.arange(1, (number + 1) // 2 + 1, device=device)
    bits = _mixed(start[:, None] + counter * _STEP)
    radius = ((bits & 0xFFFFFFFF).float() + 0.5).mul_(2.0**-32).clamp_(max=1).log_().mul_(-2).sqrt_()
    angle = (bits >> 32).float().mul_(math.pi * 2.0**-31)
    pairs = torch.stack([radius * angle.cos(), radius * angle.sin()], dim=-1)
    return pairs.flatten(1)[:, :number].reshape(len(seeds), *shape)
