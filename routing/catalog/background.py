"""The server's own catalog sync: a thread in each of its processes, of which one at a time does the work."""

from __future__ import annotations

import logging
import random
import threading
from datetime import timedelta
from typing import Final

from django.conf import settings
from django.db import connections
from django.utils import timezone

from routing.catalog.fetch import Deadline
from routing.catalog.sync import sync_catalog
from routing.models import Installation

logger = logging.getLogger(__name__)

INTERVAL_SECONDS: Final = 600.0
FIRST_DELAY_SECONDS: Final = (3.0, 10.0)
# Processes do not wake at the same moment: whichever is first does the work, the others find it done.
JITTER: Final = 0.1


class BackgroundSync:
    """A running thread. `stop` ends it, and a sync that it is in the middle of."""

    def __init__(
        self,
        *,
        interval_seconds: float = INTERVAL_SECONDS,
        first_delay_seconds: tuple[float, float] = FIRST_DELAY_SECONDS,
    ) -> None:
        self._interval_seconds = interval_seconds
        self._first_delay_seconds = first_delay_seconds
        self._stopped = threading.Event()
        self._lock = threading.Lock()
        self._deadline: Deadline | None = None
        self._thread = threading.Thread(target=self._run, name="catalog-sync", daemon=True)

    def start(self) -> None:
        self._thread.start()

    @property
    def is_alive(self) -> bool:
        return self._thread.is_alive()

    def stop(self, timeout_seconds: float = 5.0) -> None:
        """End the thread; a sync in progress leaves the catalog as it is."""
        self._stopped.set()
        with self._lock:
            if self._deadline is not None:
                self._deadline.interrupt()
        self._thread.join(timeout_seconds)

    def _run(self) -> None:
        delay = random.uniform(*self._first_delay_seconds)  # noqa: S311 - spreads load, guards nothing
        while not self._stopped.wait(delay):
            self._sync_once()
            delay = self._interval_seconds * random.uniform(1 - JITTER, 1 + JITTER)  # noqa: S311 - as above

    def _sync_once(self) -> None:
        try:
            if self._is_due():
                with self._lock:
                    self._deadline = Deadline(settings.CATALOG_SYNC_TIMEOUT)
                    if self._stopped.is_set():
                        return
                sync_catalog(deadline=self._deadline)
        except Exception:
            # Whatever it was, the next interval tries again: a thread that has ended would never.
            logger.exception("The catalog sync broke off.")
        finally:
            with self._lock:
                self._deadline = None
            connections.close_all()

    def _is_due(self) -> bool:
        """Whether no process has found the catalog good within the interval, less the jitter."""
        checked_at = Installation.objects.values_list("catalog_checked_at", flat=True).filter(pk=1).first()
        interval = timedelta(seconds=self._interval_seconds * (1 - 2 * JITTER))
        return checked_at is None or timezone.now() - checked_at >= interval


_started: BackgroundSync | None = None
_start_lock: Final = threading.Lock()


def start_background_sync() -> BackgroundSync | None:
    """Start the thread of this process, once; None when the settings turn it off (`CATALOG_SYNC=0`)."""
    global _started  # noqa: PLW0603 - one thread for the process is what this is about
    if not settings.CATALOG_SYNC:
        return None
    with _start_lock:
        if _started is None or not _started.is_alive:
            _started = BackgroundSync()
            _started.start()
        return _started
