"""What turns a shot into one vector, by name; every number that is reported says which encoder it comes from."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import Protocol

import numpy as np

from storymem.errors import ModelError, SettingsError
from storymem.media import FloatArray
from storymem.memory.builtin import BuiltinEncoder

__all__ = [
    "SAMPLING",
    "SHOT_FRAMES",
    "VIDEO_ENCODERS",
    "BuiltinVideoEncoder",
    "FrameJudge",
    "VideoEncoder",
    "load_judge",
    "load_video_encoder",
    "sample_middle",
]

VIDEO_ENCODERS = ("builtin", "viclip-l14")
SHOT_FRAMES = 8
SAMPLING = "middle-of-8-segments-1"
"""Identity of `sample_middle`."""


def sample_middle(num_frames: int, count: int = SHOT_FRAMES) -> tuple[int, ...]:
    """Frames that stand for a video: the middle of each of `count` equal segments, as VBench samples.

    A video of fewer frames gives all it has, the last one as often as is needed.
    """
    if num_frames < 1:
        raise ValueError("a video has at least one frame")
    segments = min(count, num_frames)
    edges = np.linspace(0, num_frames, segments + 1).astype(int)
    middles = [int(first + end - 1) // 2 for first, end in pairwise(edges)]
    return tuple(middles + [middles[-1]] * (count - segments))


class VideoEncoder(Protocol):
    """Turns a shot into a vector whose cosine says how much two shots show the same."""

    @property
    def name(self) -> str:
        """What it is called on the command line."""

    @property
    def identity(self) -> str:
        """Changes whenever its results do; part of every result and of the cache's keys."""

    @property
    def knows_text(self) -> bool:
        """Whether `encode_texts` gives vectors that can be compared with those of shots."""

    def encode(self, frames: FloatArray) -> FloatArray:
        """One vector ``[D]`` of unit norm for the frames ``[8, 3, H, W]`` in [-1, 1] of a shot, in order of time."""

    def encode_texts(self, texts: Sequence[str]) -> FloatArray:
        """Vectors ``[N, D]`` of unit norm; only if `knows_text`."""


class FrameJudge(Protocol):
    """Says how beautiful frames are."""

    @property
    def name(self) -> str:
        """What it is called on the command line."""

    @property
    def identity(self) -> str:
        """Changes whenever its results do."""

    def judge(self, frames: FloatArray) -> FloatArray:
        """Scores ``[F]`` from about 0 to 1 of frames ``[F, 3, H, W]`` in [-1, 1]."""


class BuiltinVideoEncoder:
    """The mean of the built-in frame embeddings (colours, layout, edges; nothing learned), brought to unit norm.

    It knows no words and no order of time, and recognises nobody: it sees whether two shots have the same colours in
    the same places. Its numbers are for comparing systems with one another, never with numbers of papers.
    """

    name = "builtin"
    knows_text = False

    def __init__(self) -> None:
        self._frames = BuiltinEncoder()

    @property
    def identity(self) -> str:
        """See `VideoEncoder.identity`."""
        return f"builtin-video-1({self._frames.identity}, mean of {SHOT_FRAMES})"

    def encode(self, frames: FloatArray) -> FloatArray:
        """See `VideoEncoder.encode`."""
        mean = self._frames.encode(frames).mean(axis=0)
        return np.asarray(mean / np.linalg.norm(mean), dtype=np.float32)

    def encode_texts(self, texts: Sequence[str]) -> FloatArray:
        """See `VideoEncoder.encode_texts`; there are none."""
        raise SettingsError("the video encoder 'builtin' knows no words: use viclip-l14 to measure prompt following.")


def load_video_encoder(
    name: str, *, device: str = "cpu", dtype: str | None = None, path: Path | None = None
) -> VideoEncoder:
    """The video encoder of that name.

    Args:
        name: one of `VIDEO_ENCODERS`.
        device: in torch's words.
        dtype: ``float32`` (default), ``bfloat16``, ``float16``.
        path: a folder to read it from in place of the hub.

    Raises:
        ModelError: there is no such encoder, or its weights cannot be had.
        SettingsError: the built-in encoder was given a path.
    """
    if name == "builtin":
        if path is not None:
            raise SettingsError(f"the video encoder 'builtin' has no weights to be read from {path}: leave it out.")
        return BuiltinVideoEncoder()
    if name == "viclip-l14":
        from storymem.bench.viclip import ViClipEncoder

        return ViClipEncoder.load(path, device=device, dtype=dtype)
    raise ModelError(f"video encoder {name!r} is unknown: use one of {', '.join(VIDEO_ENCODERS)}.")


def load_judge(
    name: str, *, device: str = "cpu", dtype: str | None = None, clip: Path | None = None, head: Path | None = None
) -> FrameJudge | None:
    """The judge of beauty of that name: ``none``, or ``laion`` (CLIP ViT-L/14 with LAION's linear head).

    Args:
        name: see above.
        device: in torch's words.
        dtype: of CLIP.
        clip: a folder with CLIP in place of the hub.
        head: the file of the head; None: the hub.

    Raises:
        ModelError: there is no such judge, or its weights cannot be had.
    """
    if name == "none":
        return None
    if name == "laion":
        from storymem.bench.aesthetic import LaionJudge

        return LaionJudge.load(clip, head, device=device, dtype=dtype)
    raise ModelError(f"aesthetic judge {name!r} is unknown: use one of none, laion.")
