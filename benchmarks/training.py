"""How fast the trainer is: samples per second of a small base with memory, whole steps with data, noise and optimizer.

    python benchmarks/training.py [--json FILE] [--steps N] [--batch N] [--threads N]
                                  [--device D] [--precision P ...] [--compile C ...] [--tokens SHARE ...]

The model is near that of `examples/train/storyland/`, on clips of 64x112 pixels and 17 frames (8x VAE, tokens of 2x2
latent pixels, 1 to 3 keyframes: 168 to 224 tokens), about 5 M parameters in the transformer and 1 M in the text encoder
that is trained along. Clips are random pixels, encoded once; the first step, which compiles, is not counted.
Run it on an idle machine: a second busy process costs far more than its share.
"""

from __future__ import annotations

import argparse
import itertools
import json
import os
import platform
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from storymem.errors import StoryMemError
from storymem.training.clips import Clip, register_source
from storymem.training.config import parse_config
from storymem.training.network_sections import TextEncoderSection, VaeSection
from storymem.training.networks import build_text_encoder, build_transformer, build_vae
from storymem.training.output import save_vae
from storymem.training.run import train
from storymem.training.text import build_tokenizer

CONFIG = """
stage: base
seed: 0
checkpoint_every: 0
log_every: 1000000
transformer: {num_layers: 8, num_attention_heads: 4, attention_head_dim: 48, ffn_dim: 768, patch_size: [1, 2, 2]}
text_encoder: {d_model: 192, num_layers: 3, max_tokens: 64}
conditioning: {max_memory: 3, drop_memory: 0.0, first_frame: 0.5}
data: {world: noise, width: 112, height: 64, num_frames: 17, pool: 8, keyframes_per_clip: 3}
"""


class Noise:
    """Random pixels in groups of four."""

    identity = "noise"
    classes = ()

    def __init__(self, width: int, height: int, num_frames: int, options: Mapping[str, Any]) -> None:
        self.shape = (3, num_frames, height, width)

    def __len__(self) -> int:
        return 8

    def size(self, index: int) -> int:
        """Clips of a group."""
        return 4

    def subjects(self, index: int, clip: int) -> Sequence[Sequence[int]]:
        """One, in all others."""
        return [[other for other in range(4) if other != clip]]

    def group(self, index: int) -> Sequence[Clip]:
        """A group."""
        source = torch.Generator().manual_seed(index)
        return [
            Clip(torch.rand(self.shape, generator=source) * 2 - 1, (f"A red fox walks in the snow, number {i}.",))
            for i in range(4)
        ]

    def captions(self, count: int) -> Sequence[str]:
        """Captions."""
        return [f"A red fox walks in the snow, number {i}." for i in range(4)]


def parameters(config: Any) -> dict[str, int]:
    """Sizes of what is trained."""
    tokenizer = build_tokenizer(["a"], TextEncoderSection())
    parts = {
        "transformer": build_transformer(config.transformer, 16, config.text_encoder.d_model),
        "text_encoder": build_text_encoder(config.text_encoder, tokenizer),
    }
    return {name: sum(p.numel() for p in part.parameters()) for name, part in parts.items()}


def main() -> int:
    """Run everything; see the module's text."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", type=Path, metavar="FILE")
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--precision", nargs="*", default=["float32", "bfloat16"])
    parser.add_argument("--compile", nargs="*", default=["off", "dynamic", "static"])
    parser.add_argument("--tokens", type=float, nargs="*", default=[1.0], help="shares computed, of clip and memory")
    args = parser.parse_args()
    register_source("noise", Noise)
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        torch.manual_seed(0)
        save_vae(root / "vae", build_vae(VaeSection(base_dim=8, patch_size=1)))
        kinds = itertools.product(args.precision, args.compile, args.tokens)
        for number, (precision, compiled, share) in enumerate(kinds):
            overrides = (
                f"output={root / str(number)}",
                f"vae={root / 'vae'}",
                f"steps={args.steps + 1}",
                f"batch_size={args.batch}",
                f"runtime={{device: {args.device}, threads: {args.threads}}}",
                f"runtime.precision={precision}",
                f"runtime.compile={compiled}",
                f"tokens={{clip: {share}, memory: {share}}}",
            )
            config = parse_config(CONFIG, "benchmark", overrides)
            started = time.perf_counter()
            rate = train(config).samples_per_second["model"]
            seconds = time.perf_counter() - started
            row = {"precision": precision, "compile": compiled, "tokens": share}
            rows.append({**row, "samples_per_second": rate, "seconds": seconds})
            kind = f"{precision:9} compile {compiled:8} tokens {share:<5g}"
            print(f"{kind} {rate:7.1f} samples/s ({seconds:.0f} s in all)", flush=True)
    result = {
        "machine": {
            "processor": platform.processor() or platform.machine(),
            "cores": os.cpu_count(),
            "threads": torch.get_num_threads(),
            "load_at_end": os.getloadavg()[0],
            "torch": torch.__version__,
            "device": args.device,
        },
        "parameters": parameters(config),
        "batch": args.batch,
        "steps": args.steps,
        "rows": rows,
    }
    if args.json:
        args.json.write_text(json.dumps(result, indent=2), encoding="utf-8")
    print(json.dumps({key: value for key, value in result.items() if key != "rows"}))
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except StoryMemError as error:
        sys.exit(f"training: {error}")
