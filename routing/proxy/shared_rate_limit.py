"""The allowances of keys in Redis, for all processes together."""

from __future__ import annotations

import logging
import threading
import time
from functools import lru_cache
from typing import Any, Final
from uuid import UUID

from redis import ConnectionPool, Redis, RedisError
from redis.backoff import NoBackoff
from redis.retry import Retry

from kilo_gateway import metrics

log = logging.getLogger(__name__)

CONNECT_SECONDS: Final = 0.1
ANSWER_SECONDS: Final = 0.1
# While Redis is away, one request in this many seconds tries again; all others do not wait for it.
RETRY_SECONDS: Final = 2.0
NS_PER_US: Final = 1000

# The generic cell rate algorithm by the clock of Redis, in microseconds: how long to wait, counted unless one has to.
_SCRIPT: Final = """
local time = redis.call('TIME')
local now = time[1] * 1000000 + time[2]
local full_at = math.max(tonumber(redis.call('GET', KEYS[1]) or '0'), now) + tonumber(ARGV[1])
local wait = full_at - now - tonumber(ARGV[2])
if wait <= 0 then
    redis.call('SET', KEYS[1], string.format('%.0f', full_at), 'PX', math.ceil((full_at - now) / 1000))
end
return wait
"""


class SharedAllowances:
    """Asks Redis, one round trip each time; notices when it is away and when it is back."""

    def __init__(self, url: str) -> None:
        pool = ConnectionPool.from_url(
            url,
            socket_connect_timeout=CONNECT_SECONDS,
            socket_timeout=ANSWER_SECONDS,
            retry=Retry(NoBackoff(), 0),
            protocol=2,
        )
        self._script: Any = Redis(connection_pool=pool).register_script(_SCRIPT)
        self._lock = threading.Lock()
        self._is_away = False
        self._try_at = 0.0

    def wait_ns(self, key_id: UUID, *, interval_ns: int, window_ns: int) -> int | None:
        """How long a request has to wait, counted unless it has to; None while Redis does not tell."""
        if self._is_away and not self._may_try():
            metrics.count(metrics.Event.RATE_LIMIT_FALLBACKS)
            return None
        try:
            interval_us = max(interval_ns // NS_PER_US, 1)
            wait_us = self._script(keys=[f"kilo:rate:{key_id}"], args=[interval_us, window_ns // NS_PER_US])
        except RedisError as error:
            self._note_away(error)
            metrics.count(metrics.Event.RATE_LIMIT_FALLBACKS)
            return None
        if self._is_away:
            self._note_back()
        return int(wait_us) * NS_PER_US

    def _may_try(self) -> bool:
        with self._lock:
            now = time.monotonic()
            if now < self._try_at:
                return False
            self._try_at = now + RETRY_SECONDS
            return True

    def _note_away(self, error: RedisError) -> None:
        with self._lock:
            is_new, self._is_away = not self._is_away, True
            self._try_at = time.monotonic() + RETRY_SECONDS
        if is_new:
            # Its text may name the address, which may hold a password.
            log.warning(
                "Redis does not answer (%s): until it does, each process counts the requests of a key for itself",
                type(error).__name__,
            )

    def _note_back(self) -> None:
        with self._lock:
            is_new, self._is_away = self._is_away, False
        if is_new:
            log.info("Redis answers again: all processes count the requests of a key together")


@lru_cache(maxsize=1)
def shared_allowances(url: str) -> SharedAllowances:
    """Those in the Redis at this URL, for as long as this process lasts."""
    return SharedAllowances(url)
