"""Spending as it is counted: hosted costs into the counters and the balance, and reservations given back.

In the transaction that writes the usage records, so that a counter is always the sum of the records of its period.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import TYPE_CHECKING, Any, Final, TypeVar
from uuid import UUID

import psycopg

from routing.domain.spending import Period
from routing.proxy.connections import borrowed_connection

if TYPE_CHECKING:
    from routing.proxy.usage_writer import Usage

_Key = TypeVar("_Key")

_RELEASE: Final = """
DELETE FROM routing_spendingreservation WHERE request_id = ANY(%s)
RETURNING organization_id, user_id, amount_microdollars
"""
_RELEASE_EXPIRED: Final = """
DELETE FROM routing_spendingreservation WHERE request_id IN (
    SELECT request_id FROM routing_spendingreservation WHERE organization_id = %s AND expires_at <= now()
    FOR UPDATE SKIP LOCKED
)
RETURNING organization_id, user_id, amount_microdollars
"""
# Rows are locked in one order: an organization's before those of its members, and each kind by id.
_ENSURE_ORGANIZATIONS: Final = """
INSERT INTO routing_hostedbalance (organization_id, updated_at)
SELECT id, now() FROM organizations_organization WHERE id = ANY(%s) ORDER BY id
ON CONFLICT (organization_id) DO NOTHING
"""
_ENSURE_MEMBERS: Final = """
INSERT INTO routing_memberspending (organization_id, user_id)
SELECT s.organization_id, s.user_id FROM unnest(%s::uuid[], %s::uuid[]) AS s (organization_id, user_id)
JOIN organizations_organization AS o ON o.id = s.organization_id ORDER BY 1, 2
ON CONFLICT (organization_id, user_id) DO NOTHING
"""
_COUNTED: Final = """
    day = GREATEST(b.day, s.day),
    day_spent_microdollars = CASE WHEN b.day = s.day THEN b.day_spent_microdollars + s.day_spent
        WHEN b.day < s.day THEN s.day_spent ELSE b.day_spent_microdollars END,
    month = GREATEST(b.month, s.month),
    month_spent_microdollars = CASE WHEN b.month = s.month THEN b.month_spent_microdollars + s.month_spent
        WHEN b.month < s.month THEN s.month_spent ELSE b.month_spent_microdollars END,
    reserved_microdollars = b.reserved_microdollars - s.released
"""
_SUMS: Final = "%s::date[], %s::bigint[], %s::date[], %s::bigint[], %s::bigint[], %s::bigint[]"
_SUM_NAMES: Final = "day, day_spent, month, month_spent, spent, released"
_COUNT_ORGANIZATIONS: Final = f"""
WITH locked AS MATERIALIZED (
    SELECT organization_id FROM routing_hostedbalance WHERE organization_id = ANY(%s)
    ORDER BY organization_id FOR NO KEY UPDATE
)
UPDATE routing_hostedbalance AS b SET balance_microdollars = b.balance_microdollars - s.spent, {_COUNTED},
    updated_at = now()
FROM locked JOIN unnest(%s::uuid[], {_SUMS}) AS s (organization_id, {_SUM_NAMES}) USING (organization_id)
WHERE b.organization_id = locked.organization_id
"""  # noqa: S608 - our names
_COUNT_MEMBERS: Final = f"""
WITH locked AS MATERIALIZED (
    SELECT m.id, m.organization_id, m.user_id FROM routing_memberspending AS m
    JOIN unnest(%s::uuid[], %s::uuid[]) AS k (organization_id, user_id) USING (organization_id, user_id)
    ORDER BY m.organization_id, m.user_id FOR NO KEY UPDATE OF m
)
UPDATE routing_memberspending AS b SET {_COUNTED}
FROM locked JOIN unnest(%s::uuid[], %s::uuid[], {_SUMS}) AS s (organization_id, user_id, {_SUM_NAMES})
    USING (organization_id, user_id)
WHERE b.id = locked.id
"""  # noqa: S608 - our names


@dataclass(slots=True)
class _Sum:
    """What is to be counted for one organization or member; of several days or months, that of the latest."""

    day: date = date.min
    day_spent: int = 0
    month: date = date.min
    month_spent: int = 0
    spent: int = 0
    released: int = 0

    def spend(self, microdollars: int, moment: datetime) -> None:
        self.spent += microdollars
        day, month = Period.DAY.start(moment), Period.MONTH.start(moment)
        if day >= self.day:
            self.day_spent = microdollars + (self.day_spent if day == self.day else 0)
            self.day = day
        if month >= self.month:
            self.month_spent = microdollars + (self.month_spent if month == self.month else 0)
            self.month = month


class _Tally:
    """The sums of a batch, by organization and by member."""

    def __init__(self) -> None:
        self.organizations: dict[UUID, _Sum] = defaultdict(_Sum)
        self.members: dict[tuple[UUID, UUID], _Sum] = defaultdict(_Sum)

    def spend(self, organization_id: UUID, user_id: UUID, microdollars: int, moment: datetime) -> None:
        self.organizations[organization_id].spend(microdollars, moment)
        self.members[organization_id, user_id].spend(microdollars, moment)

    def release(self, reservations: Iterable[Sequence[Any]]) -> None:
        for organization_id, user_id, microdollars in reservations:
            self.organizations[organization_id].released += microdollars
            self.members[organization_id, user_id].released += microdollars

    def write(self, cursor: psycopg.Cursor[Any]) -> None:
        if not self.organizations:
            return
        organization_ids = list(self.organizations)
        cursor.execute(_ENSURE_ORGANIZATIONS, [organization_ids])
        cursor.execute(_COUNT_ORGANIZATIONS, [organization_ids, organization_ids, *_columns(self.organizations)])
        pairs = [[organization_id for organization_id, _ in self.members], [user_id for _, user_id in self.members]]
        cursor.execute(_ENSURE_MEMBERS, pairs)
        cursor.execute(_COUNT_MEMBERS, [*pairs, *pairs, *_columns(self.members)])


def _columns(sums: Mapping[_Key, _Sum]) -> list[list[Any]]:
    found = sums.values()
    return [
        [entry.day for entry in found],
        [entry.day_spent for entry in found],
        [entry.month for entry in found],
        [entry.month_spent for entry in found],
        [entry.spent for entry in found],
        [entry.released for entry in found],
    ]


def settle(rows: Sequence[Usage], cursor: psycopg.Cursor[Any]) -> None:
    """Count what these records cost, in the transaction that writes them, and give back what was reserved for them.

    Nothing at all for requests with keys of the organizations' own. Otherwise one statement, and four more if there is
    anything to count; the last of the transaction, because they hold what new requests wait for.

    Raises:
        psycopg.Error: the database did not take it.
    """
    hosted = [row for row in rows if row.organization_id is not None and not row.is_byok]
    if not hosted:
        return
    tally = _Tally()
    tally.release(cursor.execute(_RELEASE, [[row.request_id for row in hosted]]))
    for row in hosted:
        if row.organization_id is not None and row.hosted_cost_microdollars:
            tally.spend(row.organization_id, row.user_id, row.hosted_cost_microdollars, row.created_at)
    tally.write(cursor)


def release_expired(organization_id: UUID) -> None:
    """Give back what is reserved for requests whose worker has died.

    Raises:
        psycopg.Error: the database did not take it.
    """
    with borrowed_connection() as connection, connection.transaction(), psycopg.Cursor(connection) as cursor:
        tally = _Tally()
        tally.release(cursor.execute(_RELEASE_EXPIRED, [organization_id]))
        tally.write(cursor)
