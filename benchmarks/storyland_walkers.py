"""Whether who walks or runs across a picture that stands still is shown once, and as who he is.

    python benchmarks/storyland_walkers.py [--model FOLDER] [--clips N] [--json FILE] [--sheet PNG]

Prompts of Storyland do not say from which side a hero comes, so a model may have him come from both. Heroes of the
split "test" who are alone in a medium shot walk and run; memory is a true portrait of each. Per shot, as the attribute
reader reads it:

    shown once, twice   heroes that most of the frames looked at show
    heads too many      frames looked at that show a second head
    looks               of what can be seen of the hero, right; all wrong if not one hero is shown
    action              what is done, likewise

As in training the camera stands still in a third of the shots and follows in the others; `--camera static` asks for
the former alone.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from storymem.errors import StoryMemError
from storymem.film.maker import ShotRequest
from storymem.film.pipeline_maker import PipelineShotMaker, Runtime
from storymem.film.resolve import ModelRequest, resolve_model
from storymem.media import FloatArray, to_uint8
from storymem.settings import SamplingConfig
from storymem.worlds.storyland import ground_truth, render, sample_group
from storymem.worlds.storyland.reader import Reader, heads_in, load_reader
from storymem.worlds.storyland.reader_network import frame_indices
from storymem.worlds.storyland.shots import MOVING
from storymem.worlds.storyland.stories import Clip

FIRST_SEED = 910_000  # of groups: far from those of stories


@dataclass(frozen=True)
class Shown:
    """What one shot shows: heroes, frames with a second head of those looked at, looks right of those to be seen."""

    heroes: int
    extra: int
    looked: int
    right: int
    asked: int
    acts: bool


def walkers(number: int, camera: str | None) -> Iterator[tuple[Clip, Clip]]:
    """Pairs of a hero's portrait and a medium shot in which that hero, alone, walks or runs; two of a group at most."""
    made, seed = 0, FIRST_SEED
    while made < number:
        group = sample_group(
            seed, "test", clips=12, two_heroes=0.0, told=0.0, portraits=1.0, actions={"walk": 40, "run": 10}
        )
        seed += 1
        portrait = next(clip for clip in group.clips if clip.portrait)
        moving = [clip for clip in group.clips if not clip.portrait and clip.spec.actors[0].action in MOVING]
        of_kind = [c for c in moving if c.spec.shot_type == "medium" and camera in (None, c.spec.camera)]
        for clip in of_kind[: min(2, number - made)]:
            made += 1
            yield portrait, clip


def look(reader: Reader, frames: FloatArray, clip: Clip) -> Shown:
    """Read a shot and compare it with what it should show."""
    count, _, height, width = frames.shape
    meant = ground_truth(clip.spec, count, height, width)["heroes"][0]
    read = reader.read(frames)
    with torch.inference_mode():
        heads = [len(found) for found in heads_in(reader.network, frames)[1]]
    one = read.heroes[0] if len(read.heroes) == 1 else None
    right = sum(one is not None and one.attributes[name] == meant["attributes"][name] for name in meant["visible"])
    acts = one is not None and one.action == meant["action"]
    return Shown(len(read.heroes), heads.count(2), len(heads), right, len(meant["visible"]), acts)


def measure(args: argparse.Namespace) -> dict[str, Any]:
    """Everything; see the module's text."""
    resolved = resolve_model(ModelRequest(model=args.model) if args.model else ModelRequest())
    sampling = SamplingConfig(**resolved.sampling)
    maker = PipelineShotMaker(resolved.model, runtime=Runtime(device="cpu"), request={})
    reader, shown, rows = load_reader(), [], []
    for number, (portrait, clip) in enumerate(walkers(args.clips, args.camera)):
        drawn = render([portrait.spec], sampling.num_frames, sampling.height, sampling.width)[0]
        request = ShotRequest(
            prompt=clip.caption,
            negative_prompt="",
            seed=number,
            sampling=sampling,
            memory=(drawn[:, sampling.num_frames // 2].numpy(),),
        )
        frames = maker.make(request, lambda step, steps: None)
        shown.append(look(reader, frames, clip))
        rows.append(np.concatenate(list(to_uint8(frames[frame_indices(len(frames))])), axis=1))
    if args.sheet is not None:
        Image.fromarray(np.concatenate(rows)).save(args.sheet)
    return {
        "model": args.model or "storyland",
        "shots": len(shown),
        "shown": {str(count): sum(one.heroes == count for one in shown) for count in range(3)},
        "heads too many": sum(one.extra for one in shown),
        "frames": sum(one.looked for one in shown),
        "looks": round(sum(one.right for one in shown) / sum(one.asked for one in shown), 4),
        "action": round(sum(one.acts for one in shown) / len(shown), 4),
    }


def main(argv: Sequence[str] | None = None) -> int:
    """Measure a model; see the module's text."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", help="a diffusers folder (default: the one that comes with the package)")
    parser.add_argument("--clips", type=int, default=40, help="shots (default 40)")
    parser.add_argument("--camera", choices=("static", "follow"), help="only shots of this one (default: both)")
    parser.add_argument("--json", type=Path, help="where the figures go")
    parser.add_argument("--sheet", type=Path, help="a PNG with the frames looked at, a row for each shot")
    args = parser.parse_args(argv)
    if args.clips < 1:
        parser.error("--clips must be at least 1")
    try:
        report = measure(args)
    except StoryMemError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    shown = report["shown"]
    print(f"{report['shots']} shots: shown once {shown['1']}, twice {shown['2']}, not at all {shown['0']}")
    print(f"frames with a head too many {report['heads too many']} of {report['frames']}")
    print(f"looks right {report['looks']:.1%}, action {report['action']:.1%}")
    if args.json is not None:
        args.json.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
