"""Exponential moving average of trained weights."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch

__all__ = ["Ema"]


class Ema:
    """Keeps an average of parameters, in float32.

    Args:
        parameters: what is averaged, by name.
        decay: share of the old average at each step; 0 follows the parameters exactly and keeps no copy.
    """

    def __init__(self, parameters: Mapping[str, torch.nn.Parameter], decay: float) -> None:
        self.parameters = dict(parameters)
        self.decay = decay
        self.average: dict[str, torch.Tensor] = {}
        if decay:
            self.average = {name: value.detach().float().clone() for name, value in self.parameters.items()}

    @torch.no_grad()
    def update(self, step: int) -> None:
        """After optimizer step number `step` (from 0): early on the average forgets its start sooner."""
        if not self.decay:
            return
        decay = min(self.decay, (1 + step) / (10 + step))
        current = [self.parameters[name].detach().float() for name in self.average]
        torch._foreach_lerp_(list(self.average.values()), current, 1 - decay)

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Inside the block the parameters are the average; afterwards what they were."""
        if not self.decay:
            yield
            return
        kept = {name: value.detach().clone() for name, value in self.parameters.items()}
        self._set(self.average)
        try:
            yield
        finally:
            self._set(kept)

    @torch.no_grad()
    def _set(self, values: Mapping[str, torch.Tensor]) -> None:
        for name, parameter in self.parameters.items():
            parameter.copy_(values[name])
