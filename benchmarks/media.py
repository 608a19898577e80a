"""Seconds to write and read a shot: `python benchmarks/media.py [--frames 81] [--size 832x480] [--json FILE]`.

The shot is synthetic: a textured picture that pans, with film grain, which is harder to compress than what the model
makes. Each figure is the best of three runs.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from storymem.media import Uint8Array, read_frames, read_video, write_video


def synthetic_shot(count: int, width: int, height: int) -> Uint8Array:
    """A panning texture with grain, uint8 ``[count, height, width, 3]``."""
    rng = np.random.default_rng(0)
    rows, columns = np.indices((height, width + count * 4))
    waves = [np.sin(columns / 31 + rows / 47), np.sin(columns / 17 - rows / 29), np.sin((columns + rows) / 71)]
    world = np.stack(waves, axis=-1) * 90 + 128
    shot = np.empty((count, height, width, 3), np.uint8)
    for index in range(count):
        grain = rng.normal(0, 3, (height, width, 1))
        shot[index] = np.clip(world[:, index * 4 : index * 4 + width] + grain, 0, 255)
    return shot


def best_of(runs: int, work: Callable[[], object]) -> float:
    """The least seconds of some runs."""
    times = []
    for _ in range(runs):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return min(times)


def main() -> None:
    """Measure, print, and write the figures on request."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--frames", type=int, default=81)
    parser.add_argument("--size", default="832x480")
    parser.add_argument("--fps", type=int, default=16)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    width, height = (int(side) for side in options.size.split("x"))
    shot = synthetic_shot(options.frames, width, height)
    with tempfile.TemporaryDirectory() as folder:
        master, clip = Path(folder) / "master.mkv", Path(folder) / "clip.mp4"
        five = np.linspace(0, options.frames - 1, 5).round().astype(int).tolist()
        seconds = {
            "master_write": best_of(3, lambda: write_video(master, shot, options.fps, codec="ffv1")),
            "master_read": best_of(3, lambda: sum(1 for _ in read_video(master))),
            "master_read_five_frames": best_of(3, lambda: read_frames(master, five)),
            "h264_encode": best_of(3, lambda: write_video(clip, shot, options.fps)),
            "master_to_h264": best_of(3, lambda: write_video(clip, read_video(master), options.fps)),
        }
        sizes = {"raw": shot.nbytes, "master": master.stat().st_size, "h264": clip.stat().st_size}
    result = {
        "frames": options.frames,
        "size": options.size,
        "seconds_per_shot": {name: round(value, 3) for name, value in seconds.items()},
        "bytes_per_shot": sizes,
        "machine": f"{platform.machine()}, {os.cpu_count()} cores",
    }
    for name, value in seconds.items():
        print(f"{name:26}{value:8.3f} s   {options.frames / value:8.1f} frames/s")
    for name, value in sizes.items():
        print(f"{name:26}{value / 1e6:8.1f} MB")
    if options.json:
        options.json.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
