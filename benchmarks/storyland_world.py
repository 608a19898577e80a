"""Clips of Storyland a second, by size: `python benchmarks/storyland_world.py [--device cuda] [--json FILE]`.

Clips of 17 frames by lot, as training takes them: sampling, scene building and drawing together; the best of three
rounds. On the CPU with one thread, because data workers run side by side.
"""

from __future__ import annotations

import argparse
import json
import platform
import time
from pathlib import Path

import torch

from storymem.worlds.storyland import render, sample_shot
from storymem.worlds.storyland.scene import build_scene

SIZES = ((64, 112), (128, 224), (256, 448))


def clips_per_second(height: int, width: int, device: str, clips: int) -> float:
    """The best of three rounds of `clips` clips each, after one clip that loads the atlas."""
    render([sample_shot(0)], 17, height, width, device=device)
    best = 0.0
    for round_ in range(3):
        start = time.perf_counter()
        video = render([sample_shot(1 + round_ * clips + i) for i in range(clips)], 17, height, width, device=device)
        video.mean().item()  # waits for the device
        best = max(best, clips / (time.perf_counter() - start))
    return best


def main() -> None:
    """Measure, print, and write the figures on request."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--clips", type=int, default=48)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(1)
    figures = {}
    for height, width in SIZES:
        clips = max(4, options.clips * 64 // height // (height // 64))
        figures[f"{width}x{height}"] = round(clips_per_second(height, width, options.device, clips), 1)
        print(f"{width} x {height}: {figures[f'{width}x{height}']} clips/s")
    start = time.perf_counter()
    for seed in range(200):
        build_scene(sample_shot(seed), 17, 64, 112, 16)
    scenes = round(200 / (time.perf_counter() - start), 1)
    print(f"scenes alone: {scenes} clips/s")
    if options.json:
        report = {
            "clips_per_second": figures,
            "scenes_per_second": scenes,
            "device": options.device,
            "torch": torch.__version__,
            "machine": platform.machine(),
        }
        options.json.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
