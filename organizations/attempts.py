"""How often something may be tried: wrong passwords, codes, mails to an address.

Counted in the database, so that the limit is one for all processes. Windows are fixed: the first attempt opens one, and
what is tried in it counts, whether it was allowed or not.
"""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv6Network, ip_address

from django.db import connection
from django.utils.crypto import salted_hmac

_SALT = "organizations.attempts"


@dataclass(frozen=True, slots=True)
class Limit:
    """So many attempts in so many seconds, for each subject by itself."""

    name: str
    number: int
    seconds: int

    def allows(self, subject: str) -> bool:
        """Count one attempt, and say whether it may be made. One statement, atomic; two in a new window."""
        with connection.cursor() as cursor:
            cursor.execute(
                "INSERT INTO organizations_attempt AS known (key, count, ends_at)"
                " VALUES (%(key)s, 1, clock_timestamp() + make_interval(secs => %(seconds)s))"
                " ON CONFLICT (key) DO UPDATE SET"
                " count = CASE WHEN known.ends_at <= clock_timestamp() THEN 1 ELSE LEAST(known.count, 1000000) + 1 END,"
                " ends_at = CASE WHEN known.ends_at <= clock_timestamp() THEN excluded.ends_at ELSE known.ends_at END"
                " RETURNING count",
                {"key": self._key(subject), "seconds": self.seconds},
            )
            count: int = cursor.fetchone()[0]
            if count == 1:
                _forget_old(cursor)
        return count <= self.number

    def is_reached(self, subject: str) -> bool:
        """Whether the next attempt would be refused; counts nothing. One statement."""
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT 1 FROM organizations_attempt WHERE key = %s AND count >= %s AND ends_at > clock_timestamp()",
                [self._key(subject), self.number],
            )
            return cursor.fetchone() is not None

    def give_back(self, subject: str) -> None:
        """Take one attempt back, because it was a good one. One statement."""
        with connection.cursor() as cursor:
            cursor.execute(
                "UPDATE organizations_attempt SET count = count - 1 WHERE key = %s AND count > 0", [self._key(subject)]
            )

    def _key(self, subject: str) -> str:
        return salted_hmac(_SALT, f"{self.name}\0{subject}", algorithm="sha256").hexdigest()


def network_of(address: str | None) -> str:
    """Who counts as one by his address: an IPv4 address, or the /64 of an IPv6 address, which one subscriber has."""
    if address is None:
        return "local"
    parsed = ip_address(address)
    return str(parsed) if parsed.version == 4 else str(IPv6Network((int(parsed), 64), strict=False))


def _forget_old(cursor: object) -> None:
    cursor.execute(  # type: ignore[attr-defined]  # Django's wrapper has no type of its own
        "DELETE FROM organizations_attempt WHERE key IN (SELECT key FROM organizations_attempt"
        " WHERE ends_at < clock_timestamp() - interval '1 hour' LIMIT 100 FOR UPDATE SKIP LOCKED)"
    )
