"""How many requests a key may make in a minute, counted in this process."""

from __future__ import annotations

import math
import threading
import time
from uuid import UUID

from django.conf import settings

from kilo_gateway.api_errors import ErrorType, GatewayError

WINDOW_SECONDS = 60
MAX_KEYS = 100_000

_lock = threading.Lock()
# For each key the time at which its allowance is full again (the generic cell rate algorithm keeps just this).
_full_at: dict[UUID, float] = {}


def check(key_id: UUID) -> None:
    """Count one request of a key against `RATE_LIMIT_PER_KEY` (requests a minute; 0: no limit).

    Raises:
        GatewayError: 429, with `Retry-After`.
    """
    limit: int = settings.RATE_LIMIT_PER_KEY
    if not limit:
        return
    wait = _wait_seconds(key_id, limit, time.monotonic())
    if wait > 0:
        raise GatewayError(
            ErrorType.RATE_LIMITED,
            429,
            f"This API key may make {limit} requests a minute. Try again in {math.ceil(wait)} s.",
            headers={"Retry-After": str(math.ceil(wait))},
        )


def _wait_seconds(key_id: UUID, limit: int, now: float) -> float:
    interval = WINDOW_SECONDS / limit
    with _lock:
        if len(_full_at) > MAX_KEYS:
            for stale in [key for key, full_at in _full_at.items() if full_at <= now]:
                del _full_at[stale]
        full_at = max(_full_at.get(key_id, now), now) + interval
        # To the microsecond: sums of intervals are not exact, and the last request of an allowance belongs to it.
        wait = round(full_at - now - WINDOW_SECONDS, 6)
        if wait <= 0:
            _full_at[key_id] = full_at
        return wait
