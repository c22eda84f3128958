"""What was used and what it cost: the reports that the API and the pages show."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from enum import StrEnum
from typing import Final
from uuid import UUID

from organizations.models import User
from routing.usage.sums import (
    SUMS,
    Group,
    Range,
    SumBy,
    Summing,
    SumsRead,
    UsageScope,
    read_sums,
    total,
    usage_groups,
)

# Modes are whatever clients send, so there is no telling how many there are.
MAX_GROUPS: Final = 500
OVERVIEW_DAYS: Final = 30
# As long as a range of days may be.
LONGEST_DAYS: Final = 366
# What the tables of the page show of each mode, model or member.
TABLE_SUMS: Final = (
    "requests",
    "failed_requests",
    "unpriced_requests",
    "input_tokens",
    "output_tokens",
    "hosted_cost_microdollars",
    "byok_market_cost_microdollars",
    "duration_ms",
)


class UsageBy(StrEnum):
    """What the API sums usage up by."""

    DAY = SumBy.DAY.value
    MODE = SumBy.MODE.value
    MODEL = SumBy.MODEL.value
    MEMBER = SumBy.MEMBER.value


@dataclass(frozen=True, slots=True)
class UsageReport:
    """The groups and what all records of the range come to.

    Attributes:
        is_cut: There are more groups than `MAX_GROUPS`; those with the fewest requests are left out, but not of the
            totals.
    """

    groups: list[Group]
    totals: Mapping[str, int]
    is_cut: bool


def usage_report(scope: UsageScope, by: UsageBy, *, since: datetime, until: datetime) -> UsageReport:
    """The usage from `since` to before `until`.

    Days are of UTC and in their order; other groups come with the most requests first. Two queries at most.
    """
    span = Range.of(since, until, now=datetime.now(UTC))
    table = _cut(usage_groups(scope, SumBy(by.value), span, limit=MAX_GROUPS + 1))
    of_all = usage_groups(scope, SumBy.DAY, span) if table.is_cut else table.groups
    return UsageReport(table.groups, total(of_all), table.is_cut)


@dataclass(frozen=True, slots=True)
class UsageTable:
    """Groups with the most requests first; with `is_cut` there are more of them."""

    groups: list[Group]
    is_cut: bool


@dataclass(frozen=True, slots=True)
class UsagePage:
    """Everything that the page about usage shows of a range of days.

    Attributes:
        days: Each day of the range, those without a request too.
        totals: Of the range.
        previous: The totals of as many days before it.
        table: By mode, model or member.
        counts: How many modes, models and members there are; no members when it is one member's usage.
        errors: What failed, by its kind.
    """

    first: date
    last: date
    days: list[Group]
    totals: Mapping[str, int]
    previous: Mapping[str, int]
    table: UsageTable
    counts: Mapping[SumBy, int]
    errors: UsageTable

    def change(self, name: str) -> float | None:
        """By how much a total has changed since the range before: 0.5 is half as much again, None from nothing."""
        before = self.previous[name]
        return (self.totals[name] - before) / before if before else None


@dataclass(frozen=True, slots=True)
class UsageRead:
    """The same as it was read: what is equal shows the same."""

    first: date
    last: date
    by: SumBy
    sums: SumsRead

    def page(self) -> UsagePage:
        """What was read, ready to be shown. No query."""
        found = self.sums.groups(SumBy.DAY)
        days = _each_day([group for group in found if group.key >= self.first], self.first, self.last)  # type: ignore[operator]  # days
        table = _cut(self.sums.groups(self.by))
        tables = [one.by for one in self.sums.wanted if one.by not in {SumBy.DAY, SumBy.ERROR}]
        return UsagePage(
            first=self.first,
            last=self.last,
            days=days,
            totals=total(days),
            previous=total(group for group in found if group.key < self.first),  # type: ignore[operator]  # as above
            table=table,
            counts={by: min(len(self.sums.labels(by)), MAX_GROUPS) for by in tables},
            errors=_cut(self.sums.groups(SumBy.ERROR)),
        )


def usage_read(scope: UsageScope, first: date, last: date, by: SumBy = SumBy.MODE) -> UsageRead:
    """The usage of the days from `first` to `last`, both included. One query.

    Args:
        by: What the table is about: modes, models or, where it is not one member's usage, members.

    Raises:
        ValueError: the range ends before it begins.
    """
    if last < first:
        raise ValueError("a range of days ends before it begins")
    length = (last - first).days + 1
    start = date.fromordinal(max(first.toordinal() - length, 1))
    end = date.fromordinal(min(last.toordinal() + 1, date.max.toordinal()))
    span, most = Range(first, end), MAX_GROUPS + 1
    tables = [SumBy.MODE, SumBy.MODEL, *([] if scope.is_own else [SumBy.MEMBER])]
    sums = read_sums(
        scope,
        Summing(SumBy.DAY, Range(start, end)),
        *(Summing(one, span, TABLE_SUMS if one is by else (), most, is_labelled=one is by) for one in tables),
        Summing(SumBy.ERROR, span, ("requests",), most),
    )
    return UsageRead(first, last, by, sums)


def usage_offered(scope: UsageScope, first: date, end: date) -> SumsRead:
    """The modes, the models, the errors and, where it is not one member's usage, the members of the days from `first`
    to before `end`. One query, two where there are too many of them: then it is those with the most requests.
    """
    kinds = [SumBy.MODE, SumBy.MODEL, SumBy.ERROR, *([] if scope.is_own else [SumBy.MEMBER])]
    span = Range(first, end)
    offered = read_sums(scope, *(Summing(one, span, (), MAX_GROUPS + 1) for one in kinds))
    if all(len(offered.labels(one)) <= MAX_GROUPS for one in kinds):
        return offered
    return read_sums(scope, *(Summing(one, span, ("requests",), MAX_GROUPS) for one in kinds))


def usage_overview(scope: UsageScope, *, today: date | None = None) -> list[Group]:
    """Each of the last thirty days, today included. One query."""
    last = today or datetime.now(UTC).date()
    first = last - timedelta(days=OVERVIEW_DAYS - 1)
    return _each_day(usage_groups(scope, SumBy.DAY, Range(first, last + timedelta(days=1))), first, last)


def person_emails(ids: Iterable[UUID]) -> dict[UUID, str]:
    """The addresses of those persons who still exist. One query."""
    return dict(User.objects.filter(pk__in=set(ids)).values_list("pk", "email"))


def _cut(groups: list[Group]) -> UsageTable:
    return UsageTable(groups[:MAX_GROUPS], len(groups) > MAX_GROUPS)


def _each_day(found: Iterable[Group], first: date, last: date) -> list[Group]:
    by_day = {group.key: group for group in found}
    days = (date.fromordinal(number) for number in range(first.toordinal(), last.toordinal() + 1))
    return [by_day.get(day) or Group(day, dict.fromkeys(SUMS, 0)) for day in days]
