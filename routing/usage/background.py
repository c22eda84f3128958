"""The server's own pruning of usage records: a thread in each of its processes, of which one at a time works."""

from __future__ import annotations

import logging
import random
import threading
from datetime import UTC, datetime, timedelta
from typing import Final

from django.conf import settings
from django.db import connections

from routing.usage.retention import usage_prune

logger = logging.getLogger(__name__)

INTERVAL_SECONDS: Final = 3600.0
FIRST_DELAY_SECONDS: Final = (60.0, 120.0)
JITTER: Final = 0.1


class BackgroundPruning:
    """A running thread. `stop` ends it after the batch that it is at."""

    def __init__(
        self,
        days: int,
        *,
        interval_seconds: float = INTERVAL_SECONDS,
        first_delay_seconds: tuple[float, float] = FIRST_DELAY_SECONDS,
    ) -> None:
        self._days = days
        self._interval_seconds = interval_seconds
        self._first_delay_seconds = first_delay_seconds
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, name="usage-pruning", daemon=True)

    def start(self) -> None:
        self._thread.start()

    @property
    def is_alive(self) -> bool:
        return self._thread.is_alive()

    def stop(self, timeout_seconds: float = 5.0) -> None:
        """End the thread."""
        self._stopped.set()
        self._thread.join(timeout_seconds)

    def _run(self) -> None:
        delay = random.uniform(*self._first_delay_seconds)  # noqa: S311 - spreads load, guards nothing
        while not self._stopped.wait(delay):
            self._prune_once()
            delay = self._interval_seconds * random.uniform(1 - JITTER, 1 + JITTER)  # noqa: S311 - as above

    def _prune_once(self) -> None:
        try:
            before = datetime.now(UTC).date() - timedelta(days=self._days)
            pruned = usage_prune(before, is_stopped=self._stopped.is_set)
            if pruned.records:
                logger.info("%d usage records from before %s were deleted.", pruned.records, before)
        except Exception:
            # Whatever it was, the next interval tries again: a thread that has ended would never.
            logger.exception("The pruning of usage records broke off.")
        finally:
            connections.close_all()


_started: BackgroundPruning | None = None
_start_lock: Final = threading.Lock()


def start_background_pruning() -> BackgroundPruning | None:
    """Start the thread of this process, once; None when records are kept for good (`USAGE_RETENTION_DAYS` is 0)."""
    global _started  # noqa: PLW0603 - one thread for the process is what this is about
    if not settings.USAGE_RETENTION_DAYS:
        return None
    with _start_lock:
        if _started is None or not _started.is_alive:
            _started = BackgroundPruning(settings.USAGE_RETENTION_DAYS)
            _started.start()
        return _started
