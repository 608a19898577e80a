"""At which noise level a model of Storyland loses its heroes.

    python benchmarks/storyland_levels.py [--model FOLDER] [--clips N] [--memory N] [--json FILE]

Clips that training never saw are encoded, noised to a level t, and denoised from there with true keyframes of the same
heroes in memory; the attribute reader says how many of the looks are still right. At level 0 only the VAE is at work,
at level 1 everything is the model's own. Where the share falls, heroes are decided: there training should be spent.
Beside it stands the flow error at that level with that memory and without, over all of the picture.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch

from storymem.cli.options import given, parse_size
from storymem.conditioning.codec import LatentCodec
from storymem.conditioning.condition import ShotCondition, build_condition
from storymem.errors import StoryMemError
from storymem.film.resolve import ModelRequest, resolve_model
from storymem.models.checkpoints import load_components
from storymem.pipeline import boundary_of
from storymem.sampling import shift_level, unshift_level
from storymem.settings import SamplingConfig
from storymem.training.denoise import Geometry
from storymem.training.networks import Denoiser
from storymem.training.noise import draw_noise
from storymem.training.objective import (
    NUM_TRAIN_TIMESTEPS,
    add_noise,
    sequence_of,
    transformer_input,
    velocity_target,
    video_loss,
)
from storymem.training.text import Text, tokenize
from storymem.worlds.storyland import ground_truth, render, sample_group
from storymem.worlds.storyland.reader import Reader, load_reader
from storymem.worlds.storyland.scoring import Mark, figure


@dataclass(frozen=True)
class Batch:
    """Clips that training never saw: latents ``[B, z, F_lat, h, w]``, memory ``[B, z, M, h, w]``, and the truth."""

    latents: torch.Tensor
    memory: torch.Tensor
    blank: torch.Tensor
    captions: tuple[str, ...]
    truths: tuple[dict[str, Any], ...]


def draw(codec: LatentCodec, count: int, memory: int, sampling: SamplingConfig, seed: int) -> Batch:
    """One clip of each of `count` groups; the middle frames of the others are its memory."""
    width, height, frames = sampling.width, sampling.height, sampling.num_frames
    latents, memories, captions, truths = [], [], [], []
    for number in range(seed, seed + count):
        group = sample_group(number, "test", clips=memory + 1)
        pixels = render([clip.spec for clip in group.clips], frames, height, width, fps=sampling.fps)
        target = number % (memory + 1)
        others = [i for i in range(memory + 1) if i != target]
        latents.append(codec.encode(pixels[target : target + 1]))
        memories.append(codec.encode(pixels[others, :, frames // 2, None])[:, :, 0].transpose(0, 1)[None])
        captions.append(group.clips[target].caption)
        truths.append(ground_truth(group.clips[target].spec, frames, height, width, fps=sampling.fps))
    blank = codec.encode_known(None, frames, height, width, blank=sampling.blank)
    blank = blank.expand(count, -1, -1, -1, -1)
    return Batch(torch.cat(latents), torch.cat(memories), blank, tuple(captions), tuple(truths))


class Model:
    """What is measured: velocities of a batch with and without memory."""

    def __init__(self, folder: Path, sampling: SamplingConfig, guidance: float) -> None:
        parts: Any = load_components(folder, dtype=torch.float32)
        self.codec = LatentCodec(parts.vae)
        self.denoiser = Denoiser(parts.transformer, parts.text_encoder).eval()
        self.low = None if parts.transformer_2 is None else Denoiser(parts.transformer_2, parts.text_encoder).eval()
        self.boundary = boundary_of(sampling, parts.boundary_ratio)
        self.tokenizer = parts.tokenizer
        self.sampling = sampling
        self.guidance = guidance

    def condition(self, blank: torch.Tensor, memory: torch.Tensor | None) -> ShotCondition:
        """Of shots of which nothing is given but memory; `blank` stands for their frames, ``[B, z, F_lat, h, w]``."""
        sampling = self.sampling
        number = 0 if memory is None else memory.shape[2]
        factors = self.codec.temporal_factor, self.codec.spatial_factor
        geometry = Geometry(sampling.num_frames, sampling.height, sampling.width, *factors)
        return build_condition(geometry.layout(number, 0), memory, blank, stride=sampling.memory_stride)

    @torch.no_grad()
    def velocity(self, states: torch.Tensor, t: float, condition: ShotCondition, texts: Sequence[str]) -> torch.Tensor:
        """``[B, z, M + F_lat, h, w]``."""
        channels = int(self.denoiser.transformer.config.in_channels)
        given = transformer_input(states, [condition], channels, torch.float32)
        text = Text(*tokenize(self.tokenizer, texts))
        level = torch.full((len(texts),), t * NUM_TRAIN_TIMESTEPS)
        denoiser = self.denoiser if self.low is None or t >= self.boundary else self.low
        velocity: torch.Tensor = denoiser(given, level, text, condition.positions)[0]
        return velocity

    def denoise(self, batch: Batch, noise: torch.Tensor, level: float, steps: int) -> torch.Tensor:
        """The batch noised to a level and taken back by Euler steps on the shifted levels below it: latents."""
        number = batch.memory.shape[2]
        clean, condition = sequence_of(batch.memory, batch.latents), self.condition(batch.blank, batch.memory)
        at = torch.full((len(clean),), level)
        states = add_noise(clean, noise, at)
        shift = self.sampling.shift
        first = unshift_level(level, shift)
        levels = shift_level(torch.linspace(first, 0, max(2, round(steps * first)) + 1), shift).tolist()
        for t, after in pairwise(levels):
            states[:, :, :number] = add_noise(clean, noise, torch.full((len(clean),), t))[:, :, :number]
            velocity = self.velocity(states, t, condition, batch.captions)
            if self.guidance > 1:
                plain = self.velocity(states, t, condition, [""] * len(clean))
                velocity = plain + self.guidance * (velocity - plain)
            states = states + (after - t) * velocity
        return states[:, :, number:]

    def error(self, batch: Batch, noise: torch.Tensor, level: float, memory: torch.Tensor | None) -> float:
        """Mean flow error at a level."""
        clean = sequence_of(memory, batch.latents)
        noise = noise[:, :, noise.shape[2] - clean.shape[2] :]
        states = add_noise(clean, noise, torch.full((len(clean),), level))
        velocity = self.velocity(states, level, self.condition(batch.blank, memory), batch.captions)
        number = 0 if memory is None else memory.shape[2]
        return float(video_loss(velocity, velocity_target(clean, noise), number).mean())


def looks(reader: Reader, video: torch.Tensor, truths: Sequence[dict[str, Any]]) -> list[list[Mark]]:
    """Per clip which looks that can be seen are read right; heroes from left to right, wrong if one is missing."""
    marks: list[list[Mark]] = []
    for frames, truth in zip(video, truths, strict=True):
        marks.append([])
        found = reader.read(frames.transpose(0, 1).numpy()).heroes
        for index, hero in enumerate(truth["heroes"]):
            for name in hero["visible"]:
                value = hero["attributes"][name]
                if value is None and name.endswith("_colour"):
                    continue
                right = len(found) == len(truth["heroes"]) and found[index].attributes[name] == value
                marks[-1].append(Mark("looks", name, right, 0.0))
    return marks


def measure(args: argparse.Namespace) -> dict[str, Any]:
    """Everything that is reported."""
    resolved = resolve_model(ModelRequest(args.model) if args.model else ModelRequest())
    width, height = parse_size(args.size)
    sampling = SamplingConfig(**{**resolved.sampling, **given(width=width, height=height, num_frames=args.frames)})
    folder = resolved.model.folder
    assert folder is not None
    model = Model(folder, sampling, args.guidance)
    batch = draw(model.codec, args.clips, args.memory, sampling, args.seed)
    reader = load_reader()
    slots = args.memory + batch.latents.shape[2]
    noise = draw_noise(range(args.clips), (batch.latents.shape[1], slots, *batch.latents.shape[3:]), "cpu")
    report: dict[str, Any] = {"clips": args.clips, "memory": args.memory, "guidance": args.guidance, "levels": {}}
    for level in (0.0, *args.levels):
        latents = model.denoise(batch, noise, level, args.steps) if level else batch.latents
        found = figure(looks(reader, model.codec.decode(latents), batch.truths))
        assert found is not None
        row: dict[str, Any] = {"right": found["share"], "interval": (found["low"], found["high"])}
        row["by"] = {name: one["share"] for name, one in sorted(found["by"].items())}
        if level:
            row["error"] = model.error(batch, noise, level, batch.memory)
            row["error without memory"] = model.error(batch, noise, level, None)
        report["levels"][f"{level:g}"] = row
        print(line(level, row), flush=True)
    return report


def line(level: float, row: dict[str, Any]) -> str:
    """One row, for people."""
    low, high = row["interval"]
    text = f"t = {level:<5g} looks right {row['right']:6.1%} ({low:.0%} to {high:.0%})"
    if "error" in row:
        text += f"   flow error {row['error']:.3f}, without memory {row['error without memory']:.3f}"
    return text + "   " + ", ".join(f"{name} {share:.0%}" for name, share in row["by"].items())


def main(argv: Sequence[str] | None = None) -> int:
    """See the module's text."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", help="a diffusers folder (default: the one that comes with the package)")
    parser.add_argument("--clips", type=int, default=48, help="one of each group (default 48)")
    parser.add_argument("--memory", type=int, default=4, help="keyframes given (default 4)")
    parser.add_argument("--levels", type=float, nargs="+", default=[0.25, 0.5, 0.65, 0.8, 0.9, 1.0])
    parser.add_argument("--steps", type=int, default=12, help="Euler steps from level 1; less from lower ones")
    parser.add_argument("--guidance", type=float, default=1.0, help="classifier-free, of the prompt (default: none)")
    parser.add_argument("--seed", type=int, default=0, help="of the first group")
    parser.add_argument("--size", help="WIDTHxHEIGHT; what the model was made for if not given")
    parser.add_argument("--frames", type=int, help="of a clip, 4k + 1; likewise")
    parser.add_argument("--json", type=Path, help="where the figures go")
    args = parser.parse_args(argv)
    if args.clips < 1 or args.memory < 1 or args.steps < 1:
        parser.error("--clips, --memory and --steps must be at least 1")
    if not all(0 < level <= 1 for level in args.levels):
        parser.error("--levels lie above 0, up to 1")
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
