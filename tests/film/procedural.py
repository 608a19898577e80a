"""A `ShotMaker` that needs no weights: a disc on a striped ground, drawn from what the request says.

Every part of a request changes the picture, so a film made with it shows whether the director hands on the right thing:
prompt and seed give the colours and the way of the disc, memory tints the ground, known frames are continued.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np

from storymem.film.film_settings import FilmSettings
from storymem.film.maker import FloatArray, ShotRequest
from storymem.film.tools import Tools
from storymem.memory.encoders import load_encoder, load_scorer
from storymem.settings import MemoryConfig, SamplingConfig
from storymem.story import Story, parse_story

THREE_SHOTS = """\
title: The lantern
overview: A girl carries a light through the night.
cast:
  Mara: a girl with a red coat
scenes:
  - shots:
      - prompt: Mara lights a lantern.
      - prompt: Mara walks into the forest.
        cut: false
      - prompt: The lantern goes out.
"""


class ProceduralMaker:
    """Draws shots. `identity` and `description` can be given to play another model."""

    def __init__(self, name: str = "procedural") -> None:
        self.name = name
        self.requests: list[ShotRequest] = []

    @property
    def identity(self) -> str:
        return hashlib.sha256(self.name.encode()).hexdigest()

    @property
    def description(self) -> Mapping[str, object]:
        return {"name": self.name}

    def make(self, request: ShotRequest, on_step: Callable[[int, int], None]) -> FloatArray:
        self.requests.append(request)
        digest = hashlib.sha256(f"{self.name}\n{request.prompt}\n{request.negative_prompt}\n{request.seed}".encode())
        for frame in request.memory:
            digest.update(np.ascontiguousarray(frame).data)
        digest.update(np.ascontiguousarray(request.known_frames).data)
        rng = np.random.default_rng(list(digest.digest()))
        sampling = request.sampling
        y, x = np.mgrid[0 : sampling.height, 0 : sampling.width].astype(np.float32)
        ground = rng.uniform(-1, 1, (2, 3)).astype(np.float32)
        stripes = ((x * rng.uniform(-1, 1) + y * rng.uniform(-1, 1)) // 6 % 2).astype(np.int64)
        disc = rng.uniform(-1, 1, 3).astype(np.float32)
        start, way = rng.uniform(0.2, 0.8, 2), rng.uniform(-0.6, 0.6, 2)
        frames = np.empty((sampling.num_frames, 3, sampling.height, sampling.width), dtype=np.float32)
        for index in range(sampling.num_frames):
            time = index / max(1, sampling.num_frames - 1)
            centre = (start + time * way) * (sampling.height, sampling.width)
            inside = (y - centre[0]) ** 2 + (x - centre[1]) ** 2 < (sampling.height / 4) ** 2
            frames[index] = np.where(inside, disc[:, None, None], np.moveaxis(ground[stripes], -1, 0))
        # Noise as the sampler's: it makes the floats use all their bits, which eight-bit files would lose.
        frames = np.clip(frames + rng.normal(0, 0.02, frames.shape).astype(np.float32), -1, 1)
        for step in range(sampling.num_inference_steps):
            on_step(step + 1, sampling.num_inference_steps)
        if len(request.known_frames):
            frames[: len(request.known_frames)] = request.known_frames
        return frames


def tools(name: str = "procedural") -> Tools:
    """The procedural maker with the built-in encoder and scorer."""
    return Tools(ProceduralMaker(name), load_encoder("builtin"), load_scorer("builtin"))


def story(text: str = THREE_SHOTS, base: Path | None = None) -> Story:
    """A story from a text in our YAML form; `base` is where its reference images are."""
    return parse_story(text, "script.yaml", base)


def tiny_settings(**memory: object) -> FilmSettings:
    """32x32, five frames, two steps."""
    sampling = SamplingConfig(width=32, height=32, num_frames=5, num_inference_steps=2)
    return FilmSettings(sampling=sampling, memory=MemoryConfig(**memory), seed=7)  # type: ignore[arg-type]
