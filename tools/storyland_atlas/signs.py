"""Signs beside a head that tell what somebody does, as comics do: poses of ten pixels do not."""

from __future__ import annotations

import math
from collections.abc import Callable

import skia

from storyland_atlas.brush import Colour, Point, Sheet, blob, box, hexa, oval, polygon, shade

_WHITE: Colour = (255.0, 255.0, 255.0)


def _star(cx: float, cy: float, radius: float, points: int, inner: float, turn: float = 0.0) -> skia.Path:
    corners: list[Point] = []
    for i in range(2 * points):
        r = radius if i % 2 == 0 else radius * inner
        angle = math.radians(turn - 90 + 180 * i / points)
        corners.append((cx + r * math.cos(angle), cy + r * math.sin(angle)))
    return polygon(corners)


def _rimmed(s: Sheet, path: skia.Path, colour: Colour, rim: float = 12.0) -> None:
    s.line(path, _WHITE, rim)
    s.fill(path, colour, low=0.9)


def _strokes(s: Sheet, strokes: list[skia.Path], colour: Colour, width: float, rim: float = 11.0) -> None:
    for path in strokes:
        s.line(path, _WHITE, width + rim)
    for path in strokes:
        s.line(path, colour, width)


def _hi() -> Sheet:
    s = Sheet(-66, -56, 66, 66)
    tail = polygon([(-46, 20), (-58, 58), (-12, 34)])
    bubble = box(-60, -50, 60, 38, 34)
    for path in (tail, bubble):
        s.line(path, hexa("#3566b8"), 9)
    for path in (tail, bubble):
        s.flat(path, _WHITE)
    ink, width = hexa("#2459b5"), 13.0
    for a, b in (((-38, -30), (-38, 18)), ((-10, -30), (-10, 18)), ((-38, -6), (-10, -6)), ((12, -6), (12, 18))):
        s.line(blob([a, b], closed=False), ink, width)
    s.flat(oval(12, -27, 8, 8), ink)
    s.line(blob([(36, -30), (36, 2)], closed=False), hexa("#e5484d"), width)
    s.flat(oval(36, 18, 8, 8), hexa("#e5484d"))
    return s


def _note() -> Sheet:
    s = Sheet(-58, -62, 58, 58)
    ink = hexa("#d6409f")
    stems = [blob([(-16, 30), (-16, -38)], closed=False), blob([(38, 20), (38, -48)], closed=False)]
    beam = polygon([(-16, -38), (38, -48), (38, -26), (-16, -16)])
    heads = [oval(-30, 32, 19, 15), oval(24, 22, 19, 15)]
    for path in (*heads, beam, *stems):
        s.line(path, _WHITE, 22)
    for path in (*heads, beam):
        s.flat(path, ink)
    for path in stems:
        s.line(path, ink, 11)
    return s


def _stars() -> Sheet:
    s = Sheet(-66, -62, 66, 62)
    for x, y, r, turn, colour in (
        (-22, 16, 40, 8, "#ffb224"),
        (34, -28, 27, -10, "#ff8a3d"),
        (40, 38, 19, 14, "#ffb224"),
    ):
        _rimmed(s, _star(x, y, r, 5, 0.48, turn), hexa(colour))
    return s


def _burst() -> Sheet:
    s = Sheet(-66, -66, 66, 66)
    _rimmed(s, _star(0, 0, 58, 9, 0.56, 6), hexa("#e5393f"))
    s.flat(_star(0, 0, 34, 9, 0.56, 6), hexa("#ffd84d"))
    return s


def _question() -> Sheet:
    s = Sheet(-50, -66, 50, 66)
    hook = blob([(-26, -30), (-14, -50), (10, -52), (27, -34), (18, -10), (2, 2), (0, 20)], closed=False)
    ink = hexa("#7a3fc9")
    dot = oval(0, 46, 11, 11)
    s.line(dot, _WHITE, 14)
    _strokes(s, [hook], ink, 19, 14)
    s.flat(dot, ink)
    return s


def _heart() -> Sheet:
    s = Sheet(-62, -56, 62, 62)
    path = skia.Path()
    path.moveTo(0, 50)
    path.cubicTo(-74, 0, -50, -56, 0, -20)
    path.cubicTo(50, -56, 74, 0, 0, 50)
    path.close()
    _rimmed(s, path, hexa("#f0436a"))
    s.flat(oval(-24, -14, 8, 11), _WHITE, alpha=0.7)
    return s


def _zzz() -> Sheet:
    s = Sheet(-62, -66, 62, 62)
    ink = hexa("#4a6fd8")
    for x, y, r, width in ((-36, 36, 13, 10.0), (-4, 4, 19, 13.0), (34, -32, 24, 16.0)):
        corners = [(x - r, y - r), (x + r, y - r), (x - r, y + r), (x + r, y + r)]
        lines = [blob([corners[a], corners[b]], closed=False) for a, b in ((0, 1), (1, 2), (2, 3))]
        _strokes(s, lines, ink, width, 10)
    return s


def _bolt() -> Sheet:
    s = Sheet(-56, -66, 56, 66)
    path = polygon([(16, -56), (-40, 10), (-4, 10), (-18, 56), (42, -16), (4, -16)])
    s.line(path, _WHITE, 16)
    s.fill(path, hexa("#1fb5e8"), low=0.9)
    return s


def _cushion() -> Sheet:
    s = Sheet(-112, -36, 112, 36)
    right = [(76, -30), (106, -24), (98, 2), (106, 26), (76, 31)]
    whole = blob([(0, -28), *right, (0, 33), *((-x, y) for x, y in reversed(right))])
    s.fill(whole, hexa("#d94f70"), low=0.8)
    s.line(blob([(-92, 2), (0, 8), (92, 2)], closed=False), hexa("#f6b4c4"), 6)
    s.line(whole, shade(hexa("#d94f70"), 0.55), 5)
    for x in (-106, 106):
        s.flat(oval(x * 0.96, 0, 9, 9), hexa("#ffd84d"))
    return s


def _puffs() -> Sheet:
    s = Sheet(-130, -70, 30, 16)
    for x, y, r in ((-4, -16, 17), (-44, -24, 25), (-94, -30, 32)):
        turns = [(math.tau * i / 10, r if i % 2 else 0.84 * r) for i in range(10)]
        puff = blob([(x + length * math.cos(a), y + 0.82 * length * math.sin(a)) for a, length in turns])
        s.line(puff, hexa("#8d8497"), 6)
        s.fill(puff, _WHITE, low=0.88)
    return s


SIGNS: dict[str, Callable[[], Sheet]] = {
    "hi": _hi,
    "note": _note,
    "stars": _stars,
    "burst": _burst,
    "question": _question,
    "heart": _heart,
    "zzz": _zzz,
    "bolt": _bolt,
    "cushion": _cushion,
    "puffs": _puffs,
}
"""By name; (0, 0) is the middle of a sign, of a cushion where it lies, of puffs where the feet are."""
