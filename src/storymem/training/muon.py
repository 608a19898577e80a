"""Muon for the matrices of transformer blocks, AdamW for everything else, as one optimizer.

Muon (Keller Jordan, https://kellerjordan.github.io/posts/muon/) replaces a matrix's averaged gradient by the nearest
orthogonal matrix, found by Newton-Schulz iterations. Steps are scaled by ``0.2 * sqrt(max(rows, columns))``
(arXiv 2502.16982, section 2.2), so that one learning rate and one weight decay fit both halves.

`torch.optim.Muon` iterates matrix by matrix in bfloat16, which takes processors without bfloat16 arithmetic more than
half of a small model's step; here matrices of one shape go together, on a CPU in the precision that the run computes
in.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Mapping
from typing import Any, cast

import torch

from storymem.training.networks import decay_groups

__all__ = ["MuonWithAdamW", "muon_groups", "orthogonal"]

_MATRICES = re.compile(r"(^|\.)(blocks|block)\.\d+\..*\.weight$")
"""Weights inside the repeated blocks of a Wan transformer or a T5 encoder."""
_COEFFICIENTS = (3.4445, -4.7750, 2.0315)  # of the quintic iteration, as published
_ITERATIONS = 5


@torch.no_grad()
def orthogonal(matrices: torch.Tensor, precision: torch.dtype = torch.float32) -> torch.Tensor:
    """Roughly orthogonal matrices near ``[N, rows, columns]``: the same singular vectors, singular values near 1.

    Args:
        matrices: any, of one shape.
        precision: what the iterations are computed in on a CPU; in bfloat16 elsewhere.
    """
    a, b, c = _COEFFICIENTS
    x = matrices.float()
    tall = x.shape[-2] > x.shape[-1]
    x = x.mT if tall else x
    x = x / x.norm(dim=(-2, -1), keepdim=True).clamp_min(1e-7)
    x = x.to(precision if x.device.type == "cpu" else torch.bfloat16)
    for _ in range(_ITERATIONS):
        gram = x @ x.mT
        x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return (x.mT if tall else x).to(matrices.dtype)


def muon_groups(parameters: Mapping[str, torch.nn.Parameter], weight_decay: float) -> list[dict[str, Any]]:
    """Optimizer groups: matrices for Muon, and the rest as `decay_groups` has it."""
    matrices: list[torch.nn.Parameter] = []
    rest: list[torch.nn.Parameter] = []
    for name, parameter in parameters.items():
        is_matrix = parameter.ndim == 2 and _MATRICES.search(name) and "relative_attention_bias" not in name
        (matrices if is_matrix else rest).append(parameter)
    groups = [{**group, "muon": False} for group in decay_groups(rest, weight_decay)]
    return [{"params": matrices, "muon": True, "weight_decay": weight_decay}, *groups] if matrices else groups


class MuonWithAdamW(torch.optim.AdamW):
    """AdamW whose groups marked ``muon`` make Muon's steps instead.

    Args:
        groups: see `muon_groups`.
        momentum: of Muon's average (Nesterov's form).
        precision: of Newton and Schulz' iterations on a CPU.
        arguments: AdamW's.
    """

    def __init__(
        self,
        groups: list[dict[str, Any]],
        *,
        momentum: float = 0.95,
        precision: torch.dtype = torch.float32,
        **arguments: Any,
    ) -> None:
        super().__init__(groups, **arguments)
        self.momentum = momentum
        self.precision = precision

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """One step of both; a closure is not taken."""
        assert closure is None
        for group in self.param_groups:
            if group["muon"]:
                self._muon(group)
        return super().step()

    def _muon(self, group: dict[str, Any]) -> None:
        together: dict[tuple[int, ...], list[torch.Tensor]] = defaultdict(list)
        for parameter in group["params"]:
            if parameter.grad is not None:
                together[tuple(parameter.shape)].append(parameter)
        for shape, parameters in together.items():
            gradients = [cast(torch.Tensor, parameter.grad) for parameter in parameters]
            averages = []
            for parameter in parameters:
                state = self.state[parameter]
                if not state:
                    state["average"] = torch.zeros_like(parameter)
                averages.append(state["average"])
            torch._foreach_lerp_(averages, gradients, 1 - self.momentum)
            ahead = torch.stack(torch._foreach_lerp(gradients, averages, self.momentum))
            steps = orthogonal(ahead, self.precision).unbind()
            torch._foreach_mul_(parameters, 1 - group["lr"] * group["weight_decay"])
            torch._foreach_add_(parameters, steps, alpha=-group["lr"] * 0.2 * max(shape) ** 0.5)
            for parameter in parameters:
                parameter.grad = None  # AdamW passes over what has no gradient
