"""The heroes' bodies, limbs and tails. Units: 320 to a hero's height; see `brush` for zones."""

from __future__ import annotations

import math

from storyland_atlas.brush import LINE, MAIN, SECOND, Sheet, blob, mirrored, oval
from storyland_atlas.ears import outlined
from storyland_atlas.heads import FX

BODIES: dict[str, tuple[float, float, float]] = {  # half width, height, length of the legs
    "little": (45, 80, 40),
    "tall": (44, 126, 64),
    "round": (68, 104, 42),
}


def draw_body(build: str, pattern: str) -> Sheet:
    """A trunk; the anchor is the middle of its lower edge."""
    w, h, _ = BODIES[build]
    s = Sheet(-80, -140, 80, 20)
    path = blob(mirrored([(0, -h), (w * 0.62, -h * 0.92), (w * 0.96, -h * 0.42), (w * 0.86, 2), (0, 14)]))
    s.fill(path, MAIN, low=0.84)
    with s.inside(path):
        if pattern == "plain":
            s.fill(oval(FX, -h * 0.34, w * 0.62, h * 0.42), SECOND, low=0.92)
        elif pattern == "striped":
            n = 3 if h < 120 else 4
            for i in range(n):
                y = -h * 0.78 + i * h * 0.86 / n
                s.line(blob([(-w * 1.1, y - 5), (0, y + 7), (w * 1.1, y - 5)], closed=False), SECOND, h * 0.14)
        elif pattern == "spotted":
            for x, y, r in (
                (-0.56, -0.66, 15),
                (0.36, -0.62, 16),
                (-0.1, -0.3, 16),
                (0.66, -0.22, 15),
                (-0.72, -0.06, 14),
            ):
                s.flat(oval(x * w, y * h, r, r), SECOND)
        else:
            s.flat(blob([(w * 0.1, -h), (w * 1.2, -h), (w * 1.2, -h * 0.2), (w * 0.3, -h * 0.36)]), SECOND)
            s.flat(blob([(-w * 1.2, -h * 0.42), (-w * 0.3, -h * 0.3), (-w * 0.2, 20), (-w * 1.2, 20)]), SECOND)
    s.line(path, LINE, 4)
    return s


def draw_arm() -> Sheet:
    """An arm that hangs down from its shoulder, the anchor."""
    s = Sheet(-20, -18, 20, 78)
    path = blob([(-11, -4), (0, -14), (11, -4), (13, 40), (11, 62), (0, 70), (-11, 62), (-13, 40)])
    s.fill(path, MAIN, low=0.84)
    s.line(path, LINE, 4)
    return s


def draw_leg() -> Sheet:
    """A leg of 60 units with its foot, hanging from the hip, the anchor."""
    s = Sheet(-24, -18, 36, 72)
    path = blob([(-15, -8), (0, -14), (15, -8), (15, 34), (28, 48), (26, 62), (0, 64), (-16, 60), (-15, 30)])
    s.fill(path, MAIN, low=0.8)
    s.line(path, LINE, 4)
    return s


def draw_tail(species: str) -> Sheet | None:
    """A tail that leaves the hip, the anchor, to the left; None for those who show none."""
    s = Sheet(-130, -110, 24, 50)
    if species == "fox":
        path = blob([(0, -10), (-40, -18), (-74, -62), (-112, -84), (-108, -34), (-76, 8), (-36, 22), (0, 12)])
        outlined(s, path)
        with s.inside(path):
            s.flat(oval(-112, -74, 34, 36), SECOND)
        s.line(path)
    elif species == "cat":
        path = blob([(0, 0), (-44, 4), (-66, -30), (-62, -70), (-84, -94)], closed=False)
        s.line(path, LINE, 22)
        s.line(path, MAIN, 15)
    elif species == "mouse":
        path = blob([(0, 4), (-44, 14), (-66, -14), (-96, -20), (-110, -54)], closed=False)
        s.line(path, LINE, 11)
        s.line(path, SECOND, 6)
    elif species == "dog":
        path = blob([(0, 0), (-36, -10), (-56, -44), (-60, -74)], closed=False)
        s.line(path, LINE, 24)
        s.line(path, MAIN, 17)
    elif species == "pig":
        path = blob([(0, 0), (-20, -12), (-32, 4), (-20, 12), (-12, -4), (-34, -20), (-48, -10)], closed=False)
        s.line(path, LINE, 11)
        s.line(path, MAIN, 6)
    elif species == "rabbit":
        puff = blob(
            [
                (
                    -8 + (26 + 4 * (i % 2)) * math.cos(i * math.pi / 8),
                    -2 + (26 + 4 * (i % 2)) * math.sin(i * math.pi / 8),
                )
                for i in range(16)
            ]
        )
        s.fill(puff, SECOND, low=0.9)
        s.line(puff, LINE, 3)
    elif species in ("bear", "penguin"):
        outlined(s, oval(-10, -2, 20, 17))
    else:
        return None
    return s
