"""More blocks for a network that was trained with fewer.

Blocks put behind the last one begin as its copies that add nothing, so the network says what it said, and learns from
there (block expansion, arXiv 2401.02415; the idea is Net2Net's, arXiv 1511.05641). A small network is quick to train,
and a deeper one need not begin anew.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import torch

__all__ = ["add_blocks"]

_OUTPUTS = re.compile(r"(attn1\.to_out\.0|attn2\.to_out\.0|ffn\.net\.2)\.(weight|bias)")
"""What of a WanTransformerBlock is added to its tokens: the last linear layers of its three branches."""


def add_blocks(weights: Mapping[str, torch.Tensor], number: int, wanted: int) -> dict[str, torch.Tensor]:
    """Weights of a WanTransformer3DModel with more blocks that says the same.

    Args:
        weights: state of a transformer of `number` blocks; it stays as it is.
        number: of its blocks.
        wanted: how many there shall be, no fewer.
    """
    out = dict(weights)
    last = f"blocks.{number - 1}."
    for name, tensor in weights.items():
        if name.startswith(last):
            own = name.removeprefix(last)
            copy = torch.zeros_like(tensor) if _OUTPUTS.fullmatch(own) else tensor
            out.update({f"blocks.{block}.{own}": copy for block in range(number, wanted)})
    return out
