"""Places under the open sky: strips by name, from `far` to `ground`."""

from __future__ import annotations

import math

import numpy as np

from storyland_atlas.brush import Colour, Sheet, blob, box, hexa, mix, oval, polygon, shade
from storyland_atlas.terrain import (
    FLOOR,
    WHITE,
    W,
    floor_strip,
    ground_strip,
    hill,
    pine,
    ridge,
    strip,
    tree,
    tufts,
    windows,
)


def forest() -> dict[str, Sheet]:
    """Pines and round trees, mushrooms in the grass."""
    rng = np.random.default_rng(1)
    far = strip(40, 236)
    for i in range(22):
        pine(far, (i + rng.uniform(-0.3, 0.3)) * W / 22, 178, rng.uniform(0.8, 1.35), hexa("#a9cdb4"), hexa("#9bb8a0"))
    hill(far, ridge(rng, 158, 5, 8), hexa("#9cc5a3"), 236)
    mid = strip(-30, 236)
    for i in range(9):
        x, k = (i + rng.uniform(-0.25, 0.25)) * W / 9, rng.uniform(1.25, 1.75)
        (tree if i % 2 else pine)(mid, x, 176, k, hexa("#5fa573") if i % 2 else hexa("#4b9170"), hexa("#7c5a48"))
    for _ in range(14):
        mid.fill(oval(rng.uniform(0, W), 172, rng.uniform(16, 30), rng.uniform(10, 17)), hexa("#579a68"))
    hill(mid, ridge(rng, 174, 2, 6), hexa("#6aa863"), 236)
    ground = ground_strip("#8cc474", "#6fae63", 3, edge="#7ab867")
    tufts(ground, rng, hexa("#5c9c55"), 46)
    for _ in range(12):
        x, y = rng.uniform(0, W), rng.uniform(FLOOR + 10, 250)
        ground.fill(box(x - 2, y - 7, x + 2, y), hexa("#fff2dd"))
        ground.fill(blob([(x - 7, y - 6), (x, y - 14), (x + 7, y - 6)]), hexa("#e2574c"))
    return {"far": far, "mid": mid, "ground": ground}


def waves(s: Sheet, top: float, bottom: float, colours: tuple[str, str]) -> None:
    """Water with small crests."""
    s.fill(box(0, top, W, bottom), hexa(colours[0]), to=hexa(colours[1]))
    rng = np.random.default_rng(5)
    for _ in range(26):
        x, y = rng.uniform(0, W), rng.uniform(top + 4, bottom - 6)
        k = 7 + 14 * (y - top) / (bottom - top)
        s.line(blob([(x - k, y), (x, y - 2), (x + k, y)], closed=False), WHITE, 1.8, alpha=0.55)


def beach() -> dict[str, Sheet]:
    """Sea, foam and sand with shells."""
    rng = np.random.default_rng(2)
    far = strip(96, 236)
    waves(far, 112, 236, ("#6cc5d9", "#3fa9c9"))
    mid = strip(132, 236)
    hill(mid, ridge(rng, 160, 3, 7), hexa("#d8f3f2"), 236)
    hill(mid, ridge(rng, 164, 3, 7), hexa("#f3dfae"), 236)
    ground = ground_strip("#f9e6b4", "#efd291", 4)
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


def city() -> dict[str, Sheet]:
    """A street of shops before paler houses."""
    rng = np.random.default_rng(3)
    far = strip(-10, 236)
    x = 0.0
    for i in range(14):
        w = W / 14
        h = rng.uniform(60, 130)
        c = mix(hexa("#b7c6dd"), hexa("#cbb9d6"), rng.uniform())
        far.fill(box(x, 178 - h, x + w + 1, 236), c)
        windows(far, x + 4, 184 - h, x + w - 4, 170, 3, int(h / 16), mix(c, WHITE, 0.4))
        x += w
        del i
    mid = strip(0, 236)
    mid.fill(box(0, 168, W, 236), hexa("#cfc7c0"))
    colours = ["#e58f74", "#f2c879", "#8fb7c9", "#d9818f", "#9fbf93", "#b79bc9"]
    for i in range(6):
        w = W / 6
        x, h, c = i * w, rng.uniform(98, 142), hexa(colours[i])
        mid.fill(box(x + 2, 178 - h, x + w - 2, 236, 4), c)
        mid.fill(box(x - 1, 174 - h, x + w + 1, 183 - h, 3), shade(c, 0.78))
        windows(mid, x + 8, 186 - h, x + w - 8, 128, 3, max(1, int((h - 50) / 30)), hexa("#fdf3d0"))
        mid.fill(box(x + 10, 136, x + w * 0.55, 168, 3), hexa("#cfe7ea"))
        mid.fill(box(x + w * 0.64, 134, x + w - 12, 178, 3), shade(c, 0.55))
        stripes = 6
        for k in range(stripes):
            a, b = x + 6 + k * (w * 0.58 - 2) / stripes, x + 6 + (k + 1) * (w * 0.58 - 2) / stripes
            mid.flat(polygon([(a, 126), (b, 126), (b, 140), (a, 140)]), hexa("#fff6e8") if k % 2 else shade(c, 0.7))
    ground = strip(FLOOR - 14, 330)
    ground.fill(box(0, FLOOR, W, 206), hexa("#d9d2cb"), low=0.96)
    for i in range(16):
        ground.line(blob([(i * 40, FLOOR), (i * 40 - 12, 206)], closed=False), hexa("#c2b9b1"), 1.6)
    ground.flat(box(0, 204, W, 211), hexa("#a8a09c"))
    ground.fill(box(0, 210, W, 330), hexa("#7b7f8c"), low=0.85)
    for i in range(8):
        ground.flat(box(i * 80 + 10, 238, i * 80 + 50, 243, 2), hexa("#f4ead0"))
    return {"far": far, "mid": mid, "ground": ground}


def house(s: Sheet, x: float, y: float, k: float, wall: Colour, roof: Colour) -> None:
    """A cottage with a roof, a door and two windows; (x, y) is the middle of its lower edge."""
    s.fill(box(x - 34 * k, y - 48 * k, x + 34 * k, y, 3), wall, low=0.92)
    s.fill(box(x + 14 * k, y - 92 * k, x + 24 * k, y - 60 * k, 2), shade(roof, 0.75))
    s.fill(polygon([(x - 44 * k, y - 44 * k), (x, y - 92 * k), (x + 44 * k, y - 44 * k)]), roof, round_corners=6 * k)
    s.fill(box(x - 9 * k, y - 28 * k, x + 9 * k, y, 7 * k), hexa("#8a5a44"))
    for d in (-22, 22):
        s.fill(box(x + (d - 7) * k, y - 36 * k, x + (d + 7) * k, y - 22 * k, 2), hexa("#fdf0c4"), low=0.95)
        s.line(box(x + (d - 7) * k, y - 36 * k, x + (d + 7) * k, y - 22 * k, 2), hexa("#8a6a55"), 1.6 * k)


def village() -> dict[str, Sheet]:
    """Cottages with fences on a green, and a path."""
    rng = np.random.default_rng(4)
    far = strip(70, 236)
    hill(far, ridge(rng, 112, 16, 5), hexa("#bcd9b0"), 236)
    hill(far, ridge(rng, 138, 10, 7), hexa("#a3cc98"), 236)
    mid = strip(20, 236)
    hill(mid, ridge(rng, 172, 3, 6), hexa("#93c276"), 236)
    walls = ["#fbe9cf", "#f5d3c0", "#e8ecd9", "#fdeeda", "#e7dcee"]
    roofs = ["#d9705c", "#5f94a8", "#c98a4b", "#8f6aa1", "#6a9a6d"]
    for i in range(5):
        x = (i + 0.5) * W / 5
        tree(mid, x + 58, 176, 1.0, hexa("#7db574"), hexa("#8a6249"))
        house(mid, x, 178, rng.uniform(1.2, 1.5), hexa(walls[i]), hexa(roofs[i]))
        for d in range(-3, 4):
            mid.fill(box(x + 58 + d * 8 - 2.5, 160, x + 58 + d * 8 + 2.5, 180, 2), hexa("#fff6e6"))
        mid.flat(box(x + 30, 166, x + 86, 170), hexa("#fff6e6"))
    ground = ground_strip("#a5cf83", "#86b96d", 6, edge="#93c276")
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
    tufts(ground, rng, hexa("#74a85f"), 26)
    return {"far": far, "mid": mid, "ground": ground}


def desert() -> dict[str, Sheet]:
    """Red mesas, dunes and stones."""
    rng = np.random.default_rng(5)
    far = strip(50, 236)
    for x, w, h in ((90, 70, 74), (300, 54, 92), (330, 90, 52), (540, 76, 66)):
        mesa = polygon([(x - w, 236), (x - w * 0.72, 176 - h), (x + w * 0.72, 176 - h), (x + w, 236)])
        far.fill(mesa, hexa("#dd9a76"), to=hexa("#e9b48c"), round_corners=8)
        for k in (0.3, 0.52):
            far.line(
                blob([(x - w * 0.76, 176 - h * (1 - k)), (x + w * 0.76, 176 - h * (1 - k))], closed=False),
                hexa("#c9805f"),
                3,
                alpha=0.5,
            )
    mid = strip(110, 236)
    hill(mid, ridge(rng, 148, 13, 5), hexa("#f0c58b"), 236)
    hill(mid, ridge(rng, 162, 8, 6), hexa("#eab877"), 236)
    ground = ground_strip("#f5d296", "#e6b36d", 8)
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


def mountain() -> dict[str, Sheet]:
    """Snowy peaks and pines."""
    rng = np.random.default_rng(6)
    far = strip(-10, 236)
    peaks = [(40, 62, 105), (170, 24, 130), (310, 70, 100), (430, 16, 135), (565, 52, 110)]
    for x, y, w in peaks:
        far.fill(polygon([(x - w, 236), (x, y), (x + w, 236)]), hexa("#8fa5cc"), to=hexa("#b9c9e2"), round_corners=8)
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
    mid = strip(40, 236)
    hill(mid, ridge(rng, 146, 9, 5), hexa("#dce9f5"), 236)
    for i in range(10):
        pine(
            mid,
            (i + rng.uniform(-0.3, 0.3)) * W / 10,
            174,
            rng.uniform(0.8, 1.25),
            hexa("#4f8a86"),
            hexa("#74604f"),
            snow=True,
        )
    ground = ground_strip("#f7fbff", "#d3e2f2", 10, wavy=5)
    for _ in range(16):
        x, y = rng.uniform(0, W), rng.uniform(FLOOR + 10, 252)
        ground.line(blob([(x - 24, y), (x, y - 4), (x + 24, y)], closed=False), hexa("#b9cfe6"), 2.2, alpha=0.8)
    return {"far": far, "mid": mid, "ground": ground}


def meadow() -> dict[str, Sheet]:
    """Hills and flowers."""
    rng = np.random.default_rng(7)
    far = strip(70, 236)
    hill(far, ridge(rng, 110, 18, 4), hexa("#c6e3a8"), 236)
    hill(far, ridge(rng, 136, 13, 5), hexa("#addb93"), 236)
    mid = strip(110, 236)
    hill(mid, ridge(rng, 158, 7, 6), hexa("#94cf7d"), 236)
    for i in range(60):
        x, y = rng.uniform(0, W), rng.uniform(163, 182)
        mid.flat(oval(x, y, 2.6, 2.6), hexa(["#fff7d6", "#ff9fb4", "#c9a2ea", "#ffd257"][i % 4]))
    ground = ground_strip("#9bd67c", "#76bd62", 12)
    tufts(ground, rng, hexa("#5fa950"), 50, size=9)
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


def harbour() -> dict[str, Sheet]:
    """A pier with bollards, and a lighthouse."""
    far = strip(30, 236)
    waves(far, 112, 236, ("#79b7cf", "#3d86ad"))
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
    mid = strip(110, 236)
    for i in range(8):
        x = i * 80 + 20
        mid.fill(box(x - 5, 138, x + 5, 236, 3), hexa("#7d5a48"))
        mid.fill(box(x - 7, 134, x + 7, 142, 3), hexa("#f2e8d8"))
        mid.line(blob([(x, 150), (x + 40, 164), (x + 80, 150)], closed=False), hexa("#c9a578"), 3)
    ground = strip(FLOOR - 14, 330)
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


def market() -> dict[str, Sheet]:
    """Stalls with fruit before old houses."""
    rng = np.random.default_rng(13)
    far = strip(20, 236)
    for i in range(7):
        w = W / 7
        c = hexa(["#f0d2b4", "#e6c4c0", "#d6d9c0", "#f2dcae", "#d7c8dd", "#c9d9dc", "#f0cfa5"][i])
        h = rng.uniform(80, 120)
        far.fill(box(i * w, 180 - h, i * w + w, 236), c)
        far.fill(polygon([(i * w - 3, 182 - h), (i * w + w / 2, 150 - h), (i * w + w + 3, 182 - h)]), shade(c, 0.82))
        windows(far, i * w + 14, 192 - h, i * w + w - 14, 150, 2, 2, hexa("#a8bcc9"))
    mid = strip(40, 236)
    mid.fill(box(0, 172, W, 236), hexa("#cbb79f"))
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
    ground = floor_strip("#d9c6ae", "#bfa88d", "#a88f76", kind="stones")
    return {"far": far, "mid": mid, "ground": ground}
