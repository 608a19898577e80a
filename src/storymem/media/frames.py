"""Frames as arrays: the border between float and eight bits, and resizing."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from storymem.errors import MediaError

__all__ = ["FloatArray", "Uint8Array", "as_picture", "from_uint8", "resize_frame", "to_uint8"]

FloatArray = npt.NDArray[np.float32]
"""Frames as storymem computes with them: ``[..., 3, H, W]``, [-1, 1]."""

Uint8Array = npt.NDArray[np.uint8]
"""Frames as files hold them: ``[..., H, W, 3]``, sRGB, 0 to 255."""


def to_uint8(frames: npt.NDArray[Any]) -> Uint8Array:
    """Float frames ``[..., 3, H, W]`` in [-1, 1] as uint8 ``[..., H, W, 3]``: round((x + 1) * 127.5), clipped.

    Raises:
        MediaError: a value is NaN. A model that overflowed makes NaN; as black pixels it would go unnoticed.
    """
    scaled = (frames.astype(np.float32, copy=False) + np.float32(1)) * np.float32(127.5)
    if np.isnan(scaled).any():
        raise MediaError("The frames hold values that are not numbers (NaN): the model overflowed; use bf16 or fp32.")
    return np.moveaxis(np.rint(np.clip(scaled, 0, 255)).astype(np.uint8), -3, -1)


def from_uint8(frames: Uint8Array) -> FloatArray:
    """The inverse of `to_uint8`: uint8 ``[..., H, W, 3]`` as float32 ``[..., 3, H, W]`` in [-1, 1]."""
    return np.ascontiguousarray(np.moveaxis(frames, -1, -3)).astype(np.float32) / np.float32(127.5) - np.float32(1)


def as_picture(frame: FloatArray | Uint8Array) -> Uint8Array:
    """One frame of either kind as contiguous uint8 ``[H, W, 3]``.

    Raises:
        MediaError: the array is neither float ``[3, H, W]`` nor uint8 ``[H, W, 3]``.
    """
    if frame.dtype == np.uint8 and frame.ndim == 3 and frame.shape[2] == 3 and frame.size:
        return np.ascontiguousarray(frame, dtype=np.uint8)
    if np.issubdtype(frame.dtype, np.floating) and frame.ndim == 3 and frame.shape[0] == 3 and frame.size:
        return np.ascontiguousarray(to_uint8(frame))
    raise MediaError(
        f"A frame must be float [3, H, W] in [-1, 1] or uint8 [H, W, 3]; this one is {frame.dtype} {list(frame.shape)}."
    )


def resize_frame(frame: FloatArray, width: int, height: int) -> FloatArray:
    """Fill ``width`` x ``height`` with the frame: keep its shape, cut off what is too much, equally on both sides.

    Lanczos with antialiasing, computed in float32 and clipped to [-1, 1]. A frame of that size already comes back bit
    for bit (as a copy).

    Args:
        frame: ``[3, H, W]``.
        width: pixels.
        height: pixels.

    Returns:
        ``[3, height, width]``, float32.
    """
    if width < 1 or height < 1:
        raise MediaError(f"A frame cannot be resized to {width}x{height}: both sides must be at least 1.")
    _, old_height, old_width = frame.shape
    if (old_width, old_height) == (width, height):
        return frame.astype(np.float32, copy=True)

    from PIL import Image

    # The part of the old frame that has the new shape; fractions of a pixel are kept.
    scale = max(width / old_width, height / old_height)
    box_width, box_height = min(width / scale, old_width), min(height / scale, old_height)
    left, top = (old_width - box_width) / 2, (old_height - box_height) / 2
    box = (left, top, left + box_width, top + box_height)
    channels = [
        # Pillow's "F" images are float32: nothing is rounded to eight bits on the way.
        Image.fromarray(np.ascontiguousarray(channel, dtype=np.float32)).resize(
            (width, height), Image.Resampling.LANCZOS, box=box
        )
        for channel in frame
    ]
    return np.clip(np.stack([np.asarray(channel, dtype=np.float32) for channel in channels]), -1, 1)
