"""A world of coloured squares, small enough to train on in a test, and configurations for it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.nn import functional

from storymem.errors import SettingsError
from storymem.media import write_video
from storymem.models.checkpoints import load_components
from storymem.training.clips import Caption, Clip, register_source
from storymem.training.config import Stage, parse_config
from storymem.training.footage import FootageClip, write_clips
from storymem.training.judging import Judgement, register_judge
from storymem.training.network_sections import TransformerSection, VaeSection
from storymem.training.networks import build_transformer
from storymem.training.subjects import Subjects

CHECKPOINT = Path(__file__).parents[1] / "data" / "reference_cases" / "checkpoint"
COLOURS = {"red": (1, -1, -1), "green": (-1, 1, -1), "blue": (-1, -1, 1), "white": (1, 1, 1), "yellow": (1, 1, -1)}
PLACES = {"night": -0.8, "day": 0.4, "fog": 0.0}


class Squares:
    """A group has a square of one colour on different grounds; half of the captions hide the colour.

    With `pairs` captions speak of two colours, whatever is drawn, and know which words speak of which.
    """

    def __init__(self, width: int, height: int, num_frames: int, options: Mapping[str, Any]) -> None:
        unknown = set(options) - {"groups", "clips", "subjects", "pairs"}
        if unknown:
            raise SettingsError(f"data.options: squares do not know {', '.join(sorted(unknown))}.")
        self.width, self.height, self.num_frames = width, height, num_frames
        self.groups = int(options.get("groups", 1000))
        self.clips = int(options.get("clips", 3))
        self.knows = bool(options.get("subjects", False))
        self.pairs = bool(options.get("pairs", False))
        self.drawn: list[int] = []

    @property
    def identity(self) -> str:
        return f"squares-{self.groups}-{self.clips}"

    @property
    def classes(self) -> Sequence[int]:
        return (len(COLOURS),) if self.knows else ()

    def __len__(self) -> int:
        return self.groups

    def size(self, index: int) -> int:
        return self.clips

    def group(self, index: int) -> Sequence[Clip]:
        self.drawn.append(index)
        rng = np.random.default_rng([7, index])
        colour = str(rng.choice(list(COLOURS)))
        out = []
        for _ in range(self.clips):
            place = str(rng.choice(list(PLACES)))
            frames = torch.full((3, self.num_frames, self.height, self.width), PLACES[place])
            side = self.height // 3
            y, x = rng.integers(self.height - side), rng.integers(self.width - side)
            speed = int(rng.integers(-1, 2))
            for i in range(self.num_frames):
                left = int(np.clip(x + speed * i, 0, self.width - side))
                frames[:, i, y : y + side, left : left + side] = torch.tensor(COLOURS[colour]).float().view(3, 1, 1)
            captions: tuple[str, ...] = (f"A {colour} square at {place}.", f"The square at {place}.")
            if self.pairs:
                captions = (_pair(colour, str(rng.choice(list(COLOURS))), place),)
            mask = (frames != PLACES[place]).any(dim=0).float()
            label = torch.tensor([[list(COLOURS).index(colour)]])
            out.append(Clip(frames, captions, Subjects(mask[None], label) if self.knows else None))
        return out

    def subjects(self, index: int, clip: int) -> Sequence[Sequence[int]]:
        return [[other for other in range(self.clips) if other != clip]]

    def setting(self, index: int, clip: int) -> Sequence[int]:
        return (index, clip)

    def captions(self, count: int) -> Sequence[str]:
        if self.pairs:
            return [_pair(one, other, place) for one in COLOURS for other in COLOURS for place in PLACES][:count]
        every = [f"A {colour} square at {place}." for colour in COLOURS for place in PLACES]
        return [*every, *(f"The square at {place}." for place in PLACES)][:count]


def _pair(one: str, other: str, place: str) -> Caption:
    first, second = f"A {one} square", f"a {other} square"
    start = len(first) + len(" and ")
    return Caption(f"{first} and {second} at {place}.", ((0, len(first)), (start, start + len(second))))


register_source("squares", Squares)


class BrightJudge:
    """Wants pictures with a square in them to be bright, which any model can learn."""

    def __init__(self, options: Mapping[str, Any]) -> None:
        if set(options) - {"sharpness"}:
            raise SettingsError("reward.options: squares know sharpness.")
        self.sharpness = float(options.get("sharpness", 10.0))  # the toy VAE paints in grey

    @property
    def identity(self) -> str:
        return f"bright-{self.sharpness}"

    def to(self, device: torch.device) -> BrightJudge:
        return self

    def __call__(self, frames: torch.Tensor, labels: torch.Tensor, setting: torch.Tensor) -> Judgement:
        bright = self.sharpness * frames.mean(dim=(1, 2, 3, 4))
        asked = labels[:, 0, 0] >= 0
        loss = torch.where(asked, functional.softplus(-bright), 0 * bright)
        return Judgement(loss, torch.where(asked, (bright > 0).float(), torch.nan).detach())


register_judge("squares", BrightJudge)

DATA = """
data: {world: squares, width: 32, height: 32, num_frames: 5, pool: 6, keyframes_per_clip: 2, held_out: 4,
  options: {groups: 40, clips: 3}}
runtime: {device: cpu, threads: 1}
"""

VAE = """
stage: vae
steps: 4
batch_size: 2
log_every: 1
checkpoint_every: 2
vae: {base_dim: 8, z_dim: 4, dim_mult: [1, 1, 1], temporal_downsample: [true, true], patch_size: 2}
optimizer: {learning_rate: 2e-3}
""" + DATA.replace("keyframes_per_clip: 2, ", "")

BASE = (
    """
stage: base
steps: 4
batch_size: 4
log_every: 1
checkpoint_every: 2
transformer: {num_layers: 1, num_attention_heads: 2, attention_head_dim: 12, ffn_dim: 32, freq_dim: 16}
text_encoder: {d_model: 16, num_layers: 1, num_heads: 2, d_kv: 8, d_ff: 16, vocabulary: 300, max_tokens: 24}
optimizer: {learning_rate: 2e-3}
"""
    + DATA
)

MEMORY = (
    """
stage: memory
steps: 4
batch_size: 4
log_every: 1
checkpoint_every: 2
lora: {rank: 4, dropout: 0.0}
conditioning: {max_memory: 4, motion_frames: 0.2}
optimizer: {learning_rate: 2e-3}
"""
    + DATA
)


def write_footage(folder: Path, clips: Iterable[tuple[FootageClip, np.ndarray]]) -> None:
    """Clips as `storymem data prepare` leaves them, each with its frames ``[5, 3, 32, 32]``."""
    (folder / "clips").mkdir(parents=True)
    (folder / "prepare.json").write_text(json.dumps({"width": 32, "height": 32, "num_frames": 5, "fps": 8}))
    every = list(clips)
    for clip, frames in every:
        write_video(folder / "clips" / f"{clip.id}.mp4", iter(frames), 8)
    write_clips(folder, [clip for clip, _ in every])


def on_footage(text: str, folder: Path, output: Path, *overrides: str, data: str) -> Stage:
    """A configuration above, trained on a folder of such clips; `data` is what else is said of them."""
    given = f"data={{folder: '{folder}', width: 32, height: 32, num_frames: 5, {data}}}"
    return stage(text.split("data:", maxsplit=1)[0] + "runtime: {device: cpu, threads: 1}\n", output, given, *overrides)


def stage(text: str, output: Path, *overrides: str) -> Any:
    """A configuration of one of the texts above."""
    config: Stage = parse_config(text, "test.yaml", (f"output={output}", *overrides))
    return config


def vae_of(run: Path) -> Any:
    """The VAE that a run has written."""
    return load_components(None, vae=run / "vae", only=["vae"]).vae


def losses(output: Path, name: str = "loss") -> list[float]:
    """The losses that a run wrote."""
    import json

    lines = [json.loads(line) for line in (output / "log.jsonl").read_text().splitlines()]
    return [line[name] for line in lines if name in line]


LINEAR_VAE = VaeSection(
    base_dim=12, decoder_base_dim=8, z_dim=8, dim_mult=(1, 1, 2), temporal_downsample=(True, True), patch_size=2
)
"""Wide enough to begin as a linear code."""


def pictures(first: int, last: int, frames: int = 1) -> torch.Tensor:
    """All clips ``[N, 3, F, 32, 32]`` of some groups of squares."""
    source = Squares(32, 32, frames, {"groups": 1000})
    return torch.stack([clip.frames for index in range(first, last) for clip in source.group(index)])


def transformer() -> Any:
    """A transformer of two blocks that says something; always the same."""
    torch.manual_seed(0)
    sizes = TransformerSection(num_layers=2, num_attention_heads=2, attention_head_dim=12, ffn_dim=32, freq_dim=16)
    transformer = build_transformer(sizes, 4, 8).eval()
    torch.nn.init.normal_(transformer.proj_out.weight)  # a new one says nothing
    return transformer


def inputs() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """For it: latents of three frames with their condition, timesteps, text."""
    source = torch.Generator().manual_seed(1)
    states = torch.randn(2, 12, 3, 4, 6, generator=source)
    return states, torch.tensor([300.0, 900.0]), torch.randn(2, 5, 8, generator=source)
