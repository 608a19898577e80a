"""Layers: what the compositor draws, one sprite each, and the small affine algebra that places them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["Layer", "colours", "move", "place", "snow_on", "tints", "turn"]

Array = NDArray[np.float64]


@dataclass(slots=True, eq=False)
class Layer:
    """One sprite in one clip.

    Attributes:
        sprite: its name in the atlas.
        matrix: from the sprite's own units, its anchor at (0, 0), to pixels: [F, 2, 3]; [1, 2, 3] if it is still.
        colour: [4, 4] from the sprite's premultiplied channels to premultiplied RGB and alpha. A last row of zeros adds
            light instead of covering.
        visible: [F] of bool; None if always.
        part: which actor it belongs to and what of it, such as (0, "hat"); None for the place.
    """

    sprite: str
    matrix: Array
    colour: Array
    visible: NDArray[np.bool_] | None = None
    part: tuple[int, str] | None = None


def place(x: Array | float, y: Array | float, sx: Array | float = 1.0, sy: Array | float | None = None) -> Array:
    """Scale, then move: [F, 3, 3]."""
    xs, ys, a, b = np.broadcast_arrays(*np.atleast_1d(x, y, sx, sx if sy is None else sy))
    m = np.zeros((*xs.shape, 3, 3))
    m[:, 0, 0], m[:, 1, 1], m[:, 2, 2] = a, b, 1
    m[:, 0, 2], m[:, 1, 2] = xs, ys
    return m


def move(x: Array | float, y: Array | float) -> Array:
    """A translation: [F, 3, 3]."""
    return place(x, y)


def turn(degrees: Array | float) -> Array:
    """A rotation, clockwise on the screen: [F, 3, 3]."""
    angle = np.deg2rad(np.atleast_1d(degrees))
    m = np.zeros((*angle.shape, 3, 3))
    m[:, 0, 0] = m[:, 1, 1] = np.cos(angle)
    m[:, 1, 0] = np.sin(angle)
    m[:, 0, 1] = -m[:, 1, 0]
    m[:, 2, 2] = 1
    return m


def colours(
    light: tuple[float, float, float] = (1.0, 1.0, 1.0),
    *,
    haze: tuple[float, float, float] = (1.0, 1.0, 1.0),
    amount: float = 0.0,
    opacity: float = 1.0,
    adds: bool = False,
) -> Array:
    """For a sprite in its own colours: lit, then mixed with haze, then made see-through; or added as light."""
    return tints(np.eye(3), light, haze=haze, amount=amount, opacity=opacity, adds=adds)


def tints(
    columns: Array,
    light: tuple[float, float, float],
    *,
    haze: tuple[float, float, float] = (1.0, 1.0, 1.0),
    amount: float = 0.0,
    opacity: float = 1.0,
    adds: bool = False,
) -> Array:
    """For a sprite of tint zones: `columns` [3, 3] holds one RGB colour (0 to 1) per zone, in columns."""
    m = np.zeros((4, 4))
    m[:3, :3] = columns * np.array(light)[:, None] * (1 - amount)
    m[:3, 3] = np.array(haze) * amount
    m[3, 3] = 0.0 if adds else 1.0
    return m * opacity


def snow_on(colour: Array, light: tuple[float, float, float], amount: float) -> Array:
    """`colour` with snow over it: mixed with white in this light."""
    white = np.zeros((4, 4))
    white[:3, 3] = np.array([0.95, 0.975, 1.0]) * np.array(light) * colour[3, 3]
    white[3, 3] = colour[3, 3]
    return colour * (1 - amount) + white * amount
