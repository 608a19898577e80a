"""Places under a roof: strips by name. Window panes are holes: the sky is behind them."""

from __future__ import annotations

import numpy as np

from storyland_atlas.brush import Sheet, blob, box, hexa, mix, oval, polygon, shade
from storyland_atlas.terrain import (
    FLOOR,
    WHITE,
    W,
    floor_strip,
    ground_strip,
    pane,
    strip,
    wall,
)


def kitchen() -> dict[str, Sheet]:
    """Cupboards, shelves and windows with curtains."""
    mid = wall("#fbe7c6", "#f7d9b0")
    for i in range(16):
        mid.flat(box(i * 40, 92, i * 40 + 20, 130), hexa("#dff0ec"))
        mid.flat(box(i * 40 + 20, 92, i * 40 + 40, 130), hexa("#c7e4df"))
    for x in (110, 430):
        pane(mid, x, 48, 40, 34, hexa("#ffffff"))
        for k in (-1, 1):
            mid.fill(
                blob([(x + k * 52, 6), (x + k * 10, 8), (x + k * 34, 40), (x + k * 50, 84)], tension=0.4),
                hexa("#f08a7c"),
            )
    mid.fill(box(0, 126, W, 135), hexa("#b98155"))
    mid.fill(box(0, 135, W, 236), hexa("#7fb5ae"))
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
    return {"mid": mid, "ground": floor_strip("#f4e3cd", "#dfc5a4", "#d99a7a", kind="tiles")}


def library() -> dict[str, Sheet]:
    """Shelves of books and an arched window."""
    rng = np.random.default_rng(11)
    mid = wall("#7d4f3c", "#6a4033")
    spines = ["#c95d4f", "#5e8fa8", "#e0b155", "#7fa36b", "#8d6aa3", "#d88a5f", "#4f7a74", "#eddcb8", "#b0566f"]
    for c in range(4):
        x0 = c * 160
        wide = 160 if c != 2 else 0
        if c == 2:
            mid.fill(box(x0, -60, x0 + 160, 236), hexa("#e9d3ac"), low=0.94)
            pane(mid, x0 + 80, 62, 42, 62, hexa("#8a5f43"), arch=True)
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
    return {"mid": mid, "ground": floor_strip("#c08a62", "#9f6b49", "#83563c", kind="boards")}


def bedroom() -> dict[str, Sheet]:
    """A bed, pictures and windows."""
    mid = wall("#cfd8f0", "#dfe0f4")
    for i in range(16):
        mid.flat(box(i * 40, -60, i * 40 + 20, 178), hexa("#c3cdea"), alpha=0.7)
    for x in (150, 470):
        pane(mid, x, 50, 38, 42, WHITE)
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
    return {"mid": mid, "ground": floor_strip("#d9ad83", "#c3926a", "#a8764f", kind="boards")}


def castle() -> dict[str, Sheet]:
    """A hall of stone with banners, torches and a red carpet."""
    rng = np.random.default_rng(14)
    mid = wall("#a9a3b8", "#8e88a3")
    for j in range(9):
        for i in range(13):
            if rng.uniform() < 0.5:
                x, y = (i + (j % 2) * 0.5) * W / 13, -58 + j * 27
                mid.fill(
                    box(x + 2, y + 2, x + 46, y + 24, 5), mix(hexa("#a9a3b8"), hexa("#c4bfd0"), rng.uniform(0.1, 0.7))
                )
    for x in (80, 400):
        pane(mid, x, 60, 30, 56, hexa("#6f6a85"), arch=True)
    for x, c in ((240, "#b8434f"), (560, "#3f6fa8")):
        mid.fill(polygon([(x - 26, -10), (x + 26, -10), (x + 26, 96), (x, 76), (x - 26, 96)]), hexa(c))
        mid.line(blob([(x - 32, -10), (x + 32, -10)], closed=False), hexa("#d9b65f"), 6)
        mid.fill(polygon([(x, 8), (x + 14, 32), (x, 56), (x - 14, 32)]), hexa("#f2cf6e"), round_corners=4)
    for x in (160, 320, 490):
        mid.fill(box(x - 4, 84, x + 4, 116, 2), hexa("#6b4a36"))
        mid.radial(x, 76, 34, hexa("#ffd27a"), alpha=0.55)
        mid.fill(blob([(x, 56), (x + 9, 76), (x, 88), (x - 9, 76)]), hexa("#ffb53c"), to=hexa("#f4722b"))
    ground = floor_strip("#9b93a8", "#7b738c", "#6f6782", kind="stones")
    ground.fill(box(0, 196, W, 330), hexa("#a83f4c"), low=0.9)
    for y in (200, 244):
        ground.line(blob([(0, y), (W, y)], closed=False), hexa("#e3bd62"), 3.4)
    return {"mid": mid, "ground": ground}


def cave() -> dict[str, Sheet]:
    """Rock and shining crystals."""
    rng = np.random.default_rng(15)
    far = strip(-60, 236)
    far.fill(box(0, -60, W, 236), hexa("#4a4470"), to=hexa("#6d5f92"))
    for i in range(12):
        x, h = (i + rng.uniform(-0.3, 0.3)) * W / 12, rng.uniform(40, 100)
        far.fill(polygon([(x - 17, -60), (x + 17, -60), (x, -20 + h)]), hexa("#3e3961"), round_corners=6)
        x += 26
        far.fill(polygon([(x - 22, 236), (x + 22, 236), (x, 178 - h * 0.6)]), hexa("#5c5284"), round_corners=6)
    mid = strip(-60, 236)
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
    ground = ground_strip("#7a6b97", "#574c7a", 17, wavy=4, edge="#8b7ba8")
    for _ in range(22):
        x, y, k = rng.uniform(0, W), rng.uniform(FLOOR + 8, 252), rng.uniform(4, 11)
        ground.fill(
            blob([(x - k, y), (x - k * 0.5, y - k * 0.7), (x + k * 0.6, y - k * 0.6), (x + k, y)]), hexa("#695c8a")
        )
    return {"far": far, "mid": mid, "ground": ground}
