"""The sprite atlas of the package: pictures and the index that says where every sprite is."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from io import BytesIO

import numpy as np
from numpy.typing import NDArray

__all__ = ["Sprite", "load_page", "load_sprites"]

_FOLDER = files("storymem.worlds.storyland") / "atlas"


@dataclass(frozen=True, slots=True)
class Sprite:
    """Where a sprite is and how it is hung.

    Attributes:
        page: "heroes" or "scenery".
        x, y, width, height: its rectangle there, in texels.
        anchor_x, anchor_y: the sprite's own (0, 0), in texels from its corner.
        unit: texels per unit of its own.
        repeats_x, repeats_y: whether it goes on without a seam.
    """

    page: str
    x: int
    y: int
    width: int
    height: int
    anchor_x: float
    anchor_y: float
    unit: float
    repeats_x: bool
    repeats_y: bool


@cache
def load_sprites() -> dict[str, Sprite]:
    """All sprites by name."""
    index = json.loads((_FOLDER / "atlas.json").read_text(encoding="utf-8"))
    return {
        name: Sprite(
            page=entry["page"],
            x=entry["rect"][0],
            y=entry["rect"][1],
            width=entry["rect"][2],
            height=entry["rect"][3],
            anchor_x=entry["anchor"][0],
            anchor_y=entry["anchor"][1],
            unit=entry["unit"],
            repeats_x="x" in entry["repeats"],
            repeats_y="y" in entry["repeats"],
        )
        for name, entry in index.items()
    }


def load_page(page: str) -> NDArray[np.uint8]:
    """A page of the atlas: [H, W, 4], straight alpha."""
    from PIL import Image

    with Image.open(BytesIO((_FOLDER / f"{page}.png").read_bytes())) as picture:
        return np.asarray(picture.convert("RGBA"))
