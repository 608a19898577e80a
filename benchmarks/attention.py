"""Attention forward and backward on a CPU: the fused kernel in two precisions, and the matrix products of training.

    python benchmarks/attention.py [--threads N] [--repeats N]

Sizes are those of the small model: pictures and clips of which half of the tokens are computed, whole clips with
memory, and captions of 80 tokens. Milliseconds, medians; the kinds take turns, so a noisy machine is noisy for all.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import torch
from torch.nn import functional

from storymem.training.attention import attend

SIZES = {
    "pictures, itself": (96, 42, 42),
    "pictures, caption": (96, 42, 80),
    "clips, itself": (24, 140, 140),
    "clips, caption": (24, 140, 80),
    "whole clips, itself": (16, 308, 308),
}
"""Batch, queries, keys."""
HEADS, HEAD_DIM = 4, 48


KINDS: dict[str, tuple[Callable[..., torch.Tensor], torch.dtype]] = {
    "fused, float32": (functional.scaled_dot_product_attention, torch.float32),
    "fused, bfloat16": (functional.scaled_dot_product_attention, torch.bfloat16),
    "products, bfloat16": (attend, torch.bfloat16),
}


def main() -> None:
    """Time everything; see the module's text."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=15)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    print(f"{'':22}" + "".join(f"{name:>22}" for name in KINDS))
    for name, (batch, queries, keys) in SIZES.items():
        parts = [torch.randn(batch, length, HEADS, HEAD_DIM) for length in (queries, keys, keys)]
        times: dict[str, list[float]] = {kind: [] for kind in KINDS}
        for repeat in range(args.repeats + 1):
            for kind, (computed, dtype) in KINDS.items():
                own = [part.to(dtype).transpose(1, 2).requires_grad_() for part in parts]
                started = time.perf_counter()
                computed(*own).sum().backward()  # type: ignore[no-untyped-call]
                if repeat:  # the first is slow
                    times[kind].append((time.perf_counter() - started) * 1e3)
        print(f"{name:22}" + "".join(f"{statistics.median(times[kind]):19.1f} ms" for kind in KINDS), flush=True)


if __name__ == "__main__":
    main()
