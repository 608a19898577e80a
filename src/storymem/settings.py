"""What can be set, as frozen values that check themselves. Nothing heavy is imported here."""

from __future__ import annotations

from dataclasses import dataclass
from math import inf, isfinite
from typing import Literal, get_args

from storymem.errors import SettingsError

__all__ = [
    "MAX_FPS",
    "MAX_SEED",
    "MAX_SIZE",
    "MAX_STEPS",
    "MAX_TEXT_TOKENS",
    "MemoryConfig",
    "Recall",
    "SamplingConfig",
    "Solver",
    "check_seed",
]

MAX_SEED = 2**63 - 1
"""The largest seed: what torch's generators take, and what a file of any format holds."""

MAX_SIZE = 8192
"""The widest and the highest picture, in pixels."""

MAX_FPS = 240
"""The most frames per second."""

MAX_STEPS = 1000
"""The most denoising steps, since models are trained on so many levels of noise; and what else is counted in steps."""

MAX_TEXT_TOKENS = 512
"""The most tokens of a prompt that a model is given, as Wan has it, the end mark included."""

Solver = Literal["unipc", "dpm++", "euler"]

Recall = Literal["all", "cast", "cast+scene"]
"""What a shot sees of the memory; see `MemoryConfig`."""

Blank = Literal["zeros", "gradient"]
"""What a model is shown in place of frames that are not known; see `SamplingConfig`."""


def _check_choice(name: str, value: object, known: tuple[str, ...]) -> None:
    if value not in known:
        raise SettingsError(f"{name} is {value!r}; it must be one of {', '.join(known)}.")


@dataclass(frozen=True, slots=True)
class SamplingConfig:
    """How one shot is sampled.

    The defaults are the method's for Wan2.2-I2V-A14B with the memory LoRA (arXiv 2512.19539 and its public code).

    Attributes:
        width: pixels, a multiple of 16, at most `MAX_SIZE`.
        height: the same.
        num_frames: pixel frames, 4k + 1.
        fps: frames per second of the result, at most `MAX_FPS`.
        num_inference_steps: denoising steps.
        solver: ``unipc`` (order 2, bh2), ``dpm++`` (2M), both flow prediction, or ``euler``.
        shift: flow shift; sigmas = shift * s / (1 + (shift - 1) * s).
        boundary_ratio: timesteps from ``boundary_ratio * 1000`` up go to `transformer`, the rest to `transformer_2`;
            None means the model's own (0.9 for Wan2.2-I2V-A14B). A model with one expert has no boundary.
        guidance_scale: classifier-free guidance of the high-noise expert; 1.0 switches guidance off.
        guidance_scale_2: the same for the low-noise expert; None means `guidance_scale`.
        memory_guidance_scale: how far the shot is led away from what would be made of the prompt without the memory
            (a third branch, as arXiv 2211.09800 has it for images); 1.0, the method's, switches it off.
        guidance_every: both kinds of guidance ask the model at every so many steps and go on with what they found at
            the steps between, which is faster; 1, the method's, asks at every step.
        memory_stride: S of the negative RoPE shift: memory slot i of M sits at temporal position -(M - i) * S.
        blank: what stands for frames that are not known, before they are encoded: ``zeros``, the method's, which are a
            grey picture; or ``gradient``, redder to the right and greener to the bottom, for a model that was trained
            so: it tells each of its tokens where in the picture it is.
        batch_cfg: run both guidance branches as one batch of two (faster on a GPU with room) or one after the other.
    """

    width: int = 832
    height: int = 480
    num_frames: int = 81
    fps: int = 16
    num_inference_steps: int = 40
    solver: Solver = "unipc"
    shift: float = 4.0
    boundary_ratio: float | None = None
    guidance_scale: float = 3.5
    guidance_scale_2: float | None = None
    memory_guidance_scale: float = 1.0
    guidance_every: int = 1
    memory_stride: int = 5
    blank: Blank = "zeros"
    batch_cfg: bool = False

    def __post_init__(self) -> None:
        for name in ("width", "height"):
            value = getattr(self, name)
            if value < 16 or value % 16:
                lower = max(16, value // 16 * 16)
                raise SettingsError(f"{name} is {value}; it must be a multiple of 16, such as {lower} or {lower + 16}.")
            if value > MAX_SIZE:
                raise SettingsError(f"{name} is {value}; it must be at most {MAX_SIZE}.")
        if self.num_frames < 1 or (self.num_frames - 1) % 4:
            lower = max(1, (self.num_frames - 1) // 4 * 4 + 1)
            raise SettingsError(f"num_frames is {self.num_frames}; it must be 4k + 1, such as {lower} or {lower + 4}.")
        for name in ("num_inference_steps", "memory_stride", "guidance_every"):
            if not 1 <= getattr(self, name) <= MAX_STEPS:
                raise SettingsError(f"{name} is {getattr(self, name)}; it must be between 1 and {MAX_STEPS}.")
        if not 1 <= self.fps <= MAX_FPS:
            raise SettingsError(f"fps is {self.fps}; it must be between 1 and {MAX_FPS}.")
        if not 0 < self.shift < inf:
            raise SettingsError(f"shift is {self.shift}; it must be a number above 0.")
        if self.boundary_ratio is not None and not 0 <= self.boundary_ratio <= 1:
            raise SettingsError(f"boundary_ratio is {self.boundary_ratio}; it must be between 0 and 1.")
        for name in ("guidance_scale", "guidance_scale_2", "memory_guidance_scale"):
            scale = getattr(self, name)
            if scale is not None and not 1 <= scale < inf:
                raise SettingsError(f"{name} is {scale}; it must be a number of at least 1 (1 switches guidance off).")
        _check_choice("blank", self.blank, get_args(Blank))
        _check_choice("solver", self.solver, get_args(Solver))


@dataclass(frozen=True, slots=True)
class MemoryConfig:
    """How keyframes are chosen and kept.

    The defaults are the method's (its public code).

    Attributes:
        capacity: keyframes in the bank at most; 0 switches memory off. The method trained with 1 to 10.
        sink: the first keyframes of the film, which stay for ever.
        max_keyframes_per_shot: the adaptive threshold falls until at most this many frames of a shot are chosen.
        similarity_threshold: tau: a frame less similar than this to the last keyframe becomes one; also the bound above
            which a keyframe is a repetition of one in the bank.
        threshold_step: by how much tau falls at a time.
        quality_threshold: a frame scored below this is no keyframe; None means the scorer's own default.
        encoder: name of the frame encoder.
        scorer: name of the quality scorer; ``none`` accepts every frame.
        recall: what a shot sees of the bank: ``all`` of it, as the method has it; with ``cast``, the pictures of those
            of the cast that its prompt names; with ``cast+scene`` also the latest keyframe of its scene. See
            `storymem.memory.recall`.
    """

    capacity: int = 10
    sink: int = 3
    max_keyframes_per_shot: int = 3
    similarity_threshold: float = 0.9
    threshold_step: float = 0.01
    quality_threshold: float | None = None
    encoder: str = "builtin"
    scorer: str = "builtin"
    recall: Recall = "all"

    def __post_init__(self) -> None:
        if self.capacity < 0:
            raise SettingsError(f"memory capacity is {self.capacity}; it must be 0 (no memory) or more.")
        _check_choice("memory recall", self.recall, get_args(Recall))
        if not 0 <= self.sink <= max(self.capacity, 0):
            raise SettingsError(f"memory sink is {self.sink}; it must be between 0 and the capacity ({self.capacity}).")
        if self.max_keyframes_per_shot < 1:
            raise SettingsError(f"max_keyframes_per_shot is {self.max_keyframes_per_shot}; it must be at least 1.")
        if not -1 <= self.similarity_threshold <= 1:
            raise SettingsError(f"similarity_threshold is {self.similarity_threshold}; it must be between -1 and 1.")
        if not 0 < self.threshold_step < inf:
            raise SettingsError(f"threshold_step is {self.threshold_step}; it must be a number above 0.")
        if self.quality_threshold is not None and not isfinite(self.quality_threshold):
            raise SettingsError(f"quality_threshold is {self.quality_threshold}; it must be a number.")


def check_seed(seed: int) -> int:
    """The seed, if it is one.

    Raises:
        SettingsError: it is not between 0 and `MAX_SEED`.
    """
    if not 0 <= seed <= MAX_SEED:
        raise SettingsError(f"seed is {seed}; it must be between 0 and {MAX_SEED}.")
    return seed
