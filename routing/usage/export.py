"""Usage as a file, made while it is sent."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date
from typing import Any, Final

from django.db import connection

from organizations.audit_export import csv_cell, csv_lines
from routing.usage.sums import SUMS, UsageScope
from routing.usage_selectors import person_emails

COLUMNS: Final = ("day", "mode", "model", "member", "member_id", *SUMS)
BATCH: Final = 1_000
_PLACE: Final = "day, user_id, mode, resolved_model"


def usage_csv(scope: UsageScope, first: date, last: date) -> Iterator[str]:
    """A line for each day, mode, model and member, from the roll-ups; both days included, oldest first.

    Read in batches by position; no connection is kept between them: whoever it is sent to may be slow. Two queries a
    batch.
    """
    yield csv_lines([COLUMNS])
    place: tuple[Any, ...] | None = None
    while True:
        rows = _batch(scope, first, last, place)
        if rows:
            emails = person_emails(row[1] for row in rows)
            yield csv_lines(
                [csv_cell(value) for value in (day, mode, model, emails.get(user_id, ""), user_id, *sums)]
                for day, user_id, mode, model, *sums in rows
            )
        if not connection.in_atomic_block:
            connection.close()
        if len(rows) < BATCH:
            return
        place = rows[-1][:4]


def _batch(scope: UsageScope, first: date, last: date, place: tuple[Any, ...] | None) -> list[tuple[Any, ...]]:
    where, values = "organization_id = %s AND grain = 'detail' AND day >= %s AND day <= %s", [scope.organization_id]
    parameters: list[Any] = [*values, first if place is None else place[0], last]
    if scope.user_id is not None:
        where += " AND user_id = %s"
        parameters.append(scope.user_id)
    if place is not None:
        where += f" AND ({_PLACE}) > (%s, %s, %s, %s)"
        parameters += place
    statement = (
        f"SELECT {_PLACE}, {', '.join(SUMS)} FROM routing_usagerollup "  # noqa: S608 - our names
        f"WHERE {where} ORDER BY {_PLACE} LIMIT {BATCH}"
    )
    with connection.cursor() as cursor:
        cursor.execute(statement, parameters)
        return list(cursor.fetchall())
