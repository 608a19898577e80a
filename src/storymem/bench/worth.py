"""What a frame is worth as a picture, from 0 to 1; measured the same way for every system, with nothing to download."""

from __future__ import annotations

import numpy as np

from storymem.media import FloatArray
from storymem.memory.builtin import BuiltinScorer

__all__ = ["WORTH", "frame_worth", "noise_level"]

WORTH = "builtin-worth-1"
"""Identity of the measure; it changes whenever its results do."""

_SCORER = BuiltinScorer()
_HALVED_BY = 0.25  # a noise of this deviation, in [0, 1], halves the worth


def frame_worth(frames: FloatArray) -> FloatArray:
    """Worth ``[F]`` of frames ``[F, 3, H, W]`` in [-1, 1].

    The score of `BuiltinScorer` over ten (contrast, structure, sharpness: it falls with blur, flatness and strong
    noise) times 1 / (1 + noise / 0.25), which falls with any noise at all. It says nothing of beauty.
    """
    noise = np.array([noise_level(frame) for frame in frames], dtype=np.float32)
    return np.asarray(_SCORER.score(frames) / 10 / (1 + noise / _HALVED_BY), dtype=np.float32)


def noise_level(frame: FloatArray) -> float:
    """Estimated standard deviation of pixel noise in a frame ``[3, H, W]`` in [-1, 1], on the scale of [0, 1].

    The difference of two Laplacians of Immerkaer, "Fast Noise Variance Estimation" (CVIU 1996), which is blind to
    ramps and edges along its axes; with the median in place of the mean, so that drawings have none.
    """
    if min(frame.shape[1:]) < 3:
        return 0.0
    x = np.asarray(frame, np.float32) * np.float32(0.5)
    rows = x[:, :-2] - 2 * x[:, 1:-1] + x[:, 2:]
    both = rows[:, :, :-2] - 2 * rows[:, :, 1:-1] + rows[:, :, 2:]
    return float(np.median(np.abs(both))) / (0.6745 * 6)  # the mask [1 -2 1]' x [1 -2 1] has norm 6
