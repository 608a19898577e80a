"""The twelve colours of Storyland. Each name stands for three tints: the colour, what goes with it, and its outline."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["COLOURS", "PALETTE", "Tints"]

RGB = tuple[int, int, int]


@dataclass(frozen=True, slots=True)
class Tints:
    """sRGB, 0 to 255: `main` fills, `second` is for bellies, patterns and trimmings, `ink` for outlines."""

    main: RGB
    second: RGB
    ink: RGB


PALETTE: dict[str, Tints] = {
    "red": Tints((222, 62, 62), (255, 222, 205), (98, 20, 30)),
    "orange": Tints((244, 144, 48), (255, 236, 208), (112, 52, 18)),
    "yellow": Tints((252, 210, 64), (255, 250, 228), (128, 86, 14)),
    "green": Tints((98, 182, 82), (228, 246, 204), (26, 74, 38)),
    "teal": Tints((44, 172, 172), (206, 246, 238), (8, 70, 78)),
    "blue": Tints((66, 122, 222), (212, 230, 255), (22, 40, 102)),
    "purple": Tints((142, 92, 202), (234, 218, 252), (54, 26, 92)),
    "pink": Tints((250, 148, 186), (255, 234, 240), (132, 46, 82)),
    "white": Tints((250, 249, 246), (176, 190, 212), (98, 104, 124)),
    "brown": Tints((150, 98, 62), (240, 216, 182), (62, 34, 20)),
    "grey": Tints((142, 148, 160), (228, 232, 238), (56, 60, 72)),
    "black": Tints((62, 60, 72), (214, 212, 218), (22, 20, 30)),
}

COLOURS: tuple[str, ...] = tuple(PALETTE)
