"""What the strips of places are made of: hills, trees, walls, floors and windows.

Strips are 640 units wide and repeat sideways; 256 units are the height of a picture, y = 0 its upper edge.
"""

from __future__ import annotations

import numpy as np

from storyland_atlas.brush import Colour, Sheet, blob, box, hexa, mix, oval, polygon, shade

W = 640.0
FLOOR = 166.0  # where the ground begins
WHITE = (255.0, 255.0, 255.0)


def ridge(rng: np.random.Generator, base: float, swing: float, n: int) -> list[tuple[float, float]]:
    """Points of a hilly line that meets itself after one width."""
    ys = base + swing * rng.uniform(-1, 1, n)
    xs = np.arange(n) * W / n
    points = [(float(x), float(y)) for x, y in zip(xs, ys, strict=True)]
    return [(x - W, y) for x, y in points] + points + [(x + W, y) for x, y in points]


def hill(
    s: Sheet,
    points: list[tuple[float, float]],
    colour: Colour,
    bottom: float,
    *,
    to: Colour | None = None,
    sharp: bool = False,
) -> None:
    """Fill what lies below a ridge."""
    path = polygon([*points, (points[-1][0], bottom), (points[0][0], bottom)]) if sharp else blob(points, closed=False)
    if not sharp:
        path.lineTo(points[-1][0], bottom)
        path.lineTo(points[0][0], bottom)
        path.close()
    tile, s.tile = s.tile, False
    s.fill(path, colour, to=to if to is not None else shade(colour, 0.86))
    s.tile = tile


def strip(top: float, bottom: float) -> Sheet:
    """An empty strip from `top` to `bottom`."""
    return Sheet(0, top, W, bottom, tile=True)


def ground_strip(top_colour: str, low_colour: str, seed: int, *, wavy: float = 3.0, edge: str | None = None) -> Sheet:
    """Ground from the floor line down to below the picture."""
    s = strip(FLOOR - 14, 330)
    rng = np.random.default_rng(seed)
    points = ridge(rng, FLOOR, wavy, 6)
    if edge:
        hill(s, [(x, y - 4) for x, y in points], hexa(edge), 330)
    hill(s, points, hexa(top_colour), 330, to=hexa(low_colour))
    return s


def tufts(s: Sheet, rng: np.random.Generator, colour: Colour, n: int, *, size: float = 7) -> None:
    """Grass here and there."""
    for _ in range(n):
        x, y = rng.uniform(0, W), rng.uniform(FLOOR + 8, 256)
        k = size * (0.5 + (y - FLOOR) / 90)
        for d in (-0.6, 0.0, 0.6):
            s.line(blob([(x + d * k * 0.4, y), (x + d * k, y - k * (1.1 - abs(d) * 0.4))], closed=False), colour, 2.2)


def tree(s: Sheet, x: float, y: float, k: float, leaf: Colour, trunk: Colour) -> None:
    """A round tree that stands at (x, y)."""
    s.fill(polygon([(x - 5 * k, y), (x - 3 * k, y - 40 * k), (x + 3 * k, y - 40 * k), (x + 5 * k, y)]), trunk)
    for dx, dy, r in ((-15, -46, 19), (15, -46, 19), (0, -66, 24), (0, -46, 20)):
        s.fill(oval(x + dx * k, y + dy * k, r * k, r * k), shade(leaf, 1.0 + 0.05 * (dy < -50)), low=0.9)
    s.flat(oval(x - 7 * k, y - 72 * k, 10 * k, 9 * k), mix(leaf, WHITE, 0.16))


def pine(s: Sheet, x: float, y: float, k: float, leaf: Colour, trunk: Colour, snow: bool = False) -> None:
    """A fir that stands at (x, y)."""
    s.flat(box(x - 4 * k, y - 14 * k, x + 4 * k, y), trunk)
    for i, (w, dy) in enumerate(((30, -12), (24, -34), (17, -56))):
        tier = polygon([(x - w * k, y + dy * k), (x, y + (dy - 36) * k), (x + w * k, y + dy * k)])
        s.fill(tier, shade(leaf, 0.94 + 0.05 * i), round_corners=6 * k)
        if snow:
            s.flat(
                polygon(
                    [
                        (x - w * 0.5 * k, y + (dy - 17) * k),
                        (x, y + (dy - 37) * k),
                        (x + w * 0.5 * k, y + (dy - 17) * k),
                        (x, y + (dy - 10) * k),
                    ]
                ),
                WHITE,
                round_corners=5 * k,
            )


def windows(s: Sheet, x0: float, y0: float, x1: float, y1: float, nx: int, ny: int, colour: Colour) -> None:
    """Rows of small windows."""
    for i in range(nx):
        for j in range(ny):
            cx, cy = x0 + (i + 0.5) * (x1 - x0) / nx, y0 + (j + 0.5) * (y1 - y0) / ny
            w, h = (x1 - x0) / nx * 0.27, (y1 - y0) / ny * 0.3
            s.fill(box(cx - w, cy - h, cx + w, cy + h, 2), colour, low=0.93)


def floor_strip(colour: str, low: str, line: str, *, kind: str) -> Sheet:
    """A floor of boards, tiles or stones."""
    s = strip(FLOOR - 14, 330)
    s.fill(box(0, FLOOR, W, 330), hexa(colour), to=hexa(low))
    rows = (FLOOR, 178, 193, 212, 236, 262)
    if kind == "boards":
        for j, y in enumerate(rows):
            s.line(blob([(0, y), (W, y)], closed=False), hexa(line), 1.8, alpha=0.7)
            for i in range(6):
                x = (i + (j * 0.37) % 1) * W / 6
                s.line(blob([(x, y), (x, rows[min(j + 1, 5)])], closed=False), hexa(line), 1.6, alpha=0.6)
    elif kind == "tiles":
        for j in range(5):
            for i in range(16):
                if (i + j) % 2:
                    s.flat(
                        polygon(
                            [
                                (i * 40, rows[j]),
                                (i * 40 + 40, rows[j]),
                                (i * 40 + 40, rows[j + 1]),
                                (i * 40, rows[j + 1]),
                            ]
                        ),
                        hexa(line),
                        alpha=0.55,
                    )
    elif kind == "stones":
        rng = np.random.default_rng(9)
        for j in range(5):
            for i in range(10):
                x = (i + (j % 2) * 0.5) * 64
                s.fill(
                    box(x + 2, rows[j] + 1.5, x + 62, rows[j + 1] - 1.5, 5),
                    mix(hexa(colour), hexa(line), rng.uniform(0.1, 0.5)),
                )
    s.line(blob([(0, FLOOR), (W, FLOOR)], closed=False), hexa(line), 3)
    return s


def pane(s: Sheet, x: float, y: float, w: float, h: float, frame: Colour, *, arch: bool = False) -> None:
    """A window: a frame with a hole."""
    hole = (
        blob(
            [(x - w, y + h), (x - w, y - h * 0.3), (x, y - h * 1.15), (x + w, y - h * 0.3), (x + w, y + h)], tension=0.3
        )
        if arch
        else box(x - w, y - h, x + w, y + h, 4)
    )
    s.line(hole, frame, 9)
    s.erase(hole)
    s.flat(hole, (210, 235, 255), alpha=0.16)
    s.line(blob([(x, y - h * (1.1 if arch else 1)), (x, y + h)], closed=False), frame, 4)
    s.line(blob([(x - w, y), (x + w, y)], closed=False), frame, 4)
    s.flat(box(x - w - 8, y + h, x + w + 8, y + h + 7, 3), shade(frame, 0.9))


def wall(colour: str, low: str) -> Sheet:
    """A wall up to above the picture."""
    s = strip(-60, 236)
    s.fill(box(0, -60, W, 236), hexa(colour), to=hexa(low))
    return s
