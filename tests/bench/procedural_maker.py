"""Makers that need no weights, in a module of their own so that other processes can import them."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from storymem.film.film_settings import FilmSettings
from storymem.film.maker import FloatArray, ShotRequest
from storymem.film.tools import Tools
from storymem.memory.encoders import load_encoder, load_scorer
from storymem.settings import MemoryConfig, SamplingConfig
from storymem.story import Story


class RememberingMaker:
    """Draws a block on a ground: colours from memory or the known frame if there are any, else by lot."""

    identity = hashlib.sha256(b"remembering").hexdigest()
    description: Mapping[str, object] = {"name": "remembering"}

    def __init__(self) -> None:
        self.made = 0

    def make(self, request: ShotRequest, on_step: Callable[[int, int], None]) -> FloatArray:
        self.made += 1
        sampling, rng = request.sampling, np.random.default_rng(request.seed)
        colours = rng.uniform(-1, 1, (2, 3)).astype(np.float32)
        seen = [*request.memory, *request.known_frames]
        if seen:
            colours = np.stack([seen[0][:, 0, 0], seen[0][:, sampling.height // 2, sampling.width // 2]])
        frames = np.empty((sampling.num_frames, 3, sampling.height, sampling.width), np.float32)
        frames[:] = colours[0][:, None, None]
        y, x = rng.integers(0, sampling.height // 4), rng.integers(0, sampling.width // 4)
        for index in range(sampling.num_frames):
            frames[index, :, y : y + sampling.height // 2, x + index : x + index + sampling.width // 2] = colours[1][
                :, None, None
            ]
        frames[:, :, sampling.height // 2, sampling.width // 2] = colours[1]
        if len(request.known_frames):
            frames[: len(request.known_frames)] = request.known_frames
        on_step(1, 1)
        return frames


def tools_for(memory: MemoryConfig) -> Tools:
    return Tools(RememberingMaker(), load_encoder(memory.encoder), load_scorer("none"))


@dataclass(frozen=True)
class SmallSettings:
    """32x32, nine frames, one step."""

    def __call__(self, story: Story) -> FilmSettings:
        sampling = SamplingConfig(width=48, height=32, num_frames=9, num_inference_steps=1)
        return FilmSettings(sampling=sampling, memory=MemoryConfig(), seed=3)
