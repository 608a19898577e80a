"""The heroes' heads and faces. Units: 320 to a hero's height; see `brush` for zones."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import skia

from storyland_atlas import ears
from storyland_atlas.brush import (
    LINE,
    MAIN,
    SECOND,
    Colour,
    Point,
    Sheet,
    blob,
    box,
    hexa,
    mirrored,
    oval,
    shade,
)
from storyland_atlas.ears import both_sides

PATTERNS = ("plain", "striped", "spotted", "patched")
FX = 7.0  # heads look a little to the right: features are shifted by this much
DARK = hexa("#3b2a2f")
WHITE = (255.0, 255.0, 255.0)
BLUSH = hexa("#ff7d86")
BEAK = hexa("#ffb23e")


@dataclass(frozen=True)
class HeadPlan:
    """What makes a species' head.

    Attributes:
        outline: the right half, from the top middle down to the chin.
        ears: draws what lies behind the head.
        front: draws what lies on it, below the face: muzzle, facial disc.
        eyes: (half distance, y, size).
        snout: draws nose and mouth on the face; takes whether the mouth is open.
    """

    outline: tuple[Point, ...]
    ears: Callable[[Sheet], None]
    front: Callable[[Sheet], None]
    eyes: tuple[float, float, float]
    snout: Callable[[Sheet, bool], None]


# ---- muzzles and discs ----------------------------------------------------------------------------------------------


def _muzzle(rx: float, ry: float, y: float) -> Callable[[Sheet], None]:
    def front(s: Sheet) -> None:
        s.fill(oval(FX, y, rx, ry), SECOND, low=0.93)

    return front


def _fox_cheeks(s: Sheet) -> None:
    s.fill(blob([(FX, 6), (40, 4), (82, 22), (60, 52), (FX, 70), (-50, 52), (-78, 20), (-34, 6)]), SECOND, low=0.93)


def _owl_disc(s: Sheet) -> None:
    for x in (-32.0, 36.0):
        s.fill(oval(x, -4, 42, 43), SECOND, low=0.93)
    s.fill(blob([(2, -10), (34, 36), (2, 58), (-28, 36)]), SECOND, low=0.95)


def _penguin_mask(s: Sheet) -> None:
    s.fill(
        blob([(3, -22), (34, -46), (66, -22), (62, 28), (3, 66), (-56, 28), (-60, -22), (-28, -46)]), SECOND, low=0.93
    )


def _frog_chin(s: Sheet) -> None:
    s.fill(blob([(3, 24), (52, 18), (82, 22), (62, 58), (3, 72), (-58, 58), (-78, 22), (-46, 18)]), SECOND, low=0.93)


# ---- noses and mouths -----------------------------------------------------------------------------------------------


def _mouth(s: Sheet, x: float, y: float, open_: bool, *, wide: float = 15) -> None:
    if open_:
        gape = blob(
            [
                (x - wide * 0.8, y),
                (x, y - 1),
                (x + wide * 0.8, y),
                (x + wide * 0.5, y + 17),
                (x, y + 22),
                (x - wide * 0.5, y + 17),
            ]
        )
        s.flat(gape, hexa("#7a2c39"))
        with s.inside(gape):
            s.flat(oval(x, y + 20, wide * 0.55, 8), hexa("#ff8f8f"))
    else:
        for k in (-1, 1):
            s.line(blob([(x, y), (x + k * wide * 0.5, y + 6.5), (x + k * wide, y + 1)], closed=False), DARK, 3.6)


def _nosed(
    y: float, rx: float, ry: float, colour: Colour = DARK, *, wide: float = 15, whiskers: bool = False
) -> Callable[[Sheet, bool], None]:
    def snout(s: Sheet, open_: bool) -> None:
        if whiskers:
            for k in (-1, 1):
                for dy in (-5, 6):
                    s.line(
                        blob([(FX + k * 40, y + 10 + dy * 0.4), (FX + k * 86, y + 8 + dy * 1.6)], closed=False),
                        DARK,
                        2.4,
                        alpha=0.6,
                    )
        s.line(blob([(FX, y + ry), (FX, y + ry + 8)], closed=False), DARK, 3.4)
        _mouth(s, FX, y + ry + 8, open_, wide=wide)
        s.flat(
            blob(
                [
                    (FX - rx, y - ry * 0.5),
                    (FX, y - ry),
                    (FX + rx, y - ry * 0.5),
                    (FX + rx * 0.4, y + ry * 0.7),
                    (FX, y + ry),
                    (FX - rx * 0.4, y + ry * 0.7),
                ]
            ),
            colour,
        )
        s.flat(oval(FX - rx * 0.3, y - ry * 0.4, rx * 0.28, ry * 0.24), WHITE, alpha=0.75)

    return snout


def _rabbit_mouth(s: Sheet, open_: bool) -> None:
    _nosed(16, 10, 7, hexa("#f2788a"), wide=13)(s, open_)
    if not open_:
        s.fill(box(FX - 8, 36, FX + 8, 49, 3), WHITE, low=0.94)
        s.line(blob([(FX, 37), (FX, 48)], closed=False), DARK, 1.8, alpha=0.6)


def _pig_snout(s: Sheet, open_: bool) -> None:
    _mouth(s, FX, 48, open_, wide=13)
    s.fill(oval(FX, 24, 31, 22), hexa("#ffa9b4"), low=0.9)
    s.line(oval(FX, 24, 31, 22), hexa("#c76878"), 3)
    for k in (-1, 1):
        s.flat(oval(FX + k * 11, 24, 5.4, 8.5), hexa("#b0505f"))


def _frog_mouth(s: Sheet, open_: bool) -> None:
    if open_:
        gape = blob([(-38, 18), (FX, 23), (52, 18), (36, 48), (FX, 56), (-24, 48)])
        s.flat(gape, hexa("#7a2c39"))
        with s.inside(gape):
            s.flat(oval(FX, 56, 26, 16), hexa("#ff8f8f"))
    else:
        s.line(blob([(-54, 10), (-26, 25), (FX, 29), (40, 25), (68, 10)], closed=False), DARK, 4)
    for k in (-1, 1):
        s.flat(oval(FX + k * 7, 2, 2.6, 3.4), DARK, alpha=0.8)


def _beak(y: float, rx: float, ry: float) -> Callable[[Sheet, bool], None]:
    def snout(s: Sheet, open_: bool) -> None:
        if open_:
            s.fill(blob([(FX - rx * 0.8, y), (FX + rx * 0.8, y), (FX, y + ry * 2.3)], tension=0.35), hexa("#c9543f"))
        top = blob(
            [(FX - rx, y), (FX, y - ry * 0.9), (FX + rx, y), (FX, y + ry * (0.75 if open_ else 1.4))], tension=0.35
        )
        s.fill(top, BEAK, to=hexa("#f08a24"))
        s.line(top, hexa("#a85a1c"), 2.6)

    return snout


HEADS: dict[str, HeadPlan] = {
    "fox": HeadPlan(
        ((0, -66), (50, -56), (82, -12), (98, 26), (58, 56), (0, 72)),
        ears.pointed(54, (72, -116), 32, dark_tip=True),
        _fox_cheeks,
        (35, -12, 1.0),
        _nosed(27, 13, 10),
    ),
    "bear": HeadPlan(
        ((0, -72), (58, -58), (86, -6), (74, 48), (0, 72)),
        ears.round_ears(64, -58, 29),
        _muzzle(40, 29, 36),
        (36, -10, 1.0),
        _nosed(24, 16, 11),
    ),
    "cat": HeadPlan(
        ((0, -64), (56, -54), (90, -2), (78, 46), (0, 68)),
        ears.pointed(56, (76, -108), 30),
        _muzzle(33, 22, 34),
        (38, -10, 1.06),
        _nosed(22, 9, 7, hexa("#f2788a"), whiskers=True),
    ),
    "rabbit": HeadPlan(
        ((0, -66), (52, -56), (80, -6), (82, 36), (50, 64), (0, 70)),
        ears.long_ears,
        _muzzle(38, 25, 38),
        (35, -10, 1.0),
        _rabbit_mouth,
    ),
    "frog": HeadPlan(
        ((0, -50), (50, -48), (92, -8), (94, 30), (56, 62), (0, 70)),
        ears.frog_eyes,
        _frog_chin,
        (44, -54, 1.0),
        _frog_mouth,
    ),
    "owl": HeadPlan(
        ((0, -68), (52, -62), (84, -30), (86, 24), (56, 60), (0, 70)),
        ears.tufts,
        _owl_disc,
        (34, -6, 1.25),
        _beak(24, 13, 12),
    ),
    "mouse": HeadPlan(
        ((0, -58), (52, -50), (78, -4), (68, 42), (0, 70)),
        ears.round_ears(72, -56, 42, inner=0.7),
        _muzzle(27, 21, 40),
        (31, -6, 0.96),
        _nosed(32, 11, 9, hexa("#f2788a"), wide=12, whiskers=True),
    ),
    "dog": HeadPlan(
        ((0, -68), (52, -60), (76, -14), (76, 34), (44, 68), (0, 74)),
        ears.none,
        _muzzle(38, 32, 40),
        (32, -14, 1.0),
        _nosed(24, 18, 13, wide=18),
    ),
    "pig": HeadPlan(
        ((0, -66), (54, -56), (86, -6), (82, 42), (46, 66), (0, 70)),
        ears.folded_ears,
        ears.none,
        (36, -16, 0.95),
        _pig_snout,
    ),
    "penguin": HeadPlan(
        ((0, -74), (52, -62), (78, -14), (78, 36), (48, 64), (0, 68)),
        ears.none,
        _penguin_mask,
        (29, -12, 0.95),
        _beak(16, 18, 13),
    ),
}


def _head_pattern(s: Sheet, pattern: str, head: skia.Path, owl: bool) -> None:
    with s.inside(head):
        if pattern == "striped":
            for x, w, deep in ((0.0, 11.0, -30.0), (-32.0, 9.0, -36.0), (32.0, 9.0, -36.0)):
                s.flat(blob([(x - w, -86), (x + w, -86), (x * 0.8, deep)], tension=0.35), SECOND)
            for k in (-1, 1):
                for y in (-2.0, 30.0):
                    s.flat(blob([(k * 104, y - 13), (k * 104, y + 13), (k * 54, y + 4)], tension=0.3), SECOND)
        elif pattern == "spotted":
            dots = (
                (-44, -46, 15),
                (-4, -60, 14),
                (38, -48, 15),
                (-74, 2, 16),
                (74, 2, 16),
                (-60, 40, 12),
                (64, 38, 12),
            )
            for x, y, r in dots:
                s.flat(oval(x, y, r, r), SECOND)
        elif pattern == "patched":
            s.flat(
                blob(
                    [(-6, -46), (-22, -88), (-100, -80), (-104, 10), (-60, 28), (-22, 14)]
                    if not owl
                    else [(0, -50), (-10, -90), (-100, -80), (-104, -10), (-80, -20), (-40, -44)]
                ),
                SECOND,
            )


def draw_head(species: str, pattern: str) -> Sheet:
    """A head without its face; the anchor is its middle."""
    plan = HEADS[species]
    s = Sheet(-120, -160, 120, 84)
    plan.ears(s)
    if species == "frog":
        head = blob(mirrored(plan.outline))
        s.fill(head, MAIN, low=0.88)
        s.line(head, LINE, 4)
        both_sides(s, lambda: (s.fill(oval(44, -50, 30, 29), MAIN, low=0.96), None)[1])
    else:
        head = blob(mirrored(plan.outline))
        s.fill(head, MAIN, low=0.86)
    with s.inside(head):  # a soft light from the upper left
        s.radial(-30, -50, 66, shade(MAIN, 1.0), alpha=0.5)
    _head_pattern(s, pattern, head, species == "owl")
    plan.front(s)
    if species == "dog":
        ears.hanging_ears(s)
    if species != "frog":
        s.line(head, LINE, 4)
    return s


def _eye(s: Sheet, x: float, y: float, k: float, closed: bool) -> None:
    if closed:
        s.line(blob([(x - 14 * k, y - 1), (x, y + 8 * k), (x + 14 * k, y - 1)], closed=False), DARK, 5)
        return
    s.flat(oval(x, y, 17.5 * k, 20.5 * k), DARK)
    s.flat(oval(x, y, 15 * k, 18 * k), WHITE)
    s.flat(oval(x + 3.4 * k, y + 1, 10.5 * k, 13 * k), DARK)
    s.flat(oval(x + 0.2 * k, y - 5 * k, 4.2 * k, 4.8 * k), WHITE)
    s.flat(oval(x + 7 * k, y + 7 * k, 2.2 * k, 2.4 * k), WHITE, alpha=0.8)


def draw_face(species: str, kind: str) -> Sheet:
    """Eyes, nose and mouth in their own colours: kind is open, closed (asleep, blinking) or song (mouth open)."""
    plan = HEADS[species]
    dx, y, size = plan.eyes
    s = Sheet(-96, -96, 96, 84)
    for k in (-1, 1):
        s.radial(FX * 0.6 + k * 58, 26, 20, BLUSH, alpha=0.75)
    plan.snout(s, kind == "song")
    for k in (-1, 1):
        x = (0 if species == "frog" else FX * 0.7) + k * dx
        _eye(s, x, y, size * (0.95 if k == 1 and species != "frog" else 1.0), kind == "closed")
    return s
