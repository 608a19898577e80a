"""Shots as pixels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from storymem.errors import SettingsError
from storymem.worlds.storyland.shots import ShotSpec

if TYPE_CHECKING:
    import torch

__all__ = ["DRAWINGS", "FPS", "render"]

FPS = 16
"""Frames per second, as the models of this project have them."""

DRAWINGS = 2
"""The number of how shots are drawn, which rises when the same spec gives other pictures."""


def render(
    specs: Sequence[ShotSpec],
    num_frames: int = 17,
    height: int = 64,
    width: int = 112,
    *,
    fps: float = FPS,
    device: str = "cpu",
) -> torch.Tensor:
    """Draw shots.

    The same spec gives the same pixels: alone or in a batch; to the bit on one machine, to rounding across devices.

    Args:
        specs: what the shots show.
        num_frames: of each.
        height, width: in pixels, multiples of 16.
        fps: frames per second.
        device: where PyTorch draws.

    Returns:
        float32 [B, 3, F, H, W] in [-1, 1] on `device`.

    Raises:
        SettingsError: no shots, or a size that is no multiple of 16.
    """
    from storymem.worlds.storyland.compositor import draw
    from storymem.worlds.storyland.scene import build_scene

    if not specs or num_frames < 1 or fps <= 0:
        raise SettingsError("Storyland draws at least one shot of at least one frame at a frame rate above 0.")
    if height < 16 or width < 16 or height % 16 or width % 16:
        raise SettingsError(f"Storyland draws pictures whose sides are multiples of 16, not {width} x {height}.")
    scenes = [build_scene(spec, num_frames, height, width, fps) for spec in specs]
    return draw(scenes, num_frames, height, width, device).mul_(2).sub_(1)
