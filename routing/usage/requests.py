"""Single requests: a list of them, page by page, and one of them with the decision that was made for it."""

from __future__ import annotations

import re
from collections import namedtuple
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from functools import cache
from types import MappingProxyType
from typing import Any, Final, cast
from uuid import UUID

from django.db.models import CharField, QuerySet
from django.db.models.functions import Cast

from kilo_gateway.fixed_query import FixedQuery
from kilo_gateway.newest_first import Log, Page, Position
from organizations.models import ApiKey
from routing.models import UsageRecord
from routing.usage.sums import UsageScope
from routing.usage_selectors import person_emails

PAGE: Final = 100
# Who made a request, and where it is in the list.
_PLACE: Final = ("pk", "created_at", "user_id")
_CURSOR: Final = re.compile(r"(\d{1,17})-(\d{1,18})", re.ASCII)
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)


class Outcome(StrEnum):
    """How a request ended."""

    ANSWERED = "answered"
    FAILED = "failed"
    CANCELLED = "cancelled"


@dataclass(frozen=True, slots=True)
class RequestFilter:
    """Which requests are wanted; what is not said does not matter.

    Attributes:
        mode: As the client said it; empty for requests that said none.
        model: As resolved; empty for requests for which none was.
        since: Begun then or later.
        until: Begun before then.
    """

    user_id: UUID | None = None
    mode: str | None = None
    model: str | None = None
    outcome: Outcome | None = None
    error_type: str = ""
    is_byok: bool | None = None
    since: datetime | None = None
    until: datetime | None = None

    @property
    def has_index(self) -> bool:
        """Whether an index yields the wanted rows in order, so that nothing else has to be looked through."""
        return (self.mode, self.model, self.outcome, self.is_byok) == (None,) * 4 and not self.error_type


@dataclass(frozen=True, slots=True)
class RequestPage:
    """Requests, newest first.

    A page may have fewer rows than fit, even none, and still an older one: then enough was looked through for one page.

    Attributes:
        emails: Of the persons in the rows who still exist, by their ids as text.
        older: The cursor of the next page; empty at the end.
        newer: The cursor of the page before; empty at the beginning.
    """

    rows: list[UsageRecord]
    emails: Mapping[str, str]
    older: str
    newer: str


def usage_requests(
    scope: UsageScope,
    wanted: RequestFilter,
    *,
    before: str = "",
    after: str = "",
    size: int = PAGE,
    fields: Sequence[str] = (),
    known: Mapping[str, str] = MappingProxyType({}),
) -> RequestPage:
    """The newest wanted requests, or those next to a cursor: older ones with `before`, newer ones with `after`.

    A cursor that is none of ours counts as not given. Three queries at most, and nothing is counted.

    Args:
        fields: What of the records is needed beside their place; nothing said, all of it. Then the rows have just
            that, ids perhaps as text, and are made in a fraction of the time.
        known: Addresses of persons, by their ids as text, blank for one who is gone. Only those of others are read.
    """
    needed = (*_PLACE, *fields) if fields else ()
    start, end = _position(before), _position(after)
    plain = RequestFilter(since=wanted.since, until=wanted.until)
    if needed and wanted == plain and wanted.since and wanted.until and not (scope.is_own or start or end):
        newest = _newest(size, needed).rows(scope.organization_id, wanted.since, wanted.until)
        page = _first_page([_row_kind(needed)._make(row) for row in newest], size)
    else:
        rows = _of(scope, wanted)
        matches = _narrowed(rows, wanted)
        if needed:
            matches = cast("QuerySet[UsageRecord]", matches.values_list(*needed, named=True))
        page = _page(Log(matches, None if wanted.has_index else rows), size, start, end)
    persons = {str(row.user_id) for row in page.rows}
    others = [UUID(person) for person in persons - known.keys()]
    read = {str(person): email for person, email in person_emails(others).items()} if others else {}
    found = {**known, **read}
    emails = {person: found[person] for person in persons if found.get(person)}
    return RequestPage(page.rows, emails, older=_cursor(page.older), newer=_cursor(page.newer))


@cache
def _newest(size: int, needed: tuple[str, ...]) -> FixedQuery:
    """The newest requests of an organization in a range of time, and one more: what the list begins with."""

    def described(organization_id: UUID, since: datetime, until: datetime) -> QuerySet[UsageRecord, tuple[Any, ...]]:
        rows = _of(UsageScope(organization_id), RequestFilter(since=since, until=until))
        # As text: to make an object of each id takes as long as to read the rest.
        columns = [Cast(name, CharField()) if name in {"request_id", "user_id"} else name for name in needed]
        return rows.order_by("-created_at", "-pk").values_list(*columns)[: size + 1]

    return FixedQuery(described, UUID(int=1), _EPOCH, _EPOCH + _MICROSECOND)


@cache
def _row_kind(needed: tuple[str, ...]) -> type[Any]:
    return namedtuple("_Row", needed)  # noqa: PYI024 - which ones is not known before


def _first_page(rows: list[Any], size: int) -> Page[UsageRecord]:
    last = rows[size - 1] if len(rows) > size else None
    return Page(rows[:size], older=None if last is None else Position(last.created_at, last.pk))


def _page(log: Log[UsageRecord], size: int, before: Position | None, after: Position | None) -> Page[UsageRecord]:
    return log.newer(size, after) if after is not None and before is None else log.older(size, before)


def _of(scope: UsageScope, wanted: RequestFilter) -> QuerySet[UsageRecord]:
    """What an index yields in order: of an organization, or of one member of it, in a range of time."""
    rows = UsageRecord.objects.filter(organization_id=scope.organization_id)
    if scope.user_id is not None:
        rows = rows.filter(user_id=scope.user_id)
    if wanted.user_id is not None:
        rows = rows.filter(user_id=wanted.user_id)
    if wanted.since is not None:
        rows = rows.filter(created_at__gte=wanted.since)
    if wanted.until is not None:
        rows = rows.filter(created_at__lt=wanted.until)
    return rows


def _narrowed(rows: QuerySet[UsageRecord], wanted: RequestFilter) -> QuerySet[UsageRecord]:
    if wanted.mode is not None:
        rows = rows.filter(mode=wanted.mode)
    if wanted.model is not None:
        rows = rows.filter(resolved_model=wanted.model)
    if wanted.error_type:
        rows = rows.filter(error_type=wanted.error_type)
    if wanted.is_byok is not None:
        rows = rows.filter(is_byok=wanted.is_byok)
    match wanted.outcome:
        case Outcome.FAILED:
            rows = rows.filter(status__gte=400)
        case Outcome.CANCELLED:
            rows = rows.filter(cancelled=True)
        case Outcome.ANSWERED:
            rows = rows.filter(status__lt=400, cancelled=False)
    return rows


def _cursor(position: Position | None) -> str:
    return "" if position is None else f"{(position.created_at - _EPOCH) // _MICROSECOND}-{position.pk}"


def _position(cursor: str) -> Position | None:
    found = _CURSOR.fullmatch(cursor)
    if found is None:
        return None
    try:
        return Position(_EPOCH + int(found[1]) * _MICROSECOND, int(found[2]))
    except OverflowError:
        return None


@dataclass(frozen=True, slots=True)
class Receipt:
    """One request and the decision that was made for it.

    Attributes:
        is_whole: False when only the decision is for whoever asks: not the person, the outcome and the cost.
        email: Of the person who made it; empty when that person is gone.
        key_name: Of the API key that it was made with; empty when the key is gone.
    """

    record: UsageRecord
    is_whole: bool
    email: str
    key_name: str

    @property
    def headers(self) -> dict[str, str]:
        """What the answer's own headers said of the decision, as far as one was made."""
        record = self.record
        said = {
            "x-request-id": str(record.request_id),
            "x-kilo-mode": record.mode,
            "x-kilo-route": record.route,
            "x-kilo-target": record.target,
            "x-kilo-model": record.resolved_model,
            "x-kilo-provider": record.provider,
            "x-kilo-byok": ("true" if record.is_byok else "false") if record.resolved_model else "",
            "x-kilo-routing-version": "" if record.routing_version is None else str(record.routing_version),
        }
        return {name: value for name, value in said.items() if value}


def usage_receipt(scope: UsageScope, request_id: UUID) -> Receipt | None:
    """The request of the organization with this id; None where there is none, or none any more. Three queries at most.

    Of a request beyond the scope it is the decision.
    """
    record = UsageRecord.objects.filter(request_id=request_id, organization_id=scope.organization_id).first()
    if record is None:
        return None
    if scope.user_id not in {None, record.user_id}:
        return Receipt(record, is_whole=False, email="", key_name="")
    key_name = ""
    if record.api_key_id is not None:
        key_name = ApiKey.objects.filter(pk=record.api_key_id).values_list("name", flat=True).first() or ""
    email = person_emails([record.user_id]).get(record.user_id, "")
    return Receipt(record, is_whole=True, email=email, key_name=key_name)
