"""What was used and what it cost, summed up by one thing at a time."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime
from enum import StrEnum
from typing import Any, Final
from uuid import UUID

from django.db.models import Count, F, Q, QuerySet, Sum
from django.db.models.functions import TruncDate

from organizations.models import User
from routing.models import UsageRecord

# Modes are whatever clients send, so there is no telling how many there are.
MAX_GROUPS: Final = 500

_COUNTED: Final = (
    "input_tokens",
    "output_tokens",
    "cache_read_tokens",
    "cache_write_tokens",
    "reasoning_tokens",
    "hosted_cost_microdollars",
    "market_cost_microdollars",
)
_AGGREGATES: Final = {
    "requests": Count("pk"),
    "failed_requests": Count("pk", filter=Q(status__gte=400)),
    "cancelled_requests": Count("pk", filter=Q(cancelled=True)),
    "byok_requests": Count("pk", filter=Q(is_byok=True)),
    # Django wants other names for sums than those of the columns.
    **{f"{name}_sum": Sum(name, default=0) for name in _COUNTED},
}


class UsageBy(StrEnum):
    """What usage is summed up by."""

    DAY = "day"
    MODE = "mode"
    MODEL = "model"
    MEMBER = "member"


_COLUMNS: Final = {
    UsageBy.DAY: TruncDate("created_at", tzinfo=UTC),
    UsageBy.MODE: F("mode"),
    UsageBy.MODEL: F("resolved_model"),
    UsageBy.MEMBER: F("user_id"),
}


@dataclass(frozen=True, slots=True)
class UsageGroup:
    """The sums of one day, mode, model or member.

    Attributes:
        key: A day, a text that is empty where nothing was said or resolved, or a person's id.
        label: Who it is, for a person who still exists; else empty.
    """

    key: date | str | UUID
    label: str
    sums: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class UsageReport:
    """The groups and what all records of the range come to.

    Attributes:
        is_cut: There are more groups than `MAX_GROUPS`; those with the fewest requests are left out, but not of the
            totals.
    """

    groups: list[UsageGroup]
    totals: Mapping[str, int]
    is_cut: bool


def usage_report(
    organization_id: UUID, by: UsageBy, *, since: datetime, until: datetime, user_id: UUID | None = None
) -> UsageReport:
    """The usage of an organization from `since` to before `until`; with `user_id` only that person's.

    Days are of UTC and in their order; other groups come with the most requests first. Three queries at most.
    """
    records = UsageRecord.objects.filter(organization_id=organization_id, created_at__gte=since, created_at__lt=until)
    if user_id is not None:
        records = records.filter(user_id=user_id)
    order = ("key",) if by is UsageBy.DAY else ("-requests", "key")
    grouped = records.values(key=_COLUMNS[by]).annotate(**_AGGREGATES).order_by(*order)
    rows = list(grouped[: MAX_GROUPS + 1])
    is_cut = len(rows) > MAX_GROUPS
    labels = _emails(row["key"] for row in rows) if by is UsageBy.MEMBER else {}
    groups = [UsageGroup(row["key"], labels.get(row["key"], ""), _sums(row)) for row in rows[:MAX_GROUPS]]
    return UsageReport(groups, _totals(groups, records, is_cut=is_cut), is_cut)


def _emails(ids: Iterable[UUID]) -> dict[UUID, str]:
    return dict(User.objects.filter(pk__in=list(ids)).values_list("pk", "email"))


def _sums(row: Mapping[str, Any]) -> dict[str, int]:
    return {name.removesuffix("_sum"): int(row[name]) for name in _AGGREGATES}


def _totals(groups: list[UsageGroup], records: QuerySet[UsageRecord], *, is_cut: bool) -> dict[str, int]:
    if is_cut:
        return _sums(records.aggregate(**_AGGREGATES))
    names = [name.removesuffix("_sum") for name in _AGGREGATES]
    return {name: sum(group.sums[name] for group in groups) for name in names}
