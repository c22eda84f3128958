"""Reading a log page by page, newest first, by position: never a `COUNT`, never an `OFFSET` that grows with the page.

A log is a table with `created_at`, and an index that begins with what it is narrowed by and ends with `created_at`, or
with an expression that is the same.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Generic, TypeVar

from django.db import connection, models
from django.db.models import Q, QuerySet

Row = TypeVar("Row", bound=models.Model)

# So many rows are looked through for one page, where no index knows which of them match.
WINDOW = 20_000
BATCH = 1_000


@dataclass(frozen=True, slots=True)
class Position:
    """The place of one row in the order."""

    created_at: datetime
    pk: Any


@dataclass(frozen=True, slots=True)
class Page(Generic[Row]):
    """Some rows, newest first, and from where to go on in both directions; None at an end.

    Attributes:
        is_cut: The page ends at `older` because enough was looked through, not because it is full.
    """

    rows: list[Row]
    older: Position | None = None
    newer: Position | None = None
    is_cut: bool = False


@dataclass(frozen=True, slots=True)
class Log(Generic[Row]):
    """What is read.

    Attributes:
        matches: The rows wanted.
        scope: A superset of them that an index yields in order, when none yields the matches themselves.
        moment: What both call `created_at` as that index has it.
    """

    matches: QuerySet[Row]
    scope: QuerySet[Row] | None = None
    moment: str = "created_at"

    def position(self, pk: Any) -> Position | None:
        """The place of a row of the table; None when it has none. One query."""
        found = QuerySet(self.matches.model).filter(pk=pk).values_list("created_at", "pk").first()
        return Position(*found) if found else None

    def older(self, size: int, start: Position | None = None) -> Page[Row]:
        """The newest rows, or those that are older than `start`. One query, two with a scope."""
        rows, more, edge = self._read(size, start, is_older=True)
        newer = None if start is None else (_position_of(rows[0]) if rows else start)
        if more:
            return Page(rows, older=_position_of(rows[-1]), newer=newer)
        return Page(rows, older=edge, newer=newer, is_cut=edge is not None)

    def newer(self, size: int, start: Position) -> Page[Row]:
        """The rows next to `start` that are newer."""
        rows, more, edge = self._read(size, start, is_older=False)
        rows.reverse()
        older = _position_of(rows[-1]) if rows else start
        return Page(rows, older=older, newer=_position_of(rows[0]) if more else edge)

    def walk(self) -> Iterator[list[Row]]:
        """All rows, in batches, some of them empty; no connection is kept between them."""
        page = self.older(BATCH)
        yield page.rows
        while page.older is not None:
            if not connection.in_atomic_block:
                # Whoever streams an answer must not keep a connection: it goes back to the pool.
                connection.close()
            page = self.older(BATCH, page.older)
            yield page.rows

    def _read(self, size: int, start: Position | None, *, is_older: bool) -> tuple[list[Row], bool, Position | None]:
        """The next rows in one direction, whether there are more within the window, and the window's last row."""
        edge = self._edge(start, is_older=is_older)
        matches = self._beyond(self.matches, start, is_older=is_older)
        if edge is not None:
            matches = matches.filter(self._not_before(edge) if is_older else self._not_after(edge))
        rows = list(matches[: size + 1])
        return rows[:size], len(rows) > size, edge

    def _edge(self, start: Position | None, *, is_older: bool) -> Position | None:
        if self.scope is None:
            return None
        rows = self._beyond(self.scope, start, is_older=is_older).select_related(None).values_list("created_at", "pk")
        last = list(rows[WINDOW - 1 : WINDOW])
        return Position(*last[0]) if last else None

    def _beyond(self, rows: QuerySet[Row], start: Position | None, *, is_older: bool) -> QuerySet[Row]:
        if is_older:
            rows = rows.order_by(f"-{self.moment}", "-pk")
            return rows if start is None else rows.filter(self._not_after(start), ~Q(pk=start.pk))
        rows = rows.order_by(self.moment, "pk")
        return rows if start is None else rows.filter(self._not_before(start), ~Q(pk=start.pk))

    # The first condition of each is the one that an index can use.

    def _not_after(self, position: Position) -> Q:
        tie = Q((f"{self.moment}__lt", position.created_at)) | Q(pk__lte=position.pk)
        return Q((f"{self.moment}__lte", position.created_at)) & tie

    def _not_before(self, position: Position) -> Q:
        tie = Q((f"{self.moment}__gt", position.created_at)) | Q(pk__gte=position.pk)
        return Q((f"{self.moment}__gte", position.created_at)) & tie


def _position_of(row: Any) -> Position:
    return Position(row.created_at, row.pk)
