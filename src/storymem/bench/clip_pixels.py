"""Frames as CLIP models take them, prepared as VBench prepares them, so that numbers can be held against its own."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from storymem.media import FloatArray, to_uint8

if TYPE_CHECKING:
    import torch

__all__ = ["PIXELS", "clip_pixels"]

PIXELS = "vbench-clip-pixels-1"
"""Identity of `clip_pixels`."""

_MEAN = (0.48145466, 0.4578275, 0.40821073)  # of the images CLIP was trained on, RGB in [0, 1]
_STD = (0.26862954, 0.26130258, 0.27577711)


def clip_pixels(frames: FloatArray, side: int) -> torch.Tensor:
    """Frames ``[F, 3, H, W]`` in [-1, 1] as ``[F, 3, side, side]`` float32, normalised.

    Eight bits; the shorter side brought to `side` by bicubic interpolation without antialiasing, rounded to eight bits
    again; the centre cut out; then CLIP's mean and deviation. That is `clip_transform` of VBench (arXiv 2311.17982).
    """
    import torch

    pixels = torch.from_numpy(np.ascontiguousarray(np.moveaxis(to_uint8(frames), -1, -3))).float()
    height, width = pixels.shape[-2:]
    short = min(height, width)
    size = (int(side * height / short), int(side * width / short))
    if size != (height, width):
        resized = torch.nn.functional.interpolate(pixels, size=size, mode="bicubic", align_corners=False)
        pixels = resized.round().clamp(0, 255)
    top, left = round((size[0] - side) / 2), round((size[1] - side) / 2)
    pixels = pixels[..., top : top + side, left : left + side] / 255
    return (pixels - pixels.new_tensor(_MEAN).view(3, 1, 1)) / pixels.new_tensor(_STD).view(3, 1, 1)
