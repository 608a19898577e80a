"""The small frame encoder and quality scorer that need no download: hand-made, in numpy, nothing learned.

They know colours, layout, edges and distortion, and nothing of what a picture shows: see ``docs/memory.md`` for what
they can and cannot tell apart. Both give the same result for a frame whatever other frames come with it.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from storymem.memory.bank import FloatArray

__all__ = ["BuiltinEncoder", "BuiltinScorer", "area_means"]

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


def area_means(planes: FloatArray, height: int, width: int) -> FloatArray:
    """``[..., H, W]`` to ``[..., height, width]`` by area means."""
    rows, columns = _area_weights(planes.shape[-2], height), _area_weights(planes.shape[-1], width)
    result: FloatArray = np.asarray(rows @ planes @ columns.T, dtype=np.float32)
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
        small = area_means(np.asarray(frame, dtype=np.float32), self._HEIGHT, self._WIDTH)
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
        return _soft_unit(area_means(planes, *self._LAYOUT), floor=0.2)

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
        cells = np.sqrt(area_means(strength * nearness, *self._EDGES))
        return _soft_unit(cells - cells.mean(axis=0), floor=0.2)


class BuiltinScorer:
    """How free of distortion a frame is, from 0 to 10; it measures distortion, not beauty.

    Ten times the product of three numbers between 0 and 1, taken from the colour channel with the most contrast:

    - contrast: the range between its 1st and 99th percentile, full at a fifth of all there is (flat frames have none);
    - structure: how much of the variation is left when 8 x 8 pixels (4 x 4 in small frames) are averaged: noise goes
      away, pictures stay; none at 0.2, full at 0.8;
    - sharpness: the steepest steps from one pixel to the next against the steepest over 8 pixels: 1 at a hard edge, an
      eighth where everything is blurred wider than that; none at 0.2, full at 0.4.

    Frames higher than 480 pixels are averaged down to that height first.
    """

    name = "builtin"
    identity = "builtin-scorer-1"
    default_threshold = 3.0

    _HEIGHT = 480
    _REACH = 8

    def score(self, frames: FloatArray) -> FloatArray:
        """Scores ``[F]`` of frames ``[F, 3, H, W]``; see `AestheticScorer.score`."""
        return np.array([self._score(frame) for frame in frames], dtype=np.float32)

    def _score(self, frame: FloatArray) -> float:
        rgb = np.clip(np.asarray(frame, dtype=np.float32) * np.float32(0.5) + np.float32(0.5), 0, 1)
        height, width = rgb.shape[1:]
        if height > self._HEIGHT:
            width = max(1, round(width * self._HEIGHT / height))
            height = self._HEIGHT
            rgb = area_means(rgb, height, width)
        low, high = np.percentile(rgb, (1, 99), axis=(1, 2))
        channel = int(np.argmax(high - low))  # not luma: colours of one brightness make a picture too
        plane = rgb[channel]
        spread = float(plane.std())
        if spread < 1e-4:
            return 0.0
        cell = min(max(height / 60, 4), 8)
        cells = area_means(plane, max(1, round(height / cell)), max(1, round(width / cell)))
        contrast = float(high[channel] - low[channel]) / 0.2
        structure = (float(cells.std()) / spread - 0.2) / 0.6
        step = _steepest(plane, 1, 0.4 / self._REACH) / max(_steepest(plane, self._REACH, 0.4), 1e-6)
        sharpness = (step - 0.2) / 0.2
        return 10 * float(np.prod(np.clip([contrast, structure, sharpness], 0, 1)))


def _steepest(plane: FloatArray, distance: int, percent: float) -> float:
    """The difference between pixels so far apart, along rows or columns, that only so many per cent exceed.

    An edge is seen `distance` times at that distance: percentages in the same proportion look at the same edges.
    """
    across = np.abs(plane[:, distance:] - plane[:, :-distance])
    down = np.abs(plane[distance:] - plane[:-distance])
    differences = np.concatenate([across.ravel(), down.ravel()])
    return float(np.percentile(differences, 100 - percent)) if differences.size else 0.0
