"""The layers of every place: strips 640 units wide that repeat sideways, 256 units to the height of a picture.

Each place has up to three strips, drawn in their own colours: `far` (behind), `mid`, and `ground` (where heroes stand,
their feet at y = 220). y = 0 is the picture's upper edge. Window panes are holes: the sky is behind them.
"""

from __future__ import annotations

from collections.abc import Callable

from storyland_atlas import indoors, outdoors
from storyland_atlas.brush import Sheet

PLACES: dict[str, Callable[[], dict[str, Sheet]]] = {
    "forest": outdoors.forest,
    "beach": outdoors.beach,
    "city": outdoors.city,
    "village": outdoors.village,
    "desert": outdoors.desert,
    "mountain": outdoors.mountain,
    "meadow": outdoors.meadow,
    "harbour": outdoors.harbour,
    "kitchen": indoors.kitchen,
    "library": indoors.library,
    "bedroom": indoors.bedroom,
    "market": outdoors.market,
    "castle": indoors.castle,
    "cave": indoors.cave,
}
