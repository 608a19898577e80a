"""Plots as SVG, made of text: nothing to load, sharp at any size, and in the colours of the page around them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape

from storymem.bench.compare import Interval

__all__ = ["curves", "dots", "heat", "scatter"]

Point = tuple[float, float]


def _nice(low: float, high: float, steps: int = 4) -> list[float]:
    """Round numbers that span the range."""
    rough = max(high - low, 1e-6) / steps
    base = 10.0 ** math.floor(math.log10(rough))
    step = next(base * factor for factor in (1, 2, 2.5, 5, 10) if base * factor >= rough * 0.999)
    first = math.floor(low / step + 1e-9)
    ticks: list[float] = []
    value = first * step
    while value < high + step * 0.999 or len(ticks) < 2:
        ticks.append(round(value, 10))
        value += step
    return ticks


def _label(value: float) -> str:
    return f"{value:.3g}"


def dots(rows: Sequence[tuple[str, str, Interval]], *, title: str) -> str:
    """One row per system: the mean as a dot, its interval as a line.

    Args:
        rows: name, colour, interval.
        title: for who cannot see the plot.
    """
    left, width, height = 112, 215, 22
    low, high = min(0.0, *(one.low for _, _, one in rows)), max(one.high for _, _, one in rows)
    ticks = _nice(low, max(high, low + 0.05))
    low, high = ticks[0], ticks[-1]

    def x(value: float) -> float:
        return left + (value - low) / (high - low) * width

    bottom = len(rows) * height + 6
    parts = [
        f'<svg viewBox="0 0 {left + width + 46} {bottom + 18}" role="img" aria-label="{escape(title)}" class="plot">'
    ]
    for tick in ticks:
        parts.append(f'<line x1="{x(tick):.1f}" x2="{x(tick):.1f}" y1="2" y2="{bottom}" class="grid"/>')
        parts.append(
            f'<text x="{x(tick):.1f}" y="{bottom + 13}" class="tick" text-anchor="middle">{_label(tick)}</text>'
        )
    for index, (name, colour, one) in enumerate(rows):
        y = index * height + height / 2 + 3
        shown = 0.0 if abs(one.mean) < 0.0005 else one.mean  # not "-0.000"
        about = f"{name}: {one.mean:.3f}, 95 % from {one.low:.3f} to {one.high:.3f}, {one.count} stories"
        parts.append(
            f"<g><title>{escape(about)}</title>"
            f'<text x="{left - 8}" y="{y + 4}" class="name" text-anchor="end">{escape(name)}</text>'
            f'<line x1="{x(one.low):.1f}" x2="{x(one.high):.1f}" y1="{y}" y2="{y}" stroke="{colour}" class="whisker"/>'
            f'<circle cx="{x(one.mean):.1f}" cy="{y}" r="4.5" fill="{colour}"/>'
            f'<text x="{left + width + 8}" y="{y + 4}" class="value">{shown:.3f}</text></g>'
        )
    return "".join([*parts, "</svg>"])


def _frame(
    width: int, height: int, xs: Sequence[float], ys: Sequence[float], labels: tuple[str, str], title: str
) -> tuple[list[str], tuple[float, float], tuple[float, float]]:
    """Axes with grid; gives the parts and both ranges."""
    left, bottom = 46, height - 34
    parts = [f'<svg viewBox="0 0 {width} {height}" role="img" aria-label="{escape(title)}" class="plot">']
    for tick in ys:
        y = bottom - (tick - ys[0]) / (ys[-1] - ys[0]) * (bottom - 10)
        parts.append(f'<line x1="{left}" x2="{width - 10}" y1="{y:.1f}" y2="{y:.1f}" class="grid"/>')
        parts.append(f'<text x="{left - 6}" y="{y + 4:.1f}" class="tick" text-anchor="end">{_label(tick)}</text>')
    for tick in xs:
        x = left + (tick - xs[0]) / (xs[-1] - xs[0]) * (width - 10 - left)
        parts.append(f'<text x="{x:.1f}" y="{bottom + 14}" class="tick" text-anchor="middle">{_label(tick)}</text>')
    parts.append(
        f'<text x="{(left + width - 10) / 2:.0f}" y="{height - 4}" class="axis" text-anchor="middle">'
        f"{escape(labels[0])}</text>"
        f'<text transform="translate(11 {bottom / 2:.0f}) rotate(-90)" class="axis" text-anchor="middle">'
        f"{escape(labels[1])}</text>"
    )
    return parts, (left, width - 10), (bottom, 10)


def _place(value: float, ticks: Sequence[float], ends: tuple[float, float]) -> float:
    return ends[0] + (value - ticks[0]) / (ticks[-1] - ticks[0]) * (ends[1] - ends[0])


def curves(lines: Sequence[tuple[str, str, Sequence[float]]], *, labels: tuple[str, str], title: str) -> str:
    """Values at 1, 2, 3 ... as lines.

    Args:
        lines: name, colour, values.
        labels: of the axes.
        title: for who cannot see the plot.
    """
    longest = max(len(values) for _, _, values in lines)
    ys = _nice(0.0, max(0.1, *(value for _, _, values in lines for value in values)))
    xs = [float(x) for x in range(1, longest + 1)] if longest > 1 else [1.0, 2.0]
    parts, across, up = _frame(460, 280, xs, ys, labels, title)
    for name, colour, values in lines:
        points = [(_place(i, xs, across), _place(value, ys, up)) for i, value in enumerate(values, 1)]
        way = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
        parts.append(
            f"<g><title>{escape(name)}</title>"
            f'<polyline points="{way}" fill="none" stroke="{colour}" stroke-width="2.2" stroke-linejoin="round"/>'
            + "".join(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="2.6" fill="{colour}"/>' for x, y in points)
            + "</g>"
        )
    return "".join([*parts, "</svg>"])


def scatter(points: Mapping[str, tuple[str, Point]], *, labels: tuple[str, str], title: str) -> str:
    """Systems by two numbers.

    Args:
        points: by name: colour, place.
        labels: of the axes.
        title: for who cannot see the plot.
    """
    xs = _nice(0.0, max(0.1, *(point[0] for _, point in points.values())))
    ys = _nice(0.0, max(0.1, *(point[1] for _, point in points.values())))
    parts, across, up = _frame(460, 280, xs, ys, labels, title)
    taken: list[Point] = []
    for name, (colour, (one, other)) in sorted(points.items(), key=lambda item: -item[1][1][1]):
        x, y = _place(one, xs, across), _place(other, ys, up)
        flip = x + 9 + 6.6 * len(name) > across[1]
        text_x, text_y = x + (-9 if flip else 9), y + 4
        while any(abs(text_x - old_x) < 90 and abs(text_y - old_y) < 12 for old_x, old_y in taken):
            text_y += 12
        taken.append((text_x, text_y))
        anchor = ' text-anchor="end"' if flip else ""
        parts.append(
            f'<g><circle cx="{x:.1f}" cy="{y:.1f}" r="5.5" fill="{colour}"/>'
            f'<text x="{text_x:.1f}" y="{text_y:.1f}" class="name"{anchor}>{escape(name)}</text></g>'
        )
    return "".join([*parts, "</svg>"])


def heat(matrix: Sequence[Sequence[float]], colour: str, *, title: str) -> str:
    """A similarity matrix as squares; the darker, the more alike.

    Args:
        matrix: ``[S, S]``, 0 to 1.
        colour: of 1.
        title: for who cannot see the plot.
    """
    size, side = len(matrix), 150
    cell = side / size
    parts = [f'<svg viewBox="0 0 {side} {side}" role="img" aria-label="{escape(title)}" class="heat">']
    for row, values in enumerate(matrix):
        for column, value in enumerate(values):
            parts.append(
                f'<rect x="{column * cell:.2f}" y="{row * cell:.2f}" width="{cell:.2f}" height="{cell:.2f}" '
                f'fill="{colour}" fill-opacity="{min(1.0, max(0.0, value)) ** 1.5:.3f}">'
                f"<title>shots {row + 1} and {column + 1}: {value:.2f}</title></rect>"
            )
    return "".join([*parts, "</svg>"])
