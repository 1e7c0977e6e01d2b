"""Line charts as plain SVG: readable on white and on black, and small enough to be read in a diff."""

import math
from collections.abc import Sequence
from html import escape

Series = dict[str, Sequence[tuple[float, float]]]

_WIDTH, _HEIGHT, _LEFT, _TOP, _RIGHT, _BOTTOM = 640, 300, 60, 40, 20, 50
_COLOURS = ("#1f77b4", "#d95f02", "#2ca02c", "#7f7f7f")
_STYLE = "font-family='sans-serif' font-size='12' fill='#888'"


def line_chart(title: str, x_label: str, y_label: str, series: Series, marks: Sequence[float] = ()) -> str:
    """Return a chart of lines that start at zero on both axes; ``marks`` are places on the x axis."""
    points = [point for line in series.values() for point in line]
    x_ticks, y_ticks = _ticks(max(x for x, _ in points)), _ticks(max(y for _, y in points))
    inner_width, inner_height = _WIDTH - _LEFT - _RIGHT, _HEIGHT - _TOP - _BOTTOM

    def place(x: float, y: float) -> tuple[float, float]:
        return _LEFT + inner_width * x / x_ticks[-1], _TOP + inner_height * (1 - y / y_ticks[-1])

    parts = [
        f"<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 {_WIDTH} {_HEIGHT}' {_STYLE} role='img'>",
        f"<title>{escape(title)}</title>",
        _text(_LEFT, 18, title, "start", "font-weight='bold'"),
        _text(_LEFT + inner_width / 2, _HEIGHT - 8, x_label),
        _text(14, _TOP + inner_height / 2, y_label, "middle", f"transform='rotate(-90 14 {_TOP + inner_height / 2})'"),
    ]
    for tick in x_ticks:
        x, y = place(tick, 0)
        parts.append(_text(x, y + 18, f"{tick:,g}"))
    for tick in y_ticks:
        x, y = place(0, tick)
        parts.append(f"<path d='M{x} {y:.1f}H{_WIDTH - _RIGHT}' stroke='#888' stroke-opacity='0.3'/>")
        parts.append(_text(x - 6, y + 4, f"{tick:,g}", "end"))
    for mark in marks:
        x, _ = place(mark, 0)
        parts.append(f"<path d='M{x:.1f} {_TOP}v{inner_height}' stroke='#888' stroke-dasharray='2 3'/>")
    for number, (name, line) in enumerate(series.items()):
        colour = _COLOURS[number % len(_COLOURS)]
        way = " ".join(f"{x:.1f},{y:.1f}" for x, y in (place(*point) for point in line))
        parts.append(f"<polyline points='{way}' fill='none' stroke='{colour}' stroke-width='2'/>")
        if len(series) > 1:
            x = _LEFT + 10 + 200 * number
            parts.append(f"<path d='M{x} 30h16' stroke='{colour}' stroke-width='2'/>")
            parts.append(_text(x + 22, 34, name, "start"))
    return "\n".join([*parts, "</svg>"]) + "\n"


def _text(x: float, y: float, words: str, anchor: str = "middle", more: str = "") -> str:
    return f"<text x='{x:.0f}' y='{y:.0f}' text-anchor='{anchor}' {more}>{escape(words)}</text>"


def _ticks(greatest: float) -> list[float]:
    """Return four to ten round numbers from zero to the first that is not exceeded."""
    power = 10 ** math.floor(math.log10(greatest or 1))
    step = next(step for step in (power / 10, power / 5, power / 2, power, 2 * power) if greatest / step <= 8)
    return [step * number for number in range(math.ceil(greatest / step) + 1)]
