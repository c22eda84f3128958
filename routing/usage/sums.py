"""Summing usage up, by day, mode, model, member or error.

Whole days come from the roll-ups, which a trigger keeps with the records; only the rest of a range that begins or ends
inside a day is read from the records themselves.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from enum import StrEnum
from typing import Any, Final
from uuid import UUID

from kilo_gateway.fixed_query import preparing_cursor
from organizations.models import Membership
from organizations.permissions import Ability, may
from routing.models import Installation, UsageGrain

# Each sum, and what one record adds to it.
_OF_RECORD: Final[Mapping[str, str]] = {
    "requests": "1",
    "failed_requests": "(status >= 400)::int",
    "cancelled_requests": "cancelled::int",
    "byok_requests": "is_byok::int",
    "unpriced_requests": "(status < 400 AND market_cost_microdollars IS NULL)::int",
    "input_tokens": "coalesce(input_tokens, 0)",
    "output_tokens": "coalesce(output_tokens, 0)",
    "cache_read_tokens": "coalesce(cache_read_tokens, 0)",
    "cache_write_tokens": "coalesce(cache_write_tokens, 0)",
    "reasoning_tokens": "coalesce(reasoning_tokens, 0)",
    "hosted_cost_microdollars": "coalesce(hosted_cost_microdollars, 0)",
    "market_cost_microdollars": "coalesce(market_cost_microdollars, 0)",
    "byok_market_cost_microdollars": "CASE WHEN is_byok THEN coalesce(market_cost_microdollars, 0) ELSE 0 END",
    "duration_ms": "duration_ms",
    "first_byte_requests": "(time_to_first_byte_ms IS NOT NULL)::int",
    "first_byte_ms": "coalesce(time_to_first_byte_ms, 0)",
}
SUMS: Final = tuple(_OF_RECORD)


class SumBy(StrEnum):
    """What usage is summed up by."""

    DAY = "day"
    MODE = "mode"
    MODEL = "model"
    MEMBER = "member"
    ERROR = "error"


# The column of the roll-ups, and the same of a record.
_KEYS: Final[Mapping[SumBy, tuple[str, str]]] = {
    SumBy.DAY: ("day", "(created_at AT TIME ZONE 'UTC')::date"),
    SumBy.MODE: ("mode", "left(mode, 100)"),
    SumBy.MODEL: ("resolved_model", "resolved_model"),
    SumBy.MEMBER: ("user_id", "user_id"),
    SumBy.ERROR: ("error_type", "error_type"),
}
# What a key is made of, which comes as text.
_KEY_TYPES: Final[Mapping[SumBy, Callable[[str], date | str | UUID]]] = {
    SumBy.DAY: date.fromisoformat,
    SumBy.MODE: str,
    SumBy.MODEL: str,
    SumBy.MEMBER: UUID,
    SumBy.ERROR: str,
}
_OF_EVERYBODY: Final[Mapping[SumBy, UsageGrain]] = {
    SumBy.DAY: UsageGrain.DAY,
    SumBy.MODE: UsageGrain.MODE,
    SumBy.MODEL: UsageGrain.MODEL,
    SumBy.MEMBER: UsageGrain.MEMBER,
    SumBy.ERROR: UsageGrain.ERROR,
}
_OF_ONE_MEMBER: Final[Mapping[SumBy, UsageGrain]] = {
    SumBy.DAY: UsageGrain.MEMBER,
    SumBy.MODE: UsageGrain.DETAIL,
    SumBy.MODEL: UsageGrain.DETAIL,
    SumBy.MEMBER: UsageGrain.MEMBER,
    SumBy.ERROR: UsageGrain.ERROR,
}


@dataclass(frozen=True, slots=True)
class UsageScope:
    """Whose usage is read: an organization's, or with `user_id` one member's part of it."""

    organization_id: UUID
    user_id: UUID | None = None

    @property
    def is_own(self) -> bool:
        """Whether it is one member's."""
        return self.user_id is not None


def usage_scope(membership: Membership) -> UsageScope:
    """What this member may see: the whole organization's for owners, admins and billing managers, else the own."""
    everybody = may(membership.role, Ability.MANAGE_SPENDING)
    return UsageScope(membership.organization_id, None if everybody else membership.user_id)


@dataclass(frozen=True, slots=True)
class Group:
    """The sums of one day, mode, model, member or kind of error.

    Attributes:
        key: A day, a text that is empty where nothing was said or resolved, or a person's id.
        label: Who it is, for a person who still exists; else empty.
        sums: By the names in `SUMS`.
    """

    key: date | str | UUID
    sums: Mapping[str, int]
    label: str = ""


def total(groups: Iterable[Group]) -> dict[str, int]:
    """What groups come to together."""
    found = dict.fromkeys(SUMS, 0)
    for group in groups:
        for name in SUMS:
            found[name] += group.sums[name]
    return found


@dataclass(frozen=True, slots=True)
class Range:
    """A range of time as it is read: whole days of UTC, and what is left over of the days at its ends.

    Attributes:
        first: The first whole day.
        end: The day after the last whole one.
        rests: From when to before when the records themselves are read.
    """

    first: date
    end: date
    rests: tuple[tuple[datetime, datetime], ...] = ()

    @classmethod
    def of(cls, since: datetime, until: datetime, *, now: datetime) -> Range:
        """From `since` to before `until`. Nothing is later than now, so today is always read as a whole at the end."""
        since, until = since.astimezone(UTC), until.astimezone(UTC)
        if until >= now:
            until = max(until, _midnight_after(now.astimezone(UTC)))
        if since.date() == until.date():
            return cls(since.date(), since.date(), ((since, until),))
        first = since.date() if since == _midnight(since) else _midnight_after(since).date()
        rests = ((since, _start_of(first)), (_midnight(until), until))
        return cls(first, until.date(), tuple((start, end) for start, end in rests if start < end))


def whole_days(since: datetime, until: datetime) -> tuple[datetime, datetime]:
    """The range itself, or wider where it would cut a day in two whose records are pruned. A query if it cuts any."""
    since, until = since.astimezone(UTC), until.astimezone(UTC)
    if since == _midnight(since) and until == _midnight(until):
        return since, until
    pruned_before = Installation.objects.values_list("usage_pruned_before", flat=True).filter(pk=1).first()
    if pruned_before is not None:
        if since.date() < pruned_before:
            since = _midnight(since)
        if until.date() < pruned_before and until != _midnight(until):
            until = _midnight_after(until)
    return since, until


def _midnight(moment: datetime) -> datetime:
    return moment.replace(hour=0, minute=0, second=0, microsecond=0)


def _midnight_after(moment: datetime) -> datetime:
    return _midnight(moment) + timedelta(days=1)


def _start_of(day: date) -> datetime:
    return datetime.combine(day, time.min, UTC)


@dataclass(frozen=True, slots=True)
class Summing:
    """What is summed up, and of what range.

    Attributes:
        names: The sums that are needed; with none of them it is only read which groups there are.
        limit: So many groups at most: those with the most requests, of days and without sums the first.
        is_labelled: Whether it matters who the members are.
    """

    by: SumBy
    span: Range
    names: tuple[str, ...] = SUMS
    limit: int | None = None
    is_labelled: bool = True


@dataclass(frozen=True, slots=True)
class SumsRead:
    """Sums as they were read, a text for each `Summing`: the same texts are the same sums."""

    wanted: tuple[Summing, ...]
    texts: tuple[str, ...]

    def groups(self, by: SumBy) -> list[Group]:
        """Days in their order, other groups with the most requests first."""
        names, key_of = self.wanted[self._place(by)].names, _KEY_TYPES[by]
        return [
            Group(key_of(key), dict(zip(names, map(int, sums.split()), strict=True)), label)
            for key, label, sums in self._rows(by)
        ]

    def labels(self, by: SumBy) -> dict[str, str]:
        """The groups that there are, by their keys as text, and as `Group.label` who it is."""
        return {key: label for key, label, *_ in self._rows(by)}

    def _rows(self, by: SumBy) -> list[list[str]]:
        rows: list[list[str]] = json.loads(self.texts[self._place(by)])
        return rows

    def _place(self, by: SumBy) -> int:
        return next(place for place, summing in enumerate(self.wanted) if summing.by is by)


def usage_groups(scope: UsageScope, by: SumBy, span: Range, *, limit: int | None = None) -> list[Group]:
    """Days in their order, other groups with the most requests first. One query.

    Errors are only those that failed, or ended with an error after they had begun.
    """
    return read_sums(scope, Summing(by, span, limit=limit)).groups(by)


def read_sums(scope: UsageScope, *wanted: Summing) -> SumsRead:
    """Several sums at once, each of its own range. One query."""
    statements, parameters = [], []
    for place, summing in enumerate(wanted):
        sql, values = (_summed if summing.names else _listed)(scope, summing)
        statements.append(f"SELECT {place} AS place, ({sql})::text")
        parameters += values
    with preparing_cursor() as cursor:
        cursor.execute(f"{' UNION ALL '.join(statements)} ORDER BY place", parameters)
        return SumsRead(wanted, tuple([text for _, text in cursor.fetchall()]))


def _summed(scope: UsageScope, summing: Summing) -> tuple[str, list[Any]]:
    # The sums as one text, which is read faster than many numbers are.
    sums = ", ".join(f"sum({name})" for name in summing.names)
    order = "key" if summing.by is SumBy.DAY else "most DESC, key"
    source, parameters = _source(scope, summing.by, summing.span)
    sql = (
        f"SELECT coalesce(json_agg(json_build_array(key, {_label(summing)}, sums) ORDER BY {order}), '[]') "  # noqa: S608 - our names
        f"FROM (SELECT key, sum(requests) AS most, concat_ws(' ', {sums}) AS sums "
        f"FROM ({source}) AS parts GROUP BY key ORDER BY {order} LIMIT %s) AS groups"
    )
    return sql, [*parameters, summing.limit]


def _listed(scope: UsageScope, summing: Summing) -> tuple[str, list[Any]]:
    """Without the sums it can be read from an index alone."""
    source, parameters = _source(scope, summing.by, summing.span)
    sql = (
        f"SELECT coalesce(json_agg(json_build_array(key, {_label(summing)}) ORDER BY key), '[]') "  # noqa: S608 - our names
        f"FROM (SELECT DISTINCT key FROM ({source}) AS parts ORDER BY key LIMIT %s) AS groups"
    )
    return sql, [*parameters, summing.limit]


def _label(summing: Summing) -> str:
    if summing.by is not SumBy.MEMBER or not summing.is_labelled:
        return "''"
    return "coalesce((SELECT email FROM organizations_user WHERE id = key), '')"


def _source(scope: UsageScope, by: SumBy, span: Range) -> tuple[str, list[Any]]:
    parts, parameters = [], []
    if span.first < span.end or not span.rests:
        sql, values = _rolled_up(scope, by, span)
        parts.append(sql)
        parameters += values
    for start, end in span.rests:
        sql, values = _records(scope, by, start, end)
        parts.append(sql)
        parameters += values
    return " UNION ALL ".join(parts), parameters


def _rolled_up(scope: UsageScope, by: SumBy, span: Range) -> tuple[str, list[Any]]:
    grain = (_OF_ONE_MEMBER if scope.is_own else _OF_EVERYBODY)[by]
    where, values = _of_scope(scope)
    sql = (
        f"SELECT {_KEYS[by][0]} AS key, {', '.join(SUMS)} FROM routing_usagerollup "  # noqa: S608 - our names
        f"WHERE {where} AND grain = '{grain.value}' AND day >= %s AND day < %s"
    )
    return sql, [*values, span.first, span.end]


def _records(scope: UsageScope, by: SumBy, start: datetime, end: datetime) -> tuple[str, list[Any]]:
    where, values = _of_scope(scope)
    failed = " AND (status >= 400 OR error_type <> '')" if by is SumBy.ERROR else ""
    sums = ", ".join(f"{sql} AS {name}" for name, sql in _OF_RECORD.items())
    sql = (
        f"SELECT {_KEYS[by][1]} AS key, {sums} FROM routing_usagerecord "  # noqa: S608 - our names
        f"WHERE {where}{failed} AND created_at >= %s AND created_at < %s"
    )
    return sql, [*values, start, end]


def _of_scope(scope: UsageScope) -> tuple[str, list[Any]]:
    if scope.user_id is None:
        return "organization_id = %s", [scope.organization_id]
    return "organization_id = %s AND user_id = %s", [scope.organization_id, scope.user_id]
