"""The small frame encoder and quality scorer that need no download: hand-made, in numpy, nothing learned.

They know colours, layout, edges and distortion, and nothing of what a picture shows: see ``docs/memory.md`` for what
they can and cannot tell apart. Both give the same result for a frame whatever other frames come with it.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from storymem.memory.bank import FloatArray

__all__ = ["BuiltinEncoder", "BuiltinScorer"]

_LUMA = np.array([0.299, 0.587, 0.114], dtype=np.float32)  # ITU-R BT.601
_CHROMA = np.array([[-0.168736, -0.331264, 0.5], [0.5, -0.418688, -0.081312]], dtype=np.float32)


@lru_cache(maxsize=32)
def _area_weights(size: int, cells: int) -> FloatArray:
    """``[cells, size]``: every cell is the mean of the pixels it covers, parts of pixels counted as parts."""
    edges = np.linspace(0, size, cells + 1)
    pixels = np.arange(size)
    covered = np.minimum(pixels + 1, edges[1:, None]) - np.maximum(pixels, edges[:-1, None])
    weights = np.maximum(covered, 0)
    result: FloatArray = np.asarray(weights / weights.sum(axis=1, keepdims=True), dtype=np.float32)
    result.setflags(write=False)
    return result


def _resample(planes: FloatArray, height: int, width: int) -> FloatArray:
    """``[..., H, W]`` to ``[..., height, width]`` by area means."""
    rows, columns = _area_weights(planes.shape[-2], height), _area_weights(planes.shape[-1], width)
    result: FloatArray = rows @ planes @ columns.T
    return result


def _soft_unit(vector: FloatArray, floor: float) -> FloatArray:
    """Towards unit norm, but not what is mere noise: a vector much shorter than `floor` stays short."""
    flat = vector.ravel()
    result: FloatArray = flat / np.float32(np.sqrt(flat @ flat + floor**2))
    return result


class BuiltinEncoder:
    """Colours, layout and edges of a frame as one vector of 552 numbers.

    Three parts, each of unit norm, weighted 3 : 1 : 0.5 in the dot product:

    - a soft colour histogram of 6 x 6 x 6 RGB bins, square-rooted: the dot product is the Bhattacharyya coefficient;
    - the layout: luma (less its mean) and chroma (twice) on a grid of 6 x 8;
    - edge orientations in 8 directions on a grid of 4 x 6, less what all directions share.

    Frames are first averaged to 64 x 36, so film grain and fine texture do not count.
    """

    name = "builtin"
    identity = "builtin-encoder-1"

    _HEIGHT, _WIDTH = 36, 64
    _BINS = 6
    _LAYOUT = (6, 8)
    _EDGES = (4, 6)
    _DIRECTIONS = 8
    _WEIGHTS = (3.0, 1.0, 0.5)
    dimension = _BINS**3 + 3 * _LAYOUT[0] * _LAYOUT[1] + _DIRECTIONS * _EDGES[0] * _EDGES[1]

    def encode(self, frames: FloatArray) -> FloatArray:
        """Embeddings ``[F, 552]`` of frames ``[F, 3, H, W]``; see `FrameEncoder.encode`."""
        result = np.empty((len(frames), self.dimension), dtype=np.float32)
        for index, frame in enumerate(frames):  # frame by frame: a shot is 390 MB, and its thumbnails are all we need
            result[index] = self._embed(frame)
        return result

    def _embed(self, frame: FloatArray) -> FloatArray:
        small = _resample(np.asarray(frame, dtype=np.float32), self._HEIGHT, self._WIDTH)
        rgb = np.clip(small * np.float32(0.5) + np.float32(0.5), 0, 1)
        luma = np.tensordot(_LUMA, rgb, axes=1)
        parts = (self._histogram(rgb), self._layout(rgb, luma), self._edges(luma))
        vector = np.concatenate([part * np.float32(np.sqrt(w)) for part, w in zip(parts, self._WEIGHTS, strict=True)])
        unit: FloatArray = vector / np.linalg.norm(vector)  # the histogram is never zero
        return unit

    def _histogram(self, rgb: FloatArray) -> FloatArray:
        centres = np.linspace(0, 1, self._BINS, dtype=np.float32)[:, None]
        red, green, blue = (np.maximum(0, 1 - np.abs(plane.ravel() - centres) * (self._BINS - 1)) for plane in rgb)
        pairs = (red[:, None] * green[None]).reshape(self._BINS**2, -1)
        counts: FloatArray = pairs @ blue.T / np.float32(self._HEIGHT * self._WIDTH)
        return np.sqrt(counts).ravel()

    def _layout(self, rgb: FloatArray, luma: FloatArray) -> FloatArray:
        chroma = np.tensordot(_CHROMA, rgb, axes=1)
        planes = np.concatenate([(luma - luma.mean())[None], 2 * chroma])
        return _soft_unit(_resample(planes, *self._LAYOUT), floor=0.2)

    def _edges(self, luma: FloatArray) -> FloatArray:
        along_x = np.zeros_like(luma)
        along_y = np.zeros_like(luma)
        along_x[:, 1:-1] = luma[:, 2:] - luma[:, :-2]
        along_y[1:-1] = luma[2:] - luma[:-2]
        strength = np.hypot(along_x, along_y)
        direction = np.mod(np.arctan2(along_y, along_x), np.pi) * np.float32(self._DIRECTIONS / np.pi)
        steps = np.arange(self._DIRECTIONS, dtype=np.float32)[:, None, None]
        distance = np.abs(direction - steps)
        nearness = np.maximum(0, 1 - np.minimum(distance, self._DIRECTIONS - distance))  # round the circle
        cells = np.sqrt(_resample(strength * nearness, *self._EDGES))
        return _soft_unit(cells - cells.mean(axis=0), floor=0.2)


class BuiltinScorer:
    """How free of distortion a frame is, from 0 to 10; it measures distortion, not beauty.

    Ten times the product of three numbers between 0 and 1:

    - contrast: the range of luma between its 5th and 95th percentile, full at 0.2 (black, white and grey have none);
    - structure: how much of the variation is left when 8 x 8 pixels are averaged (noise averages out, pictures do not);
    - sharpness: the steepest steps from one pixel to the next against those over 8 pixels (equal at a hard edge, one
      eighth where everything is blurred wider than that; full at a fifth).

    Frames higher than 480 pixels are averaged down to that height first.
    """

    name = "builtin"
    identity = "builtin-scorer-1"
    default_threshold = 3.0

    _HEIGHT = 480
    _CELL = 8

    def score(self, frames: FloatArray) -> FloatArray:
        """Scores ``[F]`` of frames ``[F, 3, H, W]``; see `AestheticScorer.score`."""
        return np.array([self._score(frame) for frame in frames], dtype=np.float32)

    def _score(self, frame: FloatArray) -> float:
        rgb = np.clip(np.asarray(frame, dtype=np.float32) * np.float32(0.5) + np.float32(0.5), 0, 1)
        luma = np.tensordot(_LUMA, rgb, axes=1)
        height, width = luma.shape
        if height > self._HEIGHT:
            width = max(1, round(width * self._HEIGHT / height))
            height = self._HEIGHT
            luma = _resample(luma, height, width)
        low, high = np.percentile(luma, (5, 95))
        spread = float(luma.std())
        if spread < 1e-4:
            return 0.0
        cells = _resample(luma, max(1, round(height / self._CELL)), max(1, round(width / self._CELL)))
        contrast = (float(high) - float(low)) / 0.2
        structure = (float(cells.std()) / spread - 0.2) / 0.6
        sharpness = (_steepest(luma, 1) / max(_steepest(luma, self._CELL), 1e-6) * self._CELL - 1) / 0.6
        return 10 * float(np.prod(np.clip([contrast, structure, sharpness], 0, 1)))


def _steepest(luma: FloatArray, distance: int) -> float:
    """The 99.7th percentile of the luma differences between pixels so far apart, along rows and columns."""
    across = np.abs(luma[:, distance:] - luma[:, :-distance])
    down = np.abs(luma[distance:] - luma[:-distance])
    differences = np.concatenate([across.ravel(), down.ravel()])
    return float(np.percentile(differences, 99.7)) if differences.size else 0.0
