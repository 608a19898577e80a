"""Small drawn pictures and shots for the tests of the memory: coloured shapes on a ground, no two scenes alike."""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageDraw, ImageFilter


def scene(seed: int, *, shift: float = 0.0, size: tuple[int, int] = (240, 416)) -> np.ndarray:
    """One drawn frame ``[3, H, W]`` in [-1, 1]; `shift` moves what is drawn by that part of the width."""
    rng = np.random.default_rng(seed)
    height, width = size
    ground, sky = (tuple(rng.integers(0, 256, 3).tolist()) for _ in range(2))
    picture = Image.new("RGB", (width, height), sky)
    draw = ImageDraw.Draw(picture)
    horizon = int(height * rng.uniform(0.3, 0.8))
    draw.rectangle((0, horizon, width, height), fill=ground)
    for _ in range(8):
        x, y = (rng.uniform(0, 1) + shift) * width, rng.uniform(0, 1) * height
        radius = rng.uniform(0.05, 0.2) * height
        colour = tuple(rng.integers(0, 256, 3).tolist())
        box = (x - radius, y - radius, x + radius, y + radius)
        draw.ellipse(box, fill=colour) if rng.random() < 0.5 else draw.rectangle(box, fill=colour)
    return to_frame(picture)


def shot(seed: int, count: int = 9, *, pan: float = 0.02, size: tuple[int, int] = (240, 416)) -> np.ndarray:
    """Frames ``[F, 3, H, W]`` of one scene, in which everything drawn moves slowly."""
    return np.stack([scene(seed, shift=pan * i / count, size=size) for i in range(count)])


def blurred(frame: np.ndarray, radius: float) -> np.ndarray:
    """The frame after a Gaussian blur."""
    return to_frame(to_picture(frame).filter(ImageFilter.GaussianBlur(radius)))


def to_frame(picture: Image.Image) -> np.ndarray:
    return np.asarray(picture).transpose(2, 0, 1).astype(np.float32) / 127.5 - 1


def to_picture(frame: np.ndarray) -> Image.Image:
    return Image.fromarray(np.rint((frame.transpose(1, 2, 0) + 1) * 127.5).clip(0, 255).astype(np.uint8))
