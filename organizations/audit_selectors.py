"""Reading the audit log of one organization.

The rows of an organization are numbered without a gap, so a range of numbers is also a number of rows: that is what
keeps every query bounded, however long the log is. Nothing is counted.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final, Generic, NamedTuple, TypeVar
from uuid import UUID

from django.db import connection
from django.db.models import BooleanField, Case, Q, QuerySet, Value, When

from kilo_gateway.fixed_query import FixedQuery
from organizations.audit import row_hash
from organizations.models import AuditAction, AuditLog

PAGE: Final = 100
# So many rows are looked through for one page, where no index knows which of them match.
WINDOW: Final = 20_000
BATCH: Final = 1_000
# Rows are numbered in the order of their writing; the clocks of the hosts that wrote them may differ by this much.
CLOCKS_DIFFER_BY: Final = timedelta(minutes=5)


@dataclass(frozen=True, slots=True)
class AuditFilter:
    """Which rows are wanted; what is not said does not matter.

    Attributes:
        actor: Who made the change: an id, or the email address as it was then.
        text: What the message contains, whatever the case of its letters.
        since: Written then or later.
        until: Written before then.
    """

    action: AuditAction | None = None
    actor: UUID | str | None = None
    text: str = ""
    since: datetime | None = None
    until: datetime | None = None

    @property
    def has_index(self) -> bool:
        """Whether an index yields the wanted rows in order, so that nothing else has to be looked through."""
        return not self.text and (self.action is None or self.actor is None)


def id_or_email(text: str) -> UUID | str:
    """How an actor is said in an address: as an id, or as an email address."""
    try:
        return UUID(text)
    except ValueError:
        return text


@dataclass(frozen=True, slots=True)
class ChainHead:
    """The last row of an organization's chain; its hash vouches for all rows before it."""

    sequence: int = 0
    hash: str = ""


class ListedRow(NamedTuple):
    """What a list shows of a row: not what was changed."""

    sequence: int
    created_at: datetime
    action: str
    actor_id: UUID | None
    actor_email: str
    actor_name: str
    via: str
    message: str
    hash: str


Row = TypeVar("Row", AuditLog, ListedRow)


@dataclass(frozen=True, slots=True)
class AuditPage(Generic[Row]):
    """Rows, newest first; `next_cursor` leads to the older ones, `head` is the chain's at that moment.

    A page may have fewer rows than fit, even none, and still a next one: then enough was looked through for one page.
    """

    rows: list[Row]
    next_cursor: int | None
    head: ChainHead


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """One row, and how it stands in its chain.

    Attributes:
        is_intact: It says what its hash was made of, and follows the row before it.
        is_newest: No row comes after it.
    """

    row: AuditLog
    is_intact: bool
    is_newest: bool


def chain_head(organization_id: UUID) -> ChainHead:
    """The newest row's number and hash. One query."""
    newest = AuditLog.objects.filter(organization_id=organization_id).order_by("-sequence")
    found = newest.values_list("sequence", "hash").first()
    return ChainHead(*found) if found else ChainHead()


def _newest(rows: QuerySet[AuditLog]) -> QuerySet[AuditLog]:
    """The newest ones of a page, and one more."""
    return rows.order_by("-sequence")[: PAGE + 1]


def _newest_listed(organization_id: UUID) -> QuerySet[AuditLog, tuple[Any, ...]]:
    return _newest(AuditLog.objects.filter(organization_id=organization_id)).values_list(*ListedRow._fields)


_NEWEST_LISTED: Final = FixedQuery(_newest_listed, UUID(int=1))


def audit_page(organization_id: UUID, wanted: AuditFilter, *, cursor: int | None = None) -> AuditPage[AuditLog]:
    """The newest wanted rows, or those older than the one with the number `cursor`. Four queries at most, one for the
    newest of all rows.
    """
    if cursor is None and wanted == AuditFilter():
        return _of_newest([*_newest(AuditLog.objects.filter(organization_id=organization_id))])
    found = _found(organization_id, wanted, cursor)
    return _cut([*found.rows], found.older, found.head)


def audit_list(organization_id: UUID, wanted: AuditFilter, *, cursor: int | None = None) -> AuditPage[ListedRow]:
    """The same without what a list does not show."""
    if cursor is None and wanted == AuditFilter():
        return _of_newest([*map(ListedRow._make, _NEWEST_LISTED.rows(organization_id))])
    found = _found(organization_id, wanted, cursor)
    rows = [ListedRow._make(row) for row in found.rows.values_list(*ListedRow._fields)]
    return _cut(rows, found.older, found.head)


class _Found(NamedTuple):
    rows: QuerySet[AuditLog]
    older: int | None
    head: ChainHead


def _found(organization_id: UUID, wanted: AuditFilter, cursor: int | None) -> _Found:
    head = chain_head(organization_id)
    low, high = _range(organization_id, wanted, head)
    if cursor is not None:
        high = min(high, cursor - 1)
    edge = low if wanted.has_index else max(low, high - WINDOW + 1)
    rows = _newest(_matching(organization_id, wanted, edge, high))
    return _Found(rows, edge if edge > low else None, head)


def _of_newest(rows: list[Row]) -> AuditPage[Row]:
    head = ChainHead(rows[0].sequence, rows[0].hash) if rows else ChainHead()
    return _cut(rows, None, head)


def _cut(rows: list[Row], older: int | None, head: ChainHead) -> AuditPage[Row]:
    """What fits on a page; `older` leads on where that is all of them."""
    if len(rows) > PAGE:
        return AuditPage(rows[:PAGE], rows[PAGE - 1].sequence, head)
    return AuditPage(rows, older, head)


def audit_entry(organization_id: UUID, sequence: int) -> AuditEntry | None:
    """The row with this number, checked against the row before it; None when there is none. One query."""
    around = AuditLog.objects.filter(
        organization_id=organization_id, sequence__gte=sequence - 1, sequence__lte=sequence + 1
    )
    rows = {row.sequence: row for row in around}
    if sequence not in rows:
        return None
    row, before = rows[sequence], rows.get(sequence - 1)
    follows = row.previous_hash == (before.hash if before else "") and (before is not None or sequence == 1)
    return AuditEntry(row, follows and row.hash == row_hash(row), sequence + 1 not in rows)


def audit_batches(organization_id: UUID, wanted: AuditFilter, head: ChainHead) -> Iterator[list[AuditLog]]:
    """All wanted rows up to the head, oldest first, in batches of which some are empty.

    No connection is kept meanwhile: whoever they are sent to may be slow. Rows never change, so they are the same as if
    they had been read at once.
    """
    low, high = _range(organization_id, wanted, head)
    for start in range(low, high + 1, BATCH):
        end = min(start + BATCH - 1, high)
        rows = list(_matching(organization_id, wanted, start, end).order_by("sequence"))
        if not connection.in_atomic_block:
            connection.close()
        yield rows


def _matching(organization_id: UUID, wanted: AuditFilter, low: int, high: int) -> QuerySet[AuditLog]:
    rows = AuditLog.objects.filter(organization_id=organization_id, sequence__gte=low, sequence__lte=high)
    if wanted.action is not None:
        rows = rows.filter(action=wanted.action)
    if isinstance(wanted.actor, UUID):
        rows = rows.filter(actor_id=wanted.actor)
    elif wanted.actor is not None:
        rows = rows.filter(actor_email=wanted.actor.lower())
    if wanted.text:
        rows = rows.filter(message__icontains=wanted.text)
    if wanted.since is not None:
        rows = rows.filter(_unindexed(Q(created_at__gte=wanted.since)))
    if wanted.until is not None:
        rows = rows.filter(_unindexed(Q(created_at__lt=wanted.until)))
    return rows


def _unindexed(condition: Q) -> Case:
    """The same condition as the planner can make nothing of: no index for it, and no guess how few rows match.

    The range of numbers is narrow enough. Either would tempt it to read all rows of that time, or all of an action, and
    sort them, instead of the first hundred in the order of an index.
    """
    return Case(When(condition, then=Value(True)), default=Value(False), output_field=BooleanField())


def _range(organization_id: UUID, wanted: AuditFilter, head: ChainHead) -> tuple[int, int]:
    """The first and the last number that wanted rows can have, by the time of writing; the first is higher if none can.

    Generous by as much as clocks differ; the rows themselves are compared with the exact times.
    """
    low, high = 1, head.sequence
    rows = AuditLog.objects.filter(organization_id=organization_id)
    if wanted.since is not None:
        after = rows.filter(created_at__gte=_shifted(wanted.since, -CLOCKS_DIFFER_BY)).order_by("created_at")
        low = after.values_list("sequence", flat=True).first() or high + 1
    if wanted.until is not None:
        before = rows.filter(created_at__lt=_shifted(wanted.until, CLOCKS_DIFFER_BY)).order_by("-created_at")
        high = min(high, before.values_list("sequence", flat=True).first() or 0)
    return low, high


def _shifted(moment: datetime, by: timedelta) -> datetime:
    try:
        return moment + by
    except OverflowError:
        return moment
