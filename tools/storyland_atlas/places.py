"""The layers of every place: strips 640 units wide that repeat sideways, 256 units to the height of a picture.

Each place has up to three strips, drawn in their own colours: `far` (behind), `mid`, and `ground` (where heroes stand,
their feet at y = 220). y = 0 is the picture's upper edge. Window panes are holes: the sky is behind them.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from storyland_atlas.brush import Colour, Sheet, blob, box, hexa, mix, oval, polygon, shade

W = 640.0
FLOOR = 166.0  # where the ground begins
WHITE = (255.0, 255.0, 255.0)


def _ridge(rng: np.random.Generator, base: float, swing: float, n: int) -> list[tuple[float, float]]:
    """Points of a hilly line that meets itself after one width."""
    ys = base + swing * rng.uniform(-1, 1, n)
    xs = np.arange(n) * W / n
    points = [(float(x), float(y)) for x, y in zip(xs, ys, strict=True)]
    return [(x - W, y) for x, y in points] + points + [(x + W, y) for x, y in points]


def _hill(
    s: Sheet,
    points: list[tuple[float, float]],
    colour: Colour,
    bottom: float,
    *,
    to: Colour | None = None,
    sharp: bool = False,
) -> None:
    path = polygon([*points, (points[-1][0], bottom), (points[0][0], bottom)]) if sharp else blob(points, closed=False)
    if not sharp:
        path.lineTo(points[-1][0], bottom)
        path.lineTo(points[0][0], bottom)
        path.close()
    tile, s.tile = s.tile, False
    s.fill(path, colour, to=to if to is not None else shade(colour, 0.86))
    s.tile = tile


def _strip(top: float, bottom: float) -> Sheet:
    return Sheet(0, top, W, bottom, tile=True)


def _ground(top_colour: str, low_colour: str, seed: int, *, wavy: float = 3.0, edge: str | None = None) -> Sheet:
    s = _strip(FLOOR - 14, 330)
    rng = np.random.default_rng(seed)
    points = _ridge(rng, FLOOR, wavy, 6)
    if edge:
        _hill(s, [(x, y - 4) for x, y in points], hexa(edge), 330)
    _hill(s, points, hexa(top_colour), 330, to=hexa(low_colour))
    return s


def _tufts(s: Sheet, rng: np.random.Generator, colour: Colour, n: int, *, size: float = 7) -> None:
    for _ in range(n):
        x, y = rng.uniform(0, W), rng.uniform(FLOOR + 8, 256)
        k = size * (0.5 + (y - FLOOR) / 90)
        for d in (-0.6, 0.0, 0.6):
            s.line(blob([(x + d * k * 0.4, y), (x + d * k, y - k * (1.1 - abs(d) * 0.4))], closed=False), colour, 2.2)


def _tree(s: Sheet, x: float, y: float, k: float, leaf: Colour, trunk: Colour) -> None:
    s.fill(polygon([(x - 5 * k, y), (x - 3 * k, y - 40 * k), (x + 3 * k, y - 40 * k), (x + 5 * k, y)]), trunk)
    for dx, dy, r in ((-15, -46, 19), (15, -46, 19), (0, -66, 24), (0, -46, 20)):
        s.fill(oval(x + dx * k, y + dy * k, r * k, r * k), shade(leaf, 1.0 + 0.05 * (dy < -50)), low=0.9)
    s.flat(oval(x - 7 * k, y - 72 * k, 10 * k, 9 * k), mix(leaf, WHITE, 0.16))


def _pine(s: Sheet, x: float, y: float, k: float, leaf: Colour, trunk: Colour, snow: bool = False) -> None:
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


def _forest() -> dict[str, Sheet]:
    rng = np.random.default_rng(1)
    far = _strip(40, 190)
    for i in range(22):
        _pine(far, (i + rng.uniform(-0.3, 0.3)) * W / 22, 178, rng.uniform(0.8, 1.35), hexa("#a9cdb4"), hexa("#9bb8a0"))
    _hill(far, _ridge(rng, 158, 5, 8), hexa("#9cc5a3"), 190)
    mid = _strip(-30, 190)
    for i in range(9):
        x, k = (i + rng.uniform(-0.25, 0.25)) * W / 9, rng.uniform(1.25, 1.75)
        (_tree if i % 2 else _pine)(mid, x, 176, k, hexa("#5fa573") if i % 2 else hexa("#4b9170"), hexa("#7c5a48"))
    for i in range(14):
        mid.fill(oval(rng.uniform(0, W), 172, rng.uniform(16, 30), rng.uniform(10, 17)), hexa("#579a68"))
    ground = _ground("#8cc474", "#6fae63", 3, edge="#7ab867")
    _tufts(ground, rng, hexa("#5c9c55"), 46)
    for _ in range(12):
        x, y = rng.uniform(0, W), rng.uniform(FLOOR + 10, 250)
        ground.fill(box(x - 2, y - 7, x + 2, y), hexa("#fff2dd"))
        ground.fill(blob([(x - 7, y - 6), (x, y - 14), (x + 7, y - 6)]), hexa("#e2574c"))
    return {"far": far, "mid": mid, "ground": ground}


def _waves(s: Sheet, top: float, bottom: float, colours: tuple[str, str]) -> None:
    s.fill(box(0, top, W, bottom), hexa(colours[0]), to=hexa(colours[1]))
    rng = np.random.default_rng(5)
    for _ in range(26):
        x, y = rng.uniform(0, W), rng.uniform(top + 4, bottom - 6)
        k = 7 + 14 * (y - top) / (bottom - top)
        s.line(blob([(x - k, y), (x, y - 2), (x + k, y)], closed=False), WHITE, 1.8, alpha=0.55)


def _beach() -> dict[str, Sheet]:
    rng = np.random.default_rng(2)
    far = _strip(96, 190)
    _waves(far, 112, 190, ("#6cc5d9", "#3fa9c9"))
    mid = _strip(132, 190)
    _hill(mid, _ridge(rng, 160, 3, 7), hexa("#d8f3f2"), 190)
    _hill(mid, _ridge(rng, 164, 3, 7), hexa("#f3dfae"), 190)
    ground = _ground("#f9e6b4", "#efd291", 4)
    for _ in range(40):
        x, y = rng.uniform(0, W), rng.uniform(FLOOR + 6, 252)
        ground.flat(oval(x, y, rng.uniform(1.5, 3), 1.6), hexa("#d9b878"))
    for _ in range(7):
        x, y = rng.uniform(0, W), rng.uniform(FLOOR + 14, 246)
        ground.fill(
            blob([(x - 8, y), (x - 6, y - 9), (x, y - 12), (x + 6, y - 9), (x + 8, y), (x, y + 3)]), hexa("#ff9d8a")
        )
        for d in (-3, 0, 3):
            ground.line(blob([(x + d * 0.3, y), (x + d, y - 8)], closed=False), hexa("#d9705f"), 1.2)
    return {"far": far, "mid": mid, "ground": ground}


def _windows(s: Sheet, x0: float, y0: float, x1: float, y1: float, nx: int, ny: int, colour: Colour) -> None:
    for i in range(nx):
        for j in range(ny):
            cx, cy = x0 + (i + 0.5) * (x1 - x0) / nx, y0 + (j + 0.5) * (y1 - y0) / ny
            w, h = (x1 - x0) / nx * 0.27, (y1 - y0) / ny * 0.3
            s.fill(box(cx - w, cy - h, cx + w, cy + h, 2), colour, low=0.93)


def _city() -> dict[str, Sheet]:
    rng = np.random.default_rng(3)
    far = _strip(-10, 190)
    x = 0.0
    for i in range(14):
        w = W / 14
        h = rng.uniform(60, 130)
        c = mix(hexa("#b7c6dd"), hexa("#cbb9d6"), rng.uniform())
        far.fill(box(x, 178 - h, x + w + 1, 190), c)
        _windows(far, x + 4, 184 - h, x + w - 4, 170, 3, int(h / 16), mix(c, WHITE, 0.4))
        x += w
        del i
    mid = _strip(0, 190)
    colours = ["#e58f74", "#f2c879", "#8fb7c9", "#d9818f", "#9fbf93", "#b79bc9"]
    for i in range(6):
        w = W / 6
        x, h, c = i * w, rng.uniform(98, 142), hexa(colours[i])
        mid.fill(box(x + 2, 178 - h, x + w - 2, 190, 4), c)
        mid.fill(box(x - 1, 174 - h, x + w + 1, 183 - h, 3), shade(c, 0.78))
        _windows(mid, x + 8, 186 - h, x + w - 8, 128, 3, max(1, int((h - 50) / 30)), hexa("#fdf3d0"))
        mid.fill(box(x + 10, 136, x + w * 0.55, 168, 3), hexa("#cfe7ea"))
        mid.fill(box(x + w * 0.64, 134, x + w - 12, 178, 3), shade(c, 0.55))
        stripes = 6
        for k in range(stripes):
            a, b = x + 6 + k * (w * 0.58 - 2) / stripes, x + 6 + (k + 1) * (w * 0.58 - 2) / stripes
            mid.flat(polygon([(a, 126), (b, 126), (b, 140), (a, 140)]), hexa("#fff6e8") if k % 2 else shade(c, 0.7))
    ground = _strip(FLOOR - 14, 330)
    ground.fill(box(0, FLOOR, W, 206), hexa("#d9d2cb"), low=0.96)
    for i in range(16):
        ground.line(blob([(i * 40, FLOOR), (i * 40 - 12, 206)], closed=False), hexa("#c2b9b1"), 1.6)
    ground.flat(box(0, 204, W, 211), hexa("#a8a09c"))
    ground.fill(box(0, 210, W, 330), hexa("#7b7f8c"), low=0.85)
    for i in range(8):
        ground.flat(box(i * 80 + 10, 238, i * 80 + 50, 243, 2), hexa("#f4ead0"))
    return {"far": far, "mid": mid, "ground": ground}


def _house(s: Sheet, x: float, y: float, k: float, wall: Colour, roof: Colour) -> None:
    s.fill(box(x - 34 * k, y - 48 * k, x + 34 * k, y, 3), wall, low=0.92)
    s.fill(box(x + 14 * k, y - 92 * k, x + 24 * k, y - 60 * k, 2), shade(roof, 0.75))
    s.fill(polygon([(x - 44 * k, y - 44 * k), (x, y - 92 * k), (x + 44 * k, y - 44 * k)]), roof, round_corners=6 * k)
    s.fill(box(x - 9 * k, y - 28 * k, x + 9 * k, y, 7 * k), hexa("#8a5a44"))
    for d in (-22, 22):
        s.fill(box(x + (d - 7) * k, y - 36 * k, x + (d + 7) * k, y - 22 * k, 2), hexa("#fdf0c4"), low=0.95)
        s.line(box(x + (d - 7) * k, y - 36 * k, x + (d + 7) * k, y - 22 * k, 2), hexa("#8a6a55"), 1.6 * k)


def _village() -> dict[str, Sheet]:
    rng = np.random.default_rng(4)
    far = _strip(70, 190)
    _hill(far, _ridge(rng, 112, 16, 5), hexa("#bcd9b0"), 190)
    _hill(far, _ridge(rng, 138, 10, 7), hexa("#a3cc98"), 190)
    mid = _strip(20, 190)
    walls = ["#fbe9cf", "#f5d3c0", "#e8ecd9", "#fdeeda", "#e7dcee"]
    roofs = ["#d9705c", "#5f94a8", "#c98a4b", "#8f6aa1", "#6a9a6d"]
    for i in range(5):
        x = (i + 0.5) * W / 5
        _tree(mid, x + 58, 176, 1.0, hexa("#7db574"), hexa("#8a6249"))
        _house(mid, x, 178, rng.uniform(1.2, 1.5), hexa(walls[i]), hexa(roofs[i]))
        for d in range(-3, 4):
            mid.fill(box(x + 58 + d * 8 - 2.5, 160, x + 58 + d * 8 + 2.5, 180, 2), hexa("#fff6e6"))
        mid.flat(box(x + 30, 166, x + 86, 170), hexa("#fff6e6"))
    ground = _ground("#a5cf83", "#86b96d", 6, edge="#93c276")
    path = blob(
        [
            (-60, 208),
            (100, 200),
            (220, 210),
            (330, 203),
            (460, 211),
            (580, 204),
            (700, 208),
            (700, 240),
            (500, 246),
            (300, 238),
            (120, 246),
            (-60, 240),
        ],
        tension=0.45,
    )
    ground.tile = False
    ground.fill(path, hexa("#ecd7ae"), low=0.93)
    ground.tile = True
    _tufts(ground, rng, hexa("#74a85f"), 26)
    return {"far": far, "mid": mid, "ground": ground}


def _desert() -> dict[str, Sheet]:
    rng = np.random.default_rng(5)
    far = _strip(50, 190)
    for x, w, h in ((90, 70, 74), (300, 54, 92), (330, 90, 52), (540, 76, 66)):
        mesa = polygon([(x - w, 190), (x - w * 0.72, 176 - h), (x + w * 0.72, 176 - h), (x + w, 190)])
        far.fill(mesa, hexa("#dd9a76"), to=hexa("#e9b48c"), round_corners=8)
        for k in (0.3, 0.52):
            far.line(
                blob([(x - w * 0.76, 176 - h * (1 - k)), (x + w * 0.76, 176 - h * (1 - k))], closed=False),
                hexa("#c9805f"),
                3,
                alpha=0.5,
            )
    mid = _strip(110, 190)
    _hill(mid, _ridge(rng, 148, 13, 5), hexa("#f0c58b"), 190)
    _hill(mid, _ridge(rng, 162, 8, 6), hexa("#eab877"), 190)
    ground = _ground("#f5d296", "#e6b36d", 8)
    for _ in range(12):
        x, y = rng.uniform(0, W), rng.uniform(FLOOR + 12, 250)
        ground.line(
            blob([(x - 30, y), (x - 10, y - 4), (x + 12, y + 1), (x + 32, y - 3)], closed=False),
            hexa("#d9a45e"),
            2,
            alpha=0.6,
        )
    for _ in range(9):
        x, y, k = rng.uniform(0, W), rng.uniform(FLOOR + 6, 250), rng.uniform(4, 9)
        ground.fill(blob([(x - k, y), (x - k * 0.5, y - k), (x + k * 0.6, y - k * 0.8), (x + k, y)]), hexa("#b98a68"))
    return {"far": far, "mid": mid, "ground": ground}


def _mountain() -> dict[str, Sheet]:
    rng = np.random.default_rng(6)
    far = _strip(-10, 190)
    peaks = [(40, 62, 105), (170, 24, 130), (310, 70, 100), (430, 16, 135), (565, 52, 110)]
    for x, y, w in peaks:
        far.fill(polygon([(x - w, 190), (x, y), (x + w, 190)]), hexa("#8fa5cc"), to=hexa("#b9c9e2"), round_corners=8)
        h = 170 - y
        far.flat(
            polygon(
                [
                    (x, y),
                    (x + w * 0.3, y + h * 0.32),
                    (x + w * 0.1, y + h * 0.26),
                    (x, y + h * 0.36),
                    (x - w * 0.12, y + h * 0.26),
                    (x - w * 0.3, y + h * 0.32),
                ]
            ),
            WHITE,
            round_corners=5,
        )
    mid = _strip(40, 190)
    _hill(mid, _ridge(rng, 146, 9, 5), hexa("#dce9f5"), 190)
    for i in range(10):
        _pine(
            mid,
            (i + rng.uniform(-0.3, 0.3)) * W / 10,
            174,
            rng.uniform(0.8, 1.25),
            hexa("#4f8a86"),
            hexa("#74604f"),
            snow=True,
        )
    ground = _ground("#f7fbff", "#d3e2f2", 10, wavy=5)
    for _ in range(16):
        x, y = rng.uniform(0, W), rng.uniform(FLOOR + 10, 252)
        ground.line(blob([(x - 24, y), (x, y - 4), (x + 24, y)], closed=False), hexa("#b9cfe6"), 2.2, alpha=0.8)
    return {"far": far, "mid": mid, "ground": ground}


def _meadow() -> dict[str, Sheet]:
    rng = np.random.default_rng(7)
    far = _strip(70, 190)
    _hill(far, _ridge(rng, 110, 18, 4), hexa("#c6e3a8"), 190)
    _hill(far, _ridge(rng, 136, 13, 5), hexa("#addb93"), 190)
    mid = _strip(110, 190)
    _hill(mid, _ridge(rng, 158, 7, 6), hexa("#94cf7d"), 190)
    for i in range(60):
        x, y = rng.uniform(0, W), rng.uniform(163, 182)
        mid.flat(oval(x, y, 2.6, 2.6), hexa(["#fff7d6", "#ff9fb4", "#c9a2ea", "#ffd257"][i % 4]))
    ground = _ground("#9bd67c", "#76bd62", 12)
    _tufts(ground, rng, hexa("#5fa950"), 50, size=9)
    for i in range(34):
        x, y = rng.uniform(0, W), rng.uniform(FLOOR + 8, 252)
        k = 0.6 + (y - FLOOR) / 80
        colour = hexa(["#ffffff", "#ff8fab", "#b58be8", "#ffc93c"][i % 4])
        ground.line(blob([(x, y), (x + 1, y - 11 * k)], closed=False), hexa("#4f9a4a"), 1.8)
        for a in range(5):
            ground.flat(
                oval(
                    x + 1 + 3.6 * k * math.cos(a * 1.257), y - 12 * k + 3.6 * k * math.sin(a * 1.257), 2.7 * k, 2.7 * k
                ),
                colour,
            )
        ground.flat(oval(x + 1, y - 12 * k, 2.3 * k, 2.3 * k), hexa("#ffb02e"))
    return {"far": far, "mid": mid, "ground": ground}


def _harbour() -> dict[str, Sheet]:
    far = _strip(30, 190)
    _waves(far, 112, 190, ("#79b7cf", "#3d86ad"))
    far.fill(blob([(470, 114), (500, 92), (560, 88), (610, 104), (624, 114)]), hexa("#93ad9a"))
    for i in range(5):  # a lighthouse
        far.fill(
            polygon(
                [
                    (536 - 9 + i * 0.6, 90 - i * 10),
                    (536 + 9 - i * 0.6, 90 - i * 10),
                    (536 + 8.4 - i * 0.6, 80 - i * 10),
                    (536 - 8.4 + i * 0.6, 80 - i * 10),
                ]
            ),
            hexa("#e8574f") if i % 2 else hexa("#fffaf0"),
            low=0.96,
        )
    far.fill(box(529, 32, 543, 41, 2), hexa("#ffe08a"))
    far.fill(polygon([(526, 34), (536, 24), (546, 34)]), hexa("#c24a45"))
    mid = _strip(110, 190)
    for i in range(8):
        x = i * 80 + 20
        mid.fill(box(x - 5, 138, x + 5, 190, 3), hexa("#7d5a48"))
        mid.fill(box(x - 7, 134, x + 7, 142, 3), hexa("#f2e8d8"))
        mid.line(blob([(x, 150), (x + 40, 164), (x + 80, 150)], closed=False), hexa("#c9a578"), 3)
    ground = _strip(FLOOR - 14, 330)
    for j, y in enumerate((FLOOR, 180, 196, 215, 238)):
        h = (180, 196, 215, 238, 330)[j] - y
        ground.fill(box(0, y, W, y + h), mix(hexa("#c99d70"), hexa("#b5855c"), j / 5), low=0.94)
        ground.line(blob([(0, y), (W, y)], closed=False), hexa("#8f6646"), 2)
        for i in range(5):
            ground.line(
                blob([((i + (j % 2) * 0.5) * 128, y), ((i + (j % 2) * 0.5) * 128, min(y + h, 262))], closed=False),
                hexa("#8f6646"),
                1.8,
            )
    return {"far": far, "mid": mid, "ground": ground}


def _floor(colour: str, low: str, line: str, *, kind: str) -> Sheet:
    s = _strip(FLOOR - 14, 330)
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


def _pane(s: Sheet, x: float, y: float, w: float, h: float, frame: Colour, *, arch: bool = False) -> None:
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


def _wall(colour: str, low: str) -> Sheet:
    s = _strip(-60, 190)
    s.fill(box(0, -60, W, 190), hexa(colour), to=hexa(low))
    return s


def _kitchen() -> dict[str, Sheet]:
    mid = _wall("#fbe7c6", "#f7d9b0")
    for i in range(16):
        mid.flat(box(i * 40, 92, i * 40 + 20, 130), hexa("#dff0ec"))
        mid.flat(box(i * 40 + 20, 92, i * 40 + 40, 130), hexa("#c7e4df"))
    for x in (110, 430):
        _pane(mid, x, 48, 40, 34, hexa("#ffffff"))
        for k in (-1, 1):
            mid.fill(
                blob([(x + k * 52, 6), (x + k * 10, 8), (x + k * 34, 40), (x + k * 50, 84)], tension=0.4),
                hexa("#f08a7c"),
            )
    mid.fill(box(0, 126, W, 135), hexa("#b98155"))
    mid.fill(box(0, 135, W, 190), hexa("#7fb5ae"))
    for i in range(10):
        mid.line(box(i * 64 + 6, 140, i * 64 + 58, 172, 4), hexa("#5c938d"), 2.4)
        mid.flat(oval(i * 64 + 50, 154, 3, 3), hexa("#fff2d0"))
    mid.fill(box(214, 20, 330, 27, 2), hexa("#b98155"))
    mid.fill(box(528, 20, 620, 27, 2), hexa("#b98155"))
    for i, c in enumerate(("#e2705f", "#f4c151", "#6aa7c9", "#8cbf73", "#d98bb0")):
        x = 226 + i * 22
        mid.fill(box(x - 8, 2, x + 8, 20, 4), hexa(c))
        mid.flat(box(x - 6, -2, x + 6, 3, 2), hexa("#8a5f43"))
    for x in (545, 575, 605):
        mid.fill(oval(x, 6, 12, 13), hexa("#ffffff"), low=0.88)
        mid.line(oval(x, 6, 7, 8), hexa("#8fb9d6"), 2)
    mid.fill(box(262, 106, 312, 128, 8), hexa("#d85f55"))  # a pot on the stove
    mid.fill(box(256, 100, 318, 108, 4), hexa("#b84a43"))
    mid.flat(oval(287, 98, 5, 4), hexa("#3f3f46"))
    return {"mid": mid, "ground": _floor("#f4e3cd", "#dfc5a4", "#d99a7a", kind="tiles")}


def _library() -> dict[str, Sheet]:
    rng = np.random.default_rng(11)
    mid = _wall("#7d4f3c", "#6a4033")
    spines = ["#c95d4f", "#5e8fa8", "#e0b155", "#7fa36b", "#8d6aa3", "#d88a5f", "#4f7a74", "#eddcb8", "#b0566f"]
    for c in range(4):
        x0 = c * 160
        wide = 160 if c != 2 else 0
        if c == 2:
            mid.fill(box(x0, -60, x0 + 160, 190), hexa("#e9d3ac"), low=0.94)
            _pane(mid, x0 + 80, 62, 42, 62, hexa("#8a5f43"), arch=True)
            continue
        mid.fill(box(x0 + 4, -60, x0 + wide - 4, 178, 3), hexa("#5a3629"))
        for r in range(5):
            y = -8 + r * 37
            x = x0 + 10.0
            while x < x0 + 146:
                w, h = rng.uniform(6, 12), rng.uniform(21, 30)
                colour = hexa(spines[int(rng.integers(len(spines)))])
                mid.fill(box(x, y - h, x + w, y, 1.5), colour, low=0.88)
                mid.flat(box(x + 1, y - h + 5, x + w - 1, y - h + 7), mix(colour, WHITE, 0.5))
                x += w + 0.8
            mid.fill(box(x0 + 4, y, x0 + 156, y + 5), hexa("#a06f4e"))
    return {"mid": mid, "ground": _floor("#c08a62", "#9f6b49", "#83563c", kind="boards")}


def _bedroom() -> dict[str, Sheet]:
    mid = _wall("#cfd8f0", "#dfe0f4")
    for i in range(16):
        mid.flat(box(i * 40, -60, i * 40 + 20, 178), hexa("#c3cdea"), alpha=0.7)
    for x in (150, 470):
        _pane(mid, x, 50, 38, 42, WHITE)
        for k in (-1, 1):
            mid.fill(
                blob(
                    [(x + k * 62, -4), (x + k * 14, -4), (x + k * 26, 50), (x + k * 52, 108), (x + k * 62, 108)],
                    tension=0.35,
                ),
                hexa("#f6b7c1"),
            )
        mid.line(blob([(x - 68, -6), (x + 68, -6)], closed=False), hexa("#a5795a"), 5)
    for x, c in ((300, "#ffd98f"), (340, "#a9d6c5"), (590, "#f2a3a0")):
        mid.fill(box(x - 16, 20, x + 16, 58, 2), hexa("#fffaf2"))
        mid.flat(box(x - 12, 24, x + 12, 54), hexa(c))
        mid.line(box(x - 16, 20, x + 16, 58, 2), hexa("#b08462"), 3)
    mid.fill(box(0, 162, W, 178), WHITE, low=0.93)
    mid.fill(box(262, 96, 282, 178, 8), hexa("#b98155"))  # a bed
    mid.fill(box(392, 120, 408, 178, 8), hexa("#b98155"))
    mid.fill(box(268, 130, 402, 170, 10), hexa("#fffaf2"))
    mid.fill(blob([(300, 126), (360, 124), (404, 132), (406, 172), (300, 172)], tension=0.3), hexa("#7fa6d9"))
    mid.fill(box(276, 118, 312, 140, 10), hexa("#fffdf8"))
    for i, (x, y) in enumerate(((322, 142), (350, 154), (378, 140))):
        mid.flat(oval(x, y, 6, 6), hexa("#ffe08a") if i % 2 else hexa("#f6b7c1"))
    return {"mid": mid, "ground": _floor("#d9ad83", "#c3926a", "#a8764f", kind="boards")}


def _market() -> dict[str, Sheet]:
    rng = np.random.default_rng(13)
    far = _strip(20, 190)
    for i in range(7):
        w = W / 7
        c = hexa(["#f0d2b4", "#e6c4c0", "#d6d9c0", "#f2dcae", "#d7c8dd", "#c9d9dc", "#f0cfa5"][i])
        h = rng.uniform(80, 120)
        far.fill(box(i * w, 180 - h, i * w + w, 190), c)
        far.fill(polygon([(i * w - 3, 182 - h), (i * w + w / 2, 150 - h), (i * w + w + 3, 182 - h)]), shade(c, 0.82))
        _windows(far, i * w + 14, 192 - h, i * w + w - 14, 150, 2, 2, hexa("#a8bcc9"))
    mid = _strip(40, 190)
    goods = ["#e8574f", "#f5a742", "#8cc063", "#f6d34d", "#a06bb5"]
    for i in range(4):
        x = i * 160 + 20
        c = hexa(["#e0645a", "#4f9fb5", "#e9a53f", "#6faa6a"][i])
        for px in (x + 4, x + 112):
            mid.fill(box(px, 84, px + 6, 180), hexa("#9a6d4c"))
        for k in range(7):
            a, b = x - 6 + k * 19, x + 13 + k * 19
            mid.fill(
                blob([(a, 62), (b, 62), (b, 92), ((a + b) / 2, 101), (a, 92)], tension=0.25),
                c if k % 2 == 0 else hexa("#fff5e4"),
            )
        mid.fill(box(x - 4, 138, x + 128, 180, 3), hexa("#c28f60"))
        for k in range(4):
            mid.line(blob([(x - 2, 146 + k * 10), (x + 126, 146 + k * 10)], closed=False), hexa("#a57448"), 1.6)
        for k in range(3):
            cx = x + 20 + k * 42
            mid.fill(box(cx - 19, 128, cx + 19, 142, 3), hexa("#a9764c"))
            for m in range(7):
                mid.fill(
                    oval(cx - 14 + (m % 4) * 9.3 + (m // 4) * 4, 127 - (m // 4) * 8, 5.6, 5.6),
                    hexa(goods[(i * 3 + k) % 5]),
                )
    ground = _floor("#d9c6ae", "#bfa88d", "#a88f76", kind="stones")
    return {"far": far, "mid": mid, "ground": ground}


def _castle() -> dict[str, Sheet]:
    rng = np.random.default_rng(14)
    mid = _wall("#a9a3b8", "#8e88a3")
    for j in range(9):
        for i in range(13):
            if rng.uniform() < 0.5:
                x, y = (i + (j % 2) * 0.5) * W / 13, -58 + j * 27
                mid.fill(
                    box(x + 2, y + 2, x + 46, y + 24, 5), mix(hexa("#a9a3b8"), hexa("#c4bfd0"), rng.uniform(0.1, 0.7))
                )
    for x in (80, 400):
        _pane(mid, x, 60, 30, 56, hexa("#6f6a85"), arch=True)
    for x, c in ((240, "#b8434f"), (560, "#3f6fa8")):
        mid.fill(polygon([(x - 26, -10), (x + 26, -10), (x + 26, 96), (x, 76), (x - 26, 96)]), hexa(c))
        mid.line(blob([(x - 32, -10), (x + 32, -10)], closed=False), hexa("#d9b65f"), 6)
        mid.fill(polygon([(x, 8), (x + 14, 32), (x, 56), (x - 14, 32)]), hexa("#f2cf6e"), round_corners=4)
    for x in (160, 320, 490):
        mid.fill(box(x - 4, 84, x + 4, 116, 2), hexa("#6b4a36"))
        mid.radial(x, 76, 34, hexa("#ffd27a"), alpha=0.55)
        mid.fill(blob([(x, 56), (x + 9, 76), (x, 88), (x - 9, 76)]), hexa("#ffb53c"), to=hexa("#f4722b"))
    ground = _floor("#9b93a8", "#7b738c", "#6f6782", kind="stones")
    ground.fill(box(0, 196, W, 330), hexa("#a83f4c"), low=0.9)
    for y in (200, 244):
        ground.line(blob([(0, y), (W, y)], closed=False), hexa("#e3bd62"), 3.4)
    return {"mid": mid, "ground": ground}


def _cave() -> dict[str, Sheet]:
    rng = np.random.default_rng(15)
    far = _strip(-60, 190)
    far.fill(box(0, -60, W, 190), hexa("#4a4470"), to=hexa("#6d5f92"))
    for i in range(12):
        x, h = (i + rng.uniform(-0.3, 0.3)) * W / 12, rng.uniform(40, 100)
        far.fill(polygon([(x - 17, -60), (x + 17, -60), (x, -20 + h)]), hexa("#3e3961"), round_corners=6)
        x += 26
        far.fill(polygon([(x - 22, 190), (x + 22, 190), (x, 178 - h * 0.6)]), hexa("#5c5284"), round_corners=6)
    mid = _strip(-60, 190)
    for i in range(7):
        x, h = (i + rng.uniform(-0.3, 0.3)) * W / 7, rng.uniform(50, 92)
        mid.fill(polygon([(x - 24, -60), (x + 24, -60), (x + 2, h - 40)]), hexa("#2f2b4d"), round_corners=8)
    for i in range(8):
        x = (i + rng.uniform(0.1, 0.6)) * W / 8
        c = hexa(["#62d9d3", "#c58bf2", "#7fb4ff", "#ff9fd0"][i % 4])
        mid.radial(x, 158, 40, c, alpha=0.4)
        for d, h, a in ((-10, 24, -16), (0, 40, 0), (10, 28, 14)):
            with mid.moved(x + d, 180, angle=a):
                mid.tile = False
                mid.fill(
                    polygon([(-6, 0), (-7, -h * 0.7), (0, -h), (7, -h * 0.7), (6, 0)]),
                    mix(c, WHITE, 0.25),
                    to=shade(c, 0.75),
                )
                mid.flat(polygon([(-6, 0), (-7, -h * 0.7), (0, -h), (-1, 0)]), WHITE, alpha=0.25)
                mid.tile = True
    ground = _ground("#7a6b97", "#574c7a", 17, wavy=4, edge="#8b7ba8")
    for _ in range(22):
        x, y, k = rng.uniform(0, W), rng.uniform(FLOOR + 8, 252), rng.uniform(4, 11)
        ground.fill(
            blob([(x - k, y), (x - k * 0.5, y - k * 0.7), (x + k * 0.6, y - k * 0.6), (x + k, y)]), hexa("#695c8a")
        )
    return {"far": far, "mid": mid, "ground": ground}


PLACES: dict[str, Callable[[], dict[str, Sheet]]] = {
    "forest": _forest,
    "beach": _beach,
    "city": _city,
    "village": _village,
    "desert": _desert,
    "mountain": _mountain,
    "meadow": _meadow,
    "harbour": _harbour,
    "kitchen": _kitchen,
    "library": _library,
    "bedroom": _bedroom,
    "market": _market,
    "castle": _castle,
    "cave": _cave,
}
