"""How many requests a key may make in a minute: counted in this process or, with `CACHE_URL`, in Redis for all."""

from __future__ import annotations

import math
import threading
import time
from uuid import UUID

from django.conf import settings

from kilo_gateway.api_errors import ErrorType, GatewayError

NS_PER_SECOND = 1_000_000_000
WINDOW_NS = 60 * NS_PER_SECOND
MAX_KEYS = 100_000

_lock = threading.Lock()
# For each key the moment at which its allowance is full again (the generic cell rate algorithm keeps just this).
_full_at: dict[UUID, int] = {}


def check(key_id: UUID) -> None:
    """Count one request of a key against `RATE_LIMIT_PER_KEY` (requests a minute; 0: no limit).

    One round trip where Redis counts; while that does not answer, this process counts for itself, because the limit
    protects against overload and nobody is to be turned away, or let wait, for want of it.

    Raises:
        GatewayError: 429, with `Retry-After`.
    """
    limit: int = settings.RATE_LIMIT_PER_KEY
    if not limit:
        return
    wait_ns = _shared_wait_ns(key_id, limit) if settings.CACHE_URL else None
    if wait_ns is None:
        wait_ns = _wait_ns(key_id, limit, time.monotonic_ns())
    if wait_ns > 0:
        seconds = math.ceil(wait_ns / NS_PER_SECOND)
        raise GatewayError(
            ErrorType.RATE_LIMITED,
            429,
            f"This API key may make {limit} requests a minute. Try again in {seconds} s.",
            headers={"Retry-After": str(seconds)},
        )


def _shared_wait_ns(key_id: UUID, limit: int) -> int | None:
    # Only here: a gateway without Redis need not load its library.
    from routing.proxy.shared_rate_limit import shared_allowances

    allowances = shared_allowances(settings.CACHE_URL)
    return allowances.wait_ns(key_id, interval_ns=WINDOW_NS // limit, window_ns=WINDOW_NS)


def _wait_ns(key_id: UUID, limit: int, now_ns: int) -> int:
    """How long the request has to wait; it is counted unless it has to."""
    # Whole numbers: the sum of all intervals of an allowance must not come out above the window.
    interval_ns = WINDOW_NS // limit
    with _lock:
        if len(_full_at) > MAX_KEYS:
            for stale in [key for key, full_at in _full_at.items() if full_at <= now_ns]:
                del _full_at[stale]
        full_at = max(_full_at.get(key_id, now_ns), now_ns) + interval_ns
        wait_ns = full_at - now_ns - WINDOW_NS
        if wait_ns <= 0:
            _full_at[key_id] = full_at
        return wait_ns
