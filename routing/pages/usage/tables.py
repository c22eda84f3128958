"""The tables about usage: by mode, model or member, in the order that the address says."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from kilo_gateway.ui.links import with_query
from routing.pages.usage.forms import NONE, Asked, Days
from routing.pages.usage.links import Link
from routing.pages.wording import count_short, dollars, milliseconds, percent
from routing.usage.sums import Group, SumBy
from routing.usage_selectors import UsagePage

Sums = Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Sorting:
    """A column that the rows can be ordered by, and what counts there.

    Attributes:
        is_sum: The rows add up to something, so that each has a share of it.
    """

    key: str
    label: str
    by: Callable[[Sums], float]
    is_sum: bool = True


SORTINGS: Final = (
    Sorting("requests", "Requests", lambda sums: sums["requests"]),
    Sorting("tokens", "Tokens", lambda sums: sums["input_tokens"] + sums["output_tokens"]),
    Sorting("hosted", "Hosted cost", lambda sums: sums["hosted_cost_microdollars"]),
    Sorting("own", "Own keys", lambda sums: sums["byok_market_cost_microdollars"]),
    Sorting("errors", "Error rate", lambda sums: sums["failed_requests"] / (sums["requests"] or 1), is_sum=False),
    Sorting("time", "Mean time", lambda sums: sums["duration_ms"] / (sums["requests"] or 1), is_sum=False),
)


@dataclass(frozen=True, slots=True)
class By:
    """What a table is about; `blank` is the name of what was not said."""

    key: SumBy
    label: str
    noun: str
    blank: str


BY: Final = (
    By(SumBy.MODE, "Modes", "Mode", "No mode said"),
    By(SumBy.MODEL, "Models", "Model", "No model resolved"),
    By(SumBy.MEMBER, "Members", "Member", "Former member"),
)


@dataclass(frozen=True, slots=True)
class Head:
    """A column that can be sorted by; `order` is that of the rows now, blank when they are ordered by another."""

    key: str
    label: str
    href: str
    order: str


@dataclass(frozen=True, slots=True)
class Numbers:
    """Sums as the cells of a row; `unpriced` requests are missing from the costs."""

    requests: str
    tokens: str
    tokens_told: str
    hosted: str
    own: str
    unpriced: int
    error_rate: str
    failed: int
    mean_time: str


@dataclass(frozen=True, slots=True)
class Row:
    """A mode, a model or a member, and its share of all of them in per cent."""

    name: str
    is_blank: bool
    href: str
    share: float
    share_told: str
    numbers: Numbers


@dataclass(frozen=True, slots=True)
class Breakdown:
    """One of the tables; `share_of` is what the shares are of."""

    by: By
    heads: list[Head]
    rows: list[Row]
    total: Numbers
    is_cut: bool
    share_of: str


def numbers(sums: Sums) -> Numbers:
    """The cells that all tables have."""
    requests, read, written = sums["requests"], sums["input_tokens"], sums["output_tokens"]
    return Numbers(
        requests=f"{requests:,}",
        tokens=count_short(read + written),
        tokens_told=f"{read:,} input, {written:,} output",
        hosted=dollars(sums["hosted_cost_microdollars"]),
        own=dollars(sums["byok_market_cost_microdollars"]),
        unpriced=sums["unpriced_requests"],
        error_rate=percent(sums["failed_requests"], requests),
        failed=sums["failed_requests"],
        mean_time=milliseconds(sums["duration_ms"] / requests if requests else None),
    )


def table_of(asked: Asked, *, is_own: bool) -> By:
    """What the table is about that is asked for: modes for a word that is none, and for members where there is one."""
    return next((one for one in BY if one.key == asked.by and not (is_own and one.key is SumBy.MEMBER)), BY[0])


def table_links(found: UsagePage, asked: Asked, days: Days, path: str) -> list[Link]:
    """The tables that there are."""
    kept = {**days.query, **asked.query}
    return [
        Link(one.key, one.label, with_query(path, kept, by=one.key, sort=""), found.counts[one.key])
        for one in BY
        if one.key in found.counts
    ]


def breakdown(found: UsagePage, by: By, asked: Asked, *, days: Days, page_path: str, requests_path: str) -> Breakdown:
    """The table, ordered by the column `sort`: the most first, or with `-` before it the least."""
    sorting = next((one for one in SORTINGS if one.key == asked.sort.removeprefix("-")), SORTINGS[0])
    is_least_first = asked.sort.startswith("-")
    shared = sorting if sorting.is_sum else SORTINGS[0]
    whole = shared.by(found.totals)
    groups = sorted(found.table.groups, key=lambda group: sorting.by(group.sums), reverse=not is_least_first)
    kept = {**days.query, "by": by.key, "chart": asked.chart}
    return Breakdown(
        by=by,
        heads=[
            Head(
                one.key,
                one.label,
                with_query(page_path, kept, sort=f"-{one.key}" if one is sorting and not is_least_first else one.key),
                ("ascending" if is_least_first else "descending") if one is sorting else "",
            )
            for one in SORTINGS
        ],
        rows=[
            _row(
                by, group, shared.by(group.sums), whole, with_query(requests_path, days.query, **{by.key: _said(group)})
            )
            for group in groups
        ],
        total=numbers(found.totals),
        is_cut=found.table.is_cut,
        share_of=shared.label.lower(),
    )


def _said(group: Group) -> str:
    return str(group.key) or NONE


def _row(by: By, group: Group, part: float, whole: float, href: str) -> Row:
    name = group.label if by.key is SumBy.MEMBER else str(group.key)
    return Row(
        name=name or by.blank,
        is_blank=not name,
        href=href,
        share=round(part / whole * 100, 2) if whole else 0,
        share_told=percent(part, whole),
        numbers=numbers(group.sums),
    )
