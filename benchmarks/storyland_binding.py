"""Whether a model of Storyland gives two heroes in one picture each their own looks.

    python benchmarks/storyland_binding.py [--model FOLDER] [--pairs N] [--noises N] [--frames F] [--json FILE]

From pure noise a model can only say what the picture will be on average; the looks of heroes are decided there. Two
heroes who never met in training are asked for side by side, then with their places exchanged. What changes on the left,
and changes back on the right, is held against the change between the two heroes when each is alone:

    bound = (left - right) . lone / (2 lone . lone),    left, right, lone: mean latents of where a hero stands

It is 1 if each hero has the looks that are meant, 0 if both get the same ones, -1 if they are exchanged. The looks are
told in the prompt, with the words "on the left" and "on the right" or by the order alone (captions of Storyland name
the left one first); or they are shown in memory, one keyframe of each hero, and the prompt tells the species. The
same prompts without memory say whether each species is where it should be (`species`), which comes first. With
memory a lone hero is measured too (`chosen`): how much of the change between the two true keyframes is in the picture.
What the measure says of true drawings stands beside it.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from storyland_levels import Model
from storymem.cli.options import given
from storymem.errors import StoryMemError
from storymem.film.resolve import ModelRequest, resolve_model
from storymem.settings import SamplingConfig
from storymem.training.noise import draw_noise
from storymem.training.objective import sequence_of
from storymem.worlds.storyland import Group, render, sample_group
from storymem.worlds.storyland.captions import describe

WAYS = ("told, sides", "told, order", "species", "memory")
SCENE = "stands in the meadow at noon"
# Where heroes stand in a medium shot, in shares of its width.
LEFT, MIDDLE, RIGHT = (0.2, 0.36), (0.42, 0.58), (0.64, 0.8)


@dataclass(frozen=True)
class Asked:
    """Prompts of one pair: A left of B, B left of A, A alone, B alone; and what memory shows, ``[1, z, 2, h, w]``."""

    prompts: tuple[str, str, str, str]
    memory: torch.Tensor | None = None


class Expecting(Model):
    """Says what it expects from pure noise."""

    @torch.no_grad()
    def expected(self, prompt: str, memory: torch.Tensor | None, noises: int) -> torch.Tensor:
        """The mean picture ``[z, h, w]`` over noises and frames."""
        sampling, number = self.sampling, 0 if memory is None else memory.shape[2]
        blank = self.codec.encode_known(
            None, sampling.num_frames, sampling.height, sampling.width, blank=sampling.blank
        ).expand(noises, -1, -1, -1, -1)
        shown = None if memory is None else memory.expand(noises, -1, -1, -1, -1)
        condition = self.condition(blank, shown)
        seeds = range(noises)
        noise = draw_noise(seeds, blank.shape[1:], "cpu")
        # At level 1 the memory's slots are noise as well; the model sees memory in the condition.
        hidden = None if memory is None else draw_noise([~s % 2**31 for s in seeds], memory.shape[1:], "cpu")
        velocity = self.velocity(sequence_of(hidden, noise), 1.0, condition, [prompt] * noises)
        return (noise - velocity[:, :, number:]).mean(dim=(0, 2))

    def drawn(self, group: Group) -> torch.Tensor:
        """The four pictures of `Asked` as they truly are, all in one place: ``[4, z, h, w]``."""
        spec = next(clip.spec for clip in group.clips if len(clip.spec.actors) == 2)
        spec = replace(spec, shot_type="medium", camera="static")
        heroes, sides = group.heroes, [actor.x for actor in spec.actors]
        specs = []
        for shown, xs in ((heroes, sides), (heroes[::-1], sides), (heroes[:1], [0.0]), (heroes[1:], [0.0])):
            actors = (replace(spec.actors[0], hero=h, action="stand", x=x) for h, x in zip(shown, xs, strict=True))
            specs.append(replace(spec, actors=tuple(actors)))
        return self.codec.encode(render(specs, 1, self.sampling.height, self.sampling.width))[:, :, 0]


def of_place(picture: torch.Tensor, place: tuple[float, float]) -> torch.Tensor:
    """Mean latents ``[z]`` of a column of the picture."""
    width, height = picture.shape[2], picture.shape[1]
    first, last = (round(share * width) for share in place)
    return picture[:, height // 8 : height - height // 8, first : max(last, first + 1)].mean(dim=(1, 2))


def bound(pictures: Sequence[torch.Tensor]) -> tuple[float, torch.Tensor]:
    """See the module's text, of the four pictures of `Asked`; and the change between the lone heroes."""
    one, other, a, b = pictures
    left, right = of_place(one - other, LEFT), of_place(one - other, RIGHT)
    lone = of_place(a - b, MIDDLE)
    return float((left - right) @ lone / (2 * lone @ lone)), lone


def asked_of(group: Group, way: str, memory: torch.Tensor) -> Asked:
    """The prompts for the two heroes of a group."""
    people = list(zip(group.names, group.heroes, strict=True))
    if way in ("species", "memory"):
        (a, b), end = [f"{name} the {hero.species}" for name, hero in people], ""
    else:
        (a, b), end = [f"{name}, {describe(hero)}" for name, hero in people], ","
    left, right = (", on the left,", ", on the right,") if way == "told, sides" else (end, end)
    one, other = (f"Medium shot: {x}{left} stands while {y}{right} {SCENE}." for x, y in ((a, b), (b, a)))
    lone = [f"Medium shot: {x}{end} {SCENE}." for x in (a, b)]
    return Asked((one, other, lone[0], lone[1]), memory if way == "memory" else None)


def measure(args: argparse.Namespace) -> dict[str, Any]:
    """Everything; see the module's text."""
    resolved = resolve_model(ModelRequest(model=args.model) if args.model else ModelRequest())
    assert resolved.model.folder is not None
    sampling = SamplingConfig(**{**resolved.sampling, **given(num_frames=args.frames)})
    model = Expecting(resolved.model.folder, sampling, guidance=1.0)
    figures: dict[str, list[float]] = {name: [] for name in (*WAYS, "chosen", "true drawings")}
    for number in range(args.seed, args.seed + args.pairs):
        group = sample_group(number, "test", clips=6, two_heroes=1.0)
        drawn = model.drawn(group)
        value, true = bound(list(drawn))
        figures["true drawings"].append(value)
        memory = drawn[2:].transpose(0, 1)[None]
        for way in WAYS:
            asked = asked_of(group, way, memory)
            value, lone = bound([model.expected(prompt, asked.memory, args.noises) for prompt in asked.prompts])
            figures[way].append(value)
            if way == "memory":
                figures["chosen"].append(float(lone @ true / (true @ true)))
    report = {"model": args.model or "storyland", "pairs": args.pairs, "noises": args.noises, "figures": {}}
    for name, values in figures.items():
        mean, error = statistics.mean(values), statistics.stdev(values) / len(values) ** 0.5
        report["figures"][name] = {"mean": round(mean, 4), "error": round(error, 4), "n": len(values)}
        print(f"{name:13}  {mean:6.3f} +- {error:.3f}")
    return report


def main(argv: Sequence[str] | None = None) -> int:
    """Measure a model; see the module's text."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", help="a diffusers folder (default: the one that comes with the package)")
    parser.add_argument("--pairs", type=int, default=12, help="of heroes (default 12)")
    parser.add_argument("--noises", type=int, default=8, help="of each prompt (default 8)")
    parser.add_argument("--frames", type=int, help="of a clip, 4k + 1; what the model was made for if not given")
    parser.add_argument("--seed", type=int, default=0, help="of the first pair")
    parser.add_argument("--json", type=Path, help="where the figures go")
    args = parser.parse_args(argv)
    if args.pairs < 2 or args.noises < 1:
        parser.error("--pairs must be at least 2, --noises at least 1")
    try:
        report = measure(args)
    except StoryMemError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    if args.json is not None:
        args.json.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
