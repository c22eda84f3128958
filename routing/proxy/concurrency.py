"""How many requests run at the same time in a process, for one organization: so that none holds all threads.

Each process counts for itself, because what is short are its own threads.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from uuid import UUID

from django.conf import settings

from kilo_gateway.api_errors import ErrorType, GatewayError

RETRY_AFTER_SECONDS = 2


class Places:
    """So many places for each holder at most, and no more; 0: as many as anybody wants, and nothing is counted."""

    def __init__(self, limit: Callable[[], int], code: str, message: str) -> None:
        """`message` says what there is too much of, with `{limit}` in it."""
        self._limit, self._code, self._message = limit, code, message
        self._lock = threading.Lock()
        self._taken: dict[UUID, int] = {}

    def take(self, holder: UUID) -> bool:
        """Take a place; whether it has to be given back.

        Raises:
            GatewayError: 429, with `Retry-After`, when all of this holder's are taken.
        """
        limit = self._limit()
        if not limit:
            return False
        with self._lock:
            taken = self._taken.get(holder, 0)
            if taken < limit:
                self._taken[holder] = taken + 1
                return True
        raise GatewayError(
            ErrorType.RATE_LIMITED,
            429,
            self._message.format(limit=limit),
            code=self._code,
            headers={"Retry-After": str(RETRY_AFTER_SECONDS)},
        )

    def give_back(self, holder: UUID) -> None:
        """A place that was taken is free again."""
        with self._lock:
            left = self._taken[holder] - 1
            if left:
                self._taken[holder] = left
            else:
                del self._taken[holder]


class HeldPlaces:
    """The places that one request holds; given back once, however often that is said."""

    __slots__ = ("_held",)

    def __init__(self) -> None:
        self._held: list[tuple[Places, UUID]] = []

    def take(self, places: Places, holder: UUID) -> None:
        """Take one more; raises as `Places.take` does."""
        if places.take(holder):
            self._held.append((places, holder))

    def give_back(self) -> None:
        """All of them."""
        while self._held:
            places, holder = self._held.pop()
            places.give_back(holder)


# Of an organization or, outside of one, of a person.
requests = Places(
    lambda: settings.MAX_CONCURRENT_PER_ORGANIZATION,
    "too_many_requests_at_once",
    "{limit} requests of this organization run already, and no more may at the same time. "
    "Try again when one has ended.",
)
# An organization chooses who answers them, and how slowly.
custom_upstreams = Places(
    lambda: settings.MAX_CONCURRENT_CUSTOM,
    "too_many_custom_requests_at_once",
    "{limit} requests to custom providers of this organization run already, and no more may at the same time. "
    "Try again when one has ended.",
)
