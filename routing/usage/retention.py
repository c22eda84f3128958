"""The end of old usage records. Their roll-ups stay, so that no total changes."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Final

from django.db import connection, transaction

from routing.models import Installation

# The key of the advisory lock, arbitrary but ours: "kiloprun" as a number.
ADVISORY_LOCK: Final = int.from_bytes(b"kiloprun", "big")
# So many are deleted in one transaction: it takes a fraction of a second, and what was done stays done.
BATCH: Final = 5_000
_AGE: Final = re.compile(r"([1-9]\d{0,4})([dm])", re.ASCII)
_MONTHS: Final = 12


@dataclass(frozen=True, slots=True)
class Pruned:
    """What was done.

    Attributes:
        is_complete: No older record is left; else somebody else is at it, or it was stopped.
    """

    records: int
    is_complete: bool


def day_before(age: str, *, today: date | None = None) -> date:
    """The first day that is kept when everything older than `90d` (days) or `12m` (months of the calendar) goes.

    Raises:
        ValueError: it is no such age, or goes back further than the calendar.
    """
    today = today or datetime.now(UTC).date()
    found = _AGE.fullmatch(age.strip().lower())
    if found is None:
        raise ValueError("An age is a number of days or months, such as 90d or 12m.")
    count = int(found[1])
    try:
        if found[2] == "d":
            return today - timedelta(days=count)
        months = today.year * _MONTHS + today.month - 1 - count
        return _last_day_up_to(months // _MONTHS, months % _MONTHS + 1, today.day)
    except (OverflowError, ValueError):
        raise ValueError("That is before there was a calendar.") from None


def _last_day_up_to(year: int, month: int, day: int) -> date:
    """That day, or the last one of a shorter month."""
    following = date(year + month // _MONTHS, month % _MONTHS + 1, 1)
    return min(date(year, month, 1) + timedelta(days=day - 1), following - timedelta(days=1))


def usage_prune(before: date, *, is_stopped: Callable[[], bool] = lambda: False) -> Pruned:
    """Delete the records of all days before that one, in batches, each in a transaction of its own.

    Whoever breaks it off loses nothing: the next call goes on. Two at once do not meet: the second gives up.
    """
    records = 0
    _note(before)
    while not is_stopped():
        deleted = _delete_batch(before)
        if deleted is None:
            break
        records += deleted
        if deleted < BATCH:
            return Pruned(records, is_complete=True)
    return Pruned(records, is_complete=False)


def _note(before: date) -> None:
    """First, so that whoever reads a range afterwards knows that it cannot cut these days in two."""
    earlier = Installation.objects.filter(pk=1).exclude(usage_pruned_before__gte=before)
    earlier.update(usage_pruned_before=before)


def _delete_batch(before: date) -> int | None:
    """How many were deleted; None when another process has the lock."""
    with transaction.atomic(), connection.cursor() as cursor:
        # A lock of the transaction, because one of the session would be lost behind PgBouncer.
        cursor.execute("SELECT pg_try_advisory_xact_lock(%s)", [ADVISORY_LOCK])
        if not cursor.fetchone()[0]:
            return None
        cursor.execute(
            "DELETE FROM routing_usagerecord WHERE id = ANY(ARRAY("
            # As the index of all organizations' records has it, see `MOMENT_OF_ALL`.
            "SELECT id FROM routing_usagerecord WHERE greatest(created_at, created_at) < %s "
            "ORDER BY greatest(created_at, created_at) LIMIT %s))",
            [datetime.combine(before, time.min, UTC), BATCH],
        )
        return int(cursor.rowcount)
