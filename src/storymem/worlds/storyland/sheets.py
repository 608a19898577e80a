"""Contact sheets: many shots on one picture."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from storymem.worlds.storyland.rendering import render
from storymem.worlds.storyland.shots import ShotSpec

__all__ = ["contact_sheet"]

_GAP = 4


def contact_sheet(
    specs: Sequence[ShotSpec], *, columns: int, height: int, width: int, frame: int = 8
) -> NDArray[np.uint8]:
    """One frame of every shot, in rows: uint8 [H, W, 3] with a white border.

    Args:
        specs: the shots.
        columns: pictures in a row.
        height, width: of each picture, multiples of 16.
        frame: which frame is shown; with 17 frames the eighth is the middle.
    """
    rows = -(-len(specs) // columns)
    sheet = np.full((rows * (height + _GAP) + _GAP, columns * (width + _GAP) + _GAP, 3), 255, np.uint8)
    for index, spec in enumerate(specs):
        clip = render([spec.continued(frame / 16)], 1, height, width)[0, :, 0]
        picture = ((clip + 1) * 127.5).round().byte().permute(1, 2, 0).numpy()
        y, x = (_GAP + n * (side + _GAP) for n, side in zip(divmod(index, columns), (height, width), strict=True))
        sheet[y : y + height, x : x + width] = picture
    return sheet
