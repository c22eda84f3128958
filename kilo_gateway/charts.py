"""Where the bars and lines of a chart lie. Templates draw them as SVG; colours are classes of the stylesheet.

Widths are per cent of the room there is, heights are pixels: so a chart fits every screen and its letters stay legible.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from itertools import pairwise
from typing import Final

Number = int | float | Decimal

HEIGHT: Final = 180
TOP: Final = 8
BOTTOM: Final = 22
LINES: Final = 4
MOST_LABELS: Final = 8
GAP: Final = 0.28
# No amount is smaller, and of what is there would be no scale.
LEAST: Final = 1e-9
SPARK_WIDTH: Final = 100
SPARK_HEIGHT: Final = 28


@dataclass(frozen=True, slots=True)
class Column:
    """What belongs to one place of the axis: a value for each series, and its words.

    Attributes:
        label: Under the axis, where there is room.
        told: All of it in words, on hover.
    """

    label: str
    values: Sequence[Number]
    told: str


@dataclass(frozen=True, slots=True)
class Bar:
    """One rectangle; `series` counts from 1."""

    y: float
    height: float
    series: int


@dataclass(frozen=True, slots=True)
class DrawnColumn:
    """A column as it is drawn; `label` is blank where there is no room for it, ever or (`is_spare`) on a phone."""

    x: float
    width: float
    middle: float
    left: float
    full_width: float
    label: str
    is_spare: bool
    told: str
    bars: tuple[Bar, ...]


@dataclass(frozen=True, slots=True)
class Line:
    """A line of the scale."""

    y: float
    label: str


@dataclass(frozen=True, slots=True)
class BarChart:
    """Everything that the template needs."""

    height: int
    base: float
    columns: tuple[DrawnColumn, ...]
    lines: tuple[Line, ...]


def bar_chart(
    columns: Sequence[Column], *, height: int = HEIGHT, shown: Callable[[float], str] = "{:,.0f}".format
) -> BarChart:
    """Stacked bars, the first series at the bottom; negative values count as none.

    Args:
        shown: A number of the scale as text.
    """
    base = float(height - BOTTOM)
    totals = [sum(max(float(value), 0.0) for value in column.values) for column in columns]
    top = _round_up(max(totals, default=0.0))
    scale = (base - TOP) / top
    every = -(-len(columns) // MOST_LABELS) or 1
    drawn = tuple(_drawn(column, place, len(columns), scale, base, every=every) for place, column in enumerate(columns))
    lines = tuple(
        Line(round(base - top * step / LINES * scale, 2), shown(top * step / LINES)) for step in range(LINES + 1)
    )
    return BarChart(height, base, drawn, lines)


def _drawn(column: Column, place: int, count: int, scale: float, base: float, *, every: int) -> DrawnColumn:
    full = 100 / count
    width = full * (1 - GAP)
    left = place * full
    bars, floor = [], base
    for series, value in enumerate(column.values, start=1):
        tall = max(float(value), 0.0) * scale
        if tall > 0:
            floor -= tall
            bars.append(Bar(round(floor, 2), round(tall, 2), series))
    return DrawnColumn(
        x=round(left + full * GAP / 2, 3),
        width=round(width, 3),
        middle=round(left + full / 2, 3),
        left=round(left, 3),
        full_width=round(full, 3),
        label=column.label if place % every == 0 else "",
        is_spare=place % (every * 2) != 0,
        told=column.told,
        bars=tuple(bars),
    )


def _round_up(value: float) -> float:
    """The next number that is easy to read, and easy to divide by four."""
    if value < LEAST:
        return float(LINES)
    magnitude = 1.0
    while magnitude * 10 <= value:
        magnitude *= 10
    while magnitude > value:
        magnitude /= 10
    return next(magnitude * step for step in (1, 2, 4, 6, 8, 10) if value <= magnitude * step)


@dataclass(frozen=True, slots=True)
class Sparkline:
    """A line without axes, as the `d` of two paths."""

    width: int
    height: int
    line: str
    area: str


def sparkline(values: Sequence[Number]) -> Sparkline:
    """The course of some values; fewer than two of them make a flat line."""
    numbers = [float(value) for value in values] or [0.0]
    if len(numbers) == 1:
        numbers *= 2
    top = max(*numbers, 0.0) or 1.0
    step = SPARK_WIDTH / (len(numbers) - 1)
    room = SPARK_HEIGHT - 4
    points = [
        (round(place * step, 2), round(SPARK_HEIGHT - 2 - max(number, 0.0) / top * room, 2))
        for place, number in enumerate(numbers)
    ]
    start = f"M{points[0][0]} {points[0][1]}"
    line = start + "".join(f"L{x} {y}" for _, (x, y) in pairwise(points))
    return Sparkline(SPARK_WIDTH, SPARK_HEIGHT, line, f"{line}V{SPARK_HEIGHT}H0Z")
