"""Damage for memory frames: what happens to a picture that was made, kept and shown again."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F

from storymem.media import from_uint8, to_uint8

if TYPE_CHECKING:
    from storymem.training.sections import AugmentSection

__all__ = ["augment", "blur", "jpeg", "move"]


def augment(frame: torch.Tensor, config: AugmentSection, rng: np.random.Generator) -> torch.Tensor:
    """A damaged version of a frame: moved, tinted, blurred, compressed, noisy, each with a strength of its own.

    Args:
        frame: ``[3, H, W]`` float32 in [-1, 1].
        config: the strongest of each.
        rng: what decides; noise too is drawn from it, on the CPU.
    """
    out = frame
    if config.shift:
        dx, dy = rng.uniform(-config.shift, config.shift, size=2)
        out = move(out, round(dx * frame.shape[2]), round(dy * frame.shape[1]))
    if config.colour:
        brightness = rng.uniform(-config.colour, config.colour)
        tint = rng.uniform(-config.colour, config.colour, size=3) + brightness
        out = out + torch.tensor(tint, dtype=out.dtype, device=out.device).view(3, 1, 1)
    if config.blur:
        out = blur(out, rng.uniform(0, config.blur))
    # Half of the frames go through JPEG: its blocks should not be a mark of memory.
    if rng.random() < 0.5:
        out = jpeg(out, int(rng.integers(config.jpeg[0], config.jpeg[1] + 1)))
    if config.noise:
        noise = rng.standard_normal(tuple(frame.shape), dtype=np.float32) * rng.uniform(0, config.noise)
        out = out + torch.from_numpy(noise).to(out)
    return out.clamp(-1, 1)


def move(frame: torch.Tensor, right: int, down: int) -> torch.Tensor:
    """Move ``[3, H, W]`` by whole pixels; what comes in repeats the edge."""
    _, height, width = frame.shape
    pad = (abs(right), abs(right), abs(down), abs(down))
    padded = F.pad(frame[None], pad, mode="replicate")[0]
    top, left = abs(down) - down, abs(right) - right
    return padded[:, top : top + height, left : left + width]


def blur(frame: torch.Tensor, sigma: float) -> torch.Tensor:
    """Gaussian blur of ``[3, H, W]``; below a tenth of a pixel the frame itself."""
    if sigma < 0.1:
        return frame
    radius = max(1, round(3 * sigma))
    x = torch.arange(-radius, radius + 1, dtype=frame.dtype, device=frame.device)
    kernel = torch.exp(-0.5 * (x / sigma) ** 2)
    kernel = (kernel / kernel.sum()).expand(3, 1, -1)
    out = F.pad(frame[None], (radius, radius, radius, radius), mode="replicate")
    out = F.conv2d(out, kernel[:, :, None, :], groups=3)
    return F.conv2d(out, kernel[:, :, :, None], groups=3)[0]


def jpeg(frame: torch.Tensor, quality: int) -> torch.Tensor:
    """``[3, H, W]`` through JPEG of this quality and back."""
    from PIL import Image

    pixels = to_uint8(frame.detach().cpu().numpy())
    file = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(pixels)).save(file, "JPEG", quality=quality)
    return torch.from_numpy(from_uint8(np.array(Image.open(file)))).to(frame)
