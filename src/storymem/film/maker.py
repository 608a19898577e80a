"""The seam between a film and the model that makes its shots.

`film/` knows nothing of pipelines, devices or weights: it hands a `ShotRequest`, a plain value, to a `ShotMaker`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal, Protocol

import numpy as np
import numpy.typing as npt

from storymem.settings import SamplingConfig

__all__ = ["MOTION_FRAMES", "Mode", "OnStep", "ShotMaker", "ShotRequest", "no_known_frames"]

FloatArray = npt.NDArray[np.float32]

Mode = Literal["t2v", "m2v", "mi2v", "mm2v"]
"""What a shot is conditioned on: nothing; memory; memory and a first frame; memory and motion frames."""

MOTION_FRAMES = 5
"""Known frames of MM2V: the previous shot's last ones."""

OnStep = Callable[[int, int], None]
"""Called after every denoising step with (steps done, steps in all), and with 0 done when everything is loaded."""


def no_known_frames() -> FloatArray:
    """The known frames of a shot that begins with a cut: ``[0, 3, 0, 0]``."""
    return np.zeros((0, 3, 0, 0), dtype=np.float32)


@dataclass(frozen=True, eq=False)
class ShotRequest:
    """Everything that decides what one shot looks like, apart from the model itself.

    Attributes:
        prompt: what the text encoder gets, the cast woven in.
        negative_prompt: what guidance steers away from; may be empty.
        seed: 0 to 2**64 - 1.
        sampling: size, number of frames of this shot, steps and so on.
        memory: keyframes, each ``[3, h, w]`` float32 in [-1, 1], oldest first; their sizes may differ.
        known_frames: ``[K, 3, H, W]`` float32 in [-1, 1], the frames that the shot begins with: K is 0 (a cut),
            1 (the previous shot's last frame) or 5 (its last five).

    Raises:
        ValueError: the shapes do not belong together.
    """

    prompt: str
    negative_prompt: str
    seed: int
    sampling: SamplingConfig
    memory: tuple[FloatArray, ...] = ()
    known_frames: FloatArray = field(default_factory=no_known_frames)

    def __post_init__(self) -> None:
        known = self.known_frames
        if known.ndim != 4 or known.shape[1] != 3 or len(known) not in (0, 1, MOTION_FRAMES):
            raise ValueError(f"known frames are [K, 3, H, W] with K 0, 1 or 5, not {list(known.shape)}")
        if len(known) and known.shape[2:] != (self.sampling.height, self.sampling.width):
            raise ValueError(f"known frames of {list(known.shape[2:])} do not fit the size of the shot")
        if any(frame.ndim != 3 or frame.shape[0] != 3 for frame in self.memory):
            raise ValueError("every keyframe of the memory is [3, h, w]")

    @property
    def mode(self) -> Mode:
        """Known frames decide between MI2V and MM2V; without them memory decides between M2V and T2V."""
        if len(self.known_frames):
            return "mi2v" if len(self.known_frames) == 1 else "mm2v"
        return "m2v" if self.memory else "t2v"


class ShotMaker(Protocol):
    """Makes one shot at a time. The model's pipeline is one; anything that draws frames from a request can be one.

    The same request must give the same frames, bit for bit, on the same machine: that is what resuming rests on.
    Weights should be loaded at the first `make`: a film that is already made never needs them.
    """

    @property
    def identity(self) -> str:
        """SHA-256 (hexadecimal) of what the model is: weights, LoRA files and their strengths. Part of a take's key."""
        ...

    @property
    def description(self) -> Mapping[str, object]:
        """The same for people and files: names, versions, device. JSON values only."""
        ...

    def make(self, request: ShotRequest, on_step: OnStep) -> FloatArray:
        """The shot's frames, ``[num_frames, 3, height, width]``, float32 in [-1, 1]."""
        ...
