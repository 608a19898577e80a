"""A small drawing vocabulary over Skia: smooth blobs, soft gradients and the three tint zones of a sprite.

A sprite for heroes is not painted in colours but in *zones*: red, green and blue say how much of the first, second and
third tint a pixel takes, their brightness how much light falls on it. The compositor puts the colours in, so that one
drawing serves every hero.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import skia

Point = tuple[float, float]
Colour = tuple[float, float, float]  # 0..255 each

MAIN: Colour = (255, 0, 0)
SECOND: Colour = (0, 255, 0)
INK: Colour = (0, 0, 255)
LINE: Colour = (64, 0, 191)  # an outline: mostly ink, some of the first tint, so that it looks coloured


def mix(a: Colour, b: Colour, t: float) -> Colour:
    """`a` at t = 0, `b` at t = 1."""
    return tuple(x + (y - x) * t for x, y in zip(a, b, strict=True))  # type: ignore[return-value]


def hexa(text: str) -> Colour:
    """The colour of a ``#rrggbb``."""
    return tuple(int(text[i : i + 2], 16) for i in (1, 3, 5))  # type: ignore[return-value]


def shade(colour: Colour, light: float) -> Colour:
    """`colour` times `light`, kept inside 0..255."""
    return tuple(min(255.0, c * light) for c in colour)  # type: ignore[return-value]


def _argb(colour: Colour, alpha: float = 1.0) -> int:
    r, g, b = (max(0, min(255, round(c))) for c in colour)
    return skia.ColorSetARGB(round(255 * alpha), r, g, b)


def blob(points: Sequence[Point], *, closed: bool = True, tension: float = 0.5) -> skia.Path:
    """A smooth curve through `points` (Catmull-Rom)."""
    n = len(points)
    path = skia.Path()
    path.moveTo(*points[0])
    at = (lambda i: points[i % n]) if closed else (lambda i: points[max(0, min(n - 1, i))])
    for i in range(n if closed else n - 1):
        p0, p1, p2, p3 = at(i - 1), at(i), at(i + 1), at(i + 2)
        k = tension / 3 * 2
        path.cubicTo(
            p1[0] + (p2[0] - p0[0]) * k / 2,
            p1[1] + (p2[1] - p0[1]) * k / 2,
            p2[0] - (p3[0] - p1[0]) * k / 2,
            p2[1] - (p3[1] - p1[1]) * k / 2,
            *p2,
        )
    if closed:
        path.close()
    return path


def mirrored(half: Sequence[Point]) -> list[Point]:
    """The right half of a symmetric outline (from the top middle to the bottom middle), completed on the left."""
    left = [(-x, y) for x, y in reversed(half) if abs(x) > 1e-6]
    return [*half, *left]


def polygon(points: Sequence[Point]) -> skia.Path:
    """Straight edges."""
    path = skia.Path()
    path.addPoly([skia.Point(*p) for p in points], True)
    return path


def oval(cx: float, cy: float, rx: float, ry: float) -> skia.Path:
    """An ellipse by its middle and radii."""
    path = skia.Path()
    path.addOval(skia.Rect.MakeLTRB(cx - rx, cy - ry, cx + rx, cy + ry))
    return path


def box(x0: float, y0: float, x1: float, y1: float, radius: float = 0.0) -> skia.Path:
    """A rectangle with rounded corners."""
    path = skia.Path()
    path.addRoundRect(skia.Rect.MakeLTRB(x0, y0, x1, y1), radius, radius)
    return path


class Sheet:
    """A picture to draw one sprite on, in the drawing's own units.

    Args:
        left, top, right, bottom: the part of the plane that the sprite shows; (0, 0) is its anchor.
        scale: texels per unit.
        tile: draw everything three times, a width apart, so that the sprite can repeat sideways without a seam.
    """

    def __init__(
        self, left: float, top: float, right: float, bottom: float, *, scale: float = 1.0, tile: bool = False
    ) -> None:
        self.left, self.top, self.right, self.bottom, self.scale = left, top, right, bottom, scale
        self.tile = tile
        self.width, self.height = math.ceil((right - left) * scale), math.ceil((bottom - top) * scale)
        self.surface = skia.Surface(self.width, self.height)
        self.canvas = self.surface.getCanvas()
        self.canvas.scale(scale, scale)
        self.canvas.translate(-left, -top)

    def _draw(self, path: skia.Path, paint: skia.Paint) -> None:
        for k in (-1, 0, 1) if self.tile else (0,):
            self.canvas.save()
            self.canvas.translate(k * (self.right - self.left), 0)
            self.canvas.drawPath(path, paint)
            self.canvas.restore()

    def fill(
        self,
        path: skia.Path,
        colour: Colour,
        *,
        to: Colour | None = None,
        low: float = 0.86,
        alpha: float = 1.0,
        round_corners: float = 0.0,
        blur: float = 0.0,
    ) -> skia.Path:
        """Fill with a vertical gradient from `colour` to `to` (by default the same colour, darker by `low`)."""
        bounds = path.computeTightBounds()
        end = shade(colour, low) if to is None else to
        shader = skia.GradientShader.MakeLinear(
            [skia.Point(0, bounds.top()), skia.Point(0, bounds.bottom())], [_argb(colour, alpha), _argb(end, alpha)]
        )
        paint = skia.Paint(AntiAlias=True, Shader=shader)
        if round_corners:
            paint.setPathEffect(skia.CornerPathEffect.Make(round_corners))
        if blur:
            paint.setMaskFilter(skia.MaskFilter.MakeBlur(skia.kNormal_BlurStyle, blur))
        self._draw(path, paint)
        return path

    def flat(self, path: skia.Path, colour: Colour, *, alpha: float = 1.0, round_corners: float = 0.0) -> skia.Path:
        """Fill with one colour."""
        return self.fill(path, colour, low=1.0, alpha=alpha, round_corners=round_corners)

    def line(
        self,
        path: skia.Path,
        colour: Colour = LINE,
        width: float = 3.5,
        *,
        alpha: float = 1.0,
        round_corners: float = 0,
    ) -> skia.Path:
        """Stroke with round ends."""
        paint = skia.Paint(AntiAlias=True, Color=_argb(colour, alpha), StrokeWidth=width)
        paint.setStyle(skia.Paint.kStroke_Style)
        paint.setStrokeCap(skia.Paint.kRound_Cap)
        paint.setStrokeJoin(skia.Paint.kRound_Join)
        if round_corners:
            paint.setPathEffect(skia.CornerPathEffect.Make(round_corners))
        self._draw(path, paint)
        return path

    def radial(self, cx: float, cy: float, radius: float, colour: Colour, *, alpha: float = 1.0) -> None:
        """A soft round glow that fades to nothing at `radius`."""
        shader = skia.GradientShader.MakeRadial(
            skia.Point(cx, cy),
            radius,
            [_argb(colour, alpha), _argb(colour, alpha * 0.35), _argb(colour, 0)],
            [0, 0.45, 1],
        )
        self._draw(oval(cx, cy, radius, radius), skia.Paint(AntiAlias=True, Shader=shader))

    def erase(self, path: skia.Path) -> None:
        """Cut a hole."""
        paint = skia.Paint(AntiAlias=True)
        paint.setBlendMode(skia.BlendMode.kClear)
        self._draw(path, paint)

    @contextmanager
    def inside(self, *paths: skia.Path) -> Iterator[None]:
        """Draw only where every one of `paths` is."""
        self.canvas.save()
        for path in paths:
            self.canvas.clipPath(path, True)
        try:
            yield
        finally:
            self.canvas.restore()

    @contextmanager
    def moved(self, dx: float, dy: float, *, angle: float = 0.0, sx: float = 1.0, sy: float = 1.0) -> Iterator[None]:
        """Draw in a shifted, turned (degrees) and scaled frame."""
        self.canvas.save()
        self.canvas.translate(dx, dy)
        self.canvas.rotate(angle)
        self.canvas.scale(sx, sy)
        try:
            yield
        finally:
            self.canvas.restore()

    def pixels(self) -> np.ndarray:
        """uint8 [H, W, 4], straight alpha."""
        return self.surface.makeImageSnapshot().toarray(colorType=skia.kRGBA_8888_ColorType)

    def anchor(self) -> tuple[float, float]:
        """Where (0, 0) lies, in texels from the upper left corner."""
        return -self.left * self.scale, -self.top * self.scale
