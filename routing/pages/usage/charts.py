"""The charts about usage, each with the table that says the same."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from itertools import pairwise
from typing import Final

from kilo_gateway.charts import BarChart, Column, bar_chart
from routing.pages.wording import count_short, dollars, dollars_short
from routing.usage.sums import Group, total

# So many columns are days; of a longer range, a column is a week.
MOST_DAYS: Final = 100
WEEK: Final = 7
Sums = Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Series:
    """One colour of a chart: what of the sums it shows."""

    label: str
    of: Callable[[Sums], int]


@dataclass(frozen=True, slots=True)
class ChartKind:
    """What a chart is about.

    Attributes:
        told: A value in a sentence or a table.
        scale: A value beside a line of the chart; blank for one that cannot be.
    """

    key: str
    label: str
    about: str
    series: tuple[Series, ...]
    told: Callable[[int], str]
    scale: Callable[[float], str]


def _whole(value: float) -> str:
    return count_short(value) if value == int(value) else ""


def _number(value: int) -> str:
    return f"{value:,}"


KINDS: Final = (
    ChartKind(
        "requests",
        "Requests",
        "Requests",
        (
            Series("Hosted", lambda sums: sums["requests"] - sums["byok_requests"]),
            Series("Own provider keys", lambda sums: sums["byok_requests"]),
        ),
        _number,
        _whole,
    ),
    ChartKind(
        "cost",
        "Cost",
        "Cost in dollars",
        (
            Series("Hosted cost", lambda sums: sums["hosted_cost_microdollars"]),
            Series("Own provider keys, at market prices", lambda sums: sums["byok_market_cost_microdollars"]),
        ),
        dollars,
        dollars_short,
    ),
    ChartKind(
        "tokens",
        "Tokens",
        "Tokens",
        (
            Series("Input", lambda sums: max(sums["input_tokens"] - sums["cache_read_tokens"], 0)),
            Series("Input from a cache", lambda sums: sums["cache_read_tokens"]),
            Series("Output", lambda sums: sums["output_tokens"]),
        ),
        _number,
        _whole,
    ),
    ChartKind(
        "errors",
        "Errors",
        "Failed and cancelled requests",
        (
            Series("Failed", lambda sums: sums["failed_requests"]),
            Series("Cancelled by the client", lambda sums: sums["cancelled_requests"]),
        ),
        _number,
        _whole,
    ),
)


@dataclass(frozen=True, slots=True)
class Legend:
    """A series in words; `number` is that of its colour."""

    number: int
    label: str
    total: str


@dataclass(frozen=True, slots=True)
class UsageChart:
    """A chart, its words, and the same as rows of a table."""

    kind: ChartKind
    chart: BarChart
    legend: tuple[Legend, ...]
    rows: tuple[tuple[date, str, tuple[str, ...]], ...]
    unit: str
    label: str
    is_empty: bool


def chart_kind(key: str) -> ChartKind:
    """The kind with this key; for a word that is none, the first."""
    return next((kind for kind in KINDS if kind.key == key), KINDS[0])


def usage_chart(kind: ChartKind, days: Sequence[Group]) -> UsageChart:
    """The course of some days: a column for each, or for each week when there are many."""
    unit = "week" if len(days) > MOST_DAYS else "day"
    size = WEEK if unit == "week" else 1
    # What is left over is at the beginning: the last week is a whole one, like those before it.
    starts = [0, *range(len(days) % size or size, len(days), size)]
    periods = [_period(days[start:end]) for start, end in pairwise([*starts, len(days)])]
    values = [[series.of(sums) for series in kind.series] for _, _, sums in periods]
    columns = [
        Column(_short(first), found, _told(kind, name, found))
        for (first, name, _), found in zip(periods, values, strict=True)
    ]
    totals = [sum(found[place] for found in values) for place in range(len(kind.series))]
    peak = max(range(len(values)), key=lambda place: sum(values[place]))
    label = f"{kind.about} by {unit}. {_told(kind, 'In all', totals)}."
    if any(totals):
        label += f" Most: {periods[peak][1]}, {kind.told(sum(values[peak]))}."
    return UsageChart(
        kind=kind,
        chart=bar_chart(columns, shown=kind.scale),
        legend=tuple(
            Legend(number, series.label, kind.told(amount))
            for number, (series, amount) in enumerate(zip(kind.series, totals, strict=True), start=1)
        ),
        rows=tuple(
            (first, name, tuple(kind.told(value) for value in found))
            for (first, name, _), found in reversed(list(zip(periods, values, strict=True)))
        ),
        unit=unit,
        label=label,
        is_empty=not any(totals),
    )


def _period(chunk: Sequence[Group]) -> tuple[date, str, Sums]:
    first = chunk[0].key
    assert isinstance(first, date)  # noqa: S101 - they are days
    if len(chunk) == 1:
        return first, f"{first:%a} {first.day} {first:%b %Y}", chunk[0].sums
    last = first + timedelta(days=len(chunk) - 1)
    return first, f"{_short(first)} to {_short(last)} {last.year}", total(chunk)


def _short(day: date) -> str:
    return f"{day.day} {day:%b}"


def _told(kind: ChartKind, name: str, values: Sequence[int]) -> str:
    parts = (
        f"{kind.told(value)} {series.label[0].lower()}{series.label[1:]}"
        for series, value in zip(kind.series, values, strict=True)
    )
    return f"{name}: {', '.join(parts)}"
