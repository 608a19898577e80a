"""Seconds that `storymem bench score` needs: `python benchmarks/bench_speed.py [--films 30] [--size 448x256]`.

Films of Storyland as H.264 clips, as another system would hand them in; scored with the built-in encoders, once with an
empty cache and once again.
"""

from __future__ import annotations

import argparse
import json
import platform
import tempfile
import time
from pathlib import Path

from storymem.bench.encoders import BuiltinVideoEncoder
from storymem.bench.score import Instruments, score_folder
from storymem.media import to_uint8, write_video
from storymem.worlds.storyland import render, sample_story, story_script


def write_films(folder: Path, films: int, shots: int, frames: int, height: int, width: int) -> None:
    """Real shots of stories with seeds 0, 1, ..., without what repeats."""
    for seed in range(films):
        story = sample_story(seed, shots=shots, num_frames=frames)
        place = folder / "storyland" / f"{seed:04d}"
        place.mkdir(parents=True)
        (place / "script.yaml").write_text(story_script(story), encoding="utf-8")
        for number, shot in enumerate(story.shots, 1):
            pixels = to_uint8(render([shot.spec], frames, height, width)[0].permute(1, 0, 2, 3).numpy())
            write_video(place / f"{number:02d}.mp4", iter(pixels if shot.cut else pixels[1:]), 16)


def main() -> None:
    """Write films, score them twice, and print the seconds."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--films", type=int, default=30)
    parser.add_argument("--shots", type=int, default=10)
    parser.add_argument("--frames", type=int, default=17)
    parser.add_argument("--size", default="112x64", help="WIDTHxHEIGHT")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    width, height = map(int, options.size.split("x"))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_films(folder, options.films, options.shots, options.frames, height, width)
        seconds = []
        for _ in range(2):
            start = time.perf_counter()
            score_folder(folder, Instruments(BuiltinVideoEncoder()), processes=options.processes)
            seconds.append(time.perf_counter() - start)
    shots = options.films * options.shots
    result = {
        "films": options.films,
        "shots": shots,
        "frames": options.frames,
        "size": options.size,
        "processes": options.processes,
        "seconds": round(seconds[0], 1),
        "seconds_again": round(seconds[1], 1),
        "shots_per_second": round(shots / seconds[0], 2),
        "machine": platform.processor() or platform.machine(),
    }
    print(json.dumps(result, indent=1))
    if options.json:
        options.json.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
