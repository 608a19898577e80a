"""What a step of learning from a judge costs: making shots, judging them, learning from one step of each expert.

    python benchmarks/training_judged.py [--model FOLDER] [--batch N] [--steps N] [--size WxH]
                                         [--precision float32|bfloat16] [--compile off|static|dynamic] [--repeats N]
                                         [--threads N] [--json FILE]

Storyland's clips of 25 frames, the package's small model if no other is given, two keyframes. --size is that
of the pictures that are judged; a VAE that draws smaller ones of the same latents makes it cheaper.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch

from storymem.cli.options import parse_size
from storymem.cli.train import register_worlds
from storymem.film.resolve import ModelRequest, resolve_model
from storymem.training.config import parse_config
from storymem.training.denoise import conditions_of
from storymem.training.loop import compile_blocks
from storymem.training.memory_run import MemoryRun
from storymem.training.reward import RewardTask
from storymem.training.run import make_accelerator

CONFIG = """
stage: memory
train: full
steps: 1
reward: {}
noise: {shift: 3.0}
conditioning: {max_memory: 2, drop_memory: 0.0, first_frame: 0.0, drop_prompt: 0.0, blank: gradient}
data: {world: storyland, options: {clips: 4, two_heroes: 0.6}, num_frames: 25, pool: 4, keyframes_per_clip: 1}
runtime: {device: cpu}
"""


def measure(task: RewardTask, step: int) -> dict[str, float]:
    """Seconds of the parts of a step."""
    batch = task.batch(step, 0)
    text = task.text_of(batch.prompts)
    conditions = conditions_of(batch, task.geometry, task.stage.conditioning.memory_stride)
    marks = [time.perf_counter()]
    made = task.make(task.module, batch, text, conditions)
    marks.append(time.perf_counter())
    task.wanted(made.latents, batch)
    marks.append(time.perf_counter())
    task.loss(task.module, step, 0).backward()
    task.module.zero_grad()
    marks.append(time.perf_counter())
    make, judge, whole = (after - before for before, after in pairwise(marks))
    return {"make": make, "judge": judge, "learn": whole - make - judge, "step": whole}


def main(argv: Sequence[str] | None = None) -> int:
    """See the module's text."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", help="a diffusers folder (default: the one that comes with the package)")
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--steps", type=int, default=6, help="denoising steps of a shot")
    parser.add_argument("--size", default="224x128")
    parser.add_argument("--precision", choices=("float32", "bfloat16"), default="float32")
    parser.add_argument("--compile", choices=("off", "static", "dynamic"), default="off")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--json", type=Path, metavar="FILE")
    args = parser.parse_args(argv)
    torch.set_num_threads(args.threads)
    register_worlds()
    folder = resolve_model(ModelRequest(args.model) if args.model else ModelRequest()).model.folder
    with tempfile.TemporaryDirectory() as output:
        width, height = parse_size(args.size)
        given = (f"output={output}", f"model={folder}", f"batch_size={args.batch}", f"reward.steps={args.steps}",
                 f"data.width={width}", f"data.height={height}", f"runtime.precision={args.precision}")  # fmt: skip
        stage: Any = parse_config(CONFIG, "benchmark", given)
        run = MemoryRun(stage, make_accelerator(stage))
        task = run.task(run.tasks[0])
        assert isinstance(task, RewardTask)
        task.module.train()
        if args.compile != "off":
            compile_blocks((task.module, *task.beside), dynamic=args.compile == "dynamic")
        rows = [measure(task, step) for step in range(args.repeats + 1)][1:]  # the first one draws and compiles
    figures = {name: statistics.median(row[name] for row in rows) for name in rows[0]}
    print("  ".join(f"{name} {seconds:.2f} s" for name, seconds in figures.items()))
    if args.json:
        args.json.write_text(json.dumps({"batch": args.batch, "steps": args.steps, "seconds": figures}), "utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
