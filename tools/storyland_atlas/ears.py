"""The heroes' ears, drawn behind their heads; each is for one or two species."""

from __future__ import annotations

from collections.abc import Callable

import skia

from storyland_atlas.brush import INK, LINE, MAIN, SECOND, Colour, Point, Sheet, blob, mix, oval


def outlined(s: Sheet, path: skia.Path, colour: Colour = MAIN, *, low: float = 0.88, width: float = 4.0) -> skia.Path:
    """A filled shape with its outline."""
    s.fill(path, colour, low=low)
    s.line(path, LINE, width)
    return path


def both_sides(s: Sheet, draw: Callable[[], None]) -> None:
    """Draw, and draw again mirrored."""
    draw()
    with s.moved(0, 0, sx=-1):
        draw()


def pointed(x: float, tip: Point, wide: float, *, dark_tip: bool = False) -> Callable[[Sheet], None]:
    """Triangles: fox, cat."""

    def ears(s: Sheet) -> None:
        def one() -> None:
            ear = blob(
                [(x - wide, -34), (x - wide * 0.55, -70), tip, (x + wide * 0.95, -58), (x + wide, -22)], tension=0.35
            )
            outlined(s, ear)
            with s.inside(ear):
                inner = blob([(x - wide * 0.5, -36), (tip[0] - 3, tip[1] + 20), (x + wide * 0.66, -34)], tension=0.3)
                s.flat(inner, SECOND, alpha=0.9)
                if dark_tip:
                    s.flat(oval(tip[0] + 1, tip[1] - 2, 30, 22), mix(INK, MAIN, 0.2))
            s.line(ear)

        both_sides(s, one)

    return ears


def round_ears(x: float, y: float, r: float, *, inner: float = 0.6) -> Callable[[Sheet], None]:
    """Discs: bear, mouse."""

    def ears(s: Sheet) -> None:
        def one() -> None:
            outlined(s, oval(x, y, r, r))
            s.flat(oval(x, y + 2, r * inner, r * inner), SECOND, alpha=0.92)

        both_sides(s, one)

    return ears


def long_ears(s: Sheet) -> None:
    """For rabbits."""

    def one() -> None:
        ear = blob([(14, -50), (12, -112), (33, -152), (54, -116), (50, -44)])
        outlined(s, ear)
        s.flat(blob([(24, -58), (23, -110), (34, -136), (44, -110), (41, -56)]), SECOND, alpha=0.92)

    both_sides(s, one)


def hanging_ears(s: Sheet) -> None:
    """For dogs; drawn over the head."""

    def one() -> None:
        s.fill(blob([(46, -62), (82, -58), (104, -10), (98, 40), (78, 44), (62, 0)]), mix(MAIN, INK, 0.3), low=0.85)
        s.line(blob([(46, -62), (82, -58), (104, -10), (98, 40), (78, 44), (62, 0)]), LINE, 4)

    both_sides(s, one)


def folded_ears(s: Sheet) -> None:
    """For pigs."""

    def one() -> None:
        ear = blob([(28, -58), (52, -92), (84, -84), (80, -46), (64, -30)], tension=0.4)
        outlined(s, ear)
        s.fill(blob([(40, -62), (60, -82), (80, -78), (72, -48)], tension=0.4), mix(MAIN, INK, 0.22))

    both_sides(s, one)


def frog_eyes(s: Sheet) -> None:
    """The bumps that a frog has its eyes on."""
    both_sides(s, lambda: (outlined(s, oval(44, -54, 32, 31)), None)[1])


def tufts(s: Sheet) -> None:
    """For owls."""

    def one() -> None:
        outlined(s, blob([(30, -58), (58, -84), (88, -104), (88, -62), (76, -22)], tension=0.4))

    both_sides(s, one)


def none(s: Sheet) -> None:
    """No ears to be seen."""
    del s
