"""The server's own catalog sync: a thread in each of its processes, of which one at a time does the work."""

from __future__ import annotations

import threading
from datetime import timedelta
from typing import Final

from django.conf import settings
from django.utils import timezone

from kilo_gateway.background import JITTER, OfThisProcess, RepeatingThread
from routing.catalog.fetch import Deadline
from routing.catalog.sync import sync_catalog
from routing.models import Installation

INTERVAL_SECONDS: Final = 600.0
FIRST_DELAY_SECONDS: Final = (3.0, 10.0)


class BackgroundSync(RepeatingThread):
    """Keeps the catalog good. `stop` ends a sync in progress too, which leaves the catalog as it is."""

    name = "catalog-sync"
    title = "The catalog sync"

    def __init__(
        self,
        *,
        interval_seconds: float = INTERVAL_SECONDS,
        first_delay_seconds: tuple[float, float] = FIRST_DELAY_SECONDS,
    ) -> None:
        super().__init__(interval_seconds=interval_seconds, first_delay_seconds=first_delay_seconds)
        self._lock = threading.Lock()
        self._deadline: Deadline | None = None

    def stop(self, timeout_seconds: float = 5.0) -> None:
        """End the thread, and a sync in progress."""
        self.stopped.set()
        with self._lock:
            if self._deadline is not None:
                self._deadline.interrupt()
        super().stop(timeout_seconds)

    def work(self) -> None:
        """Sync once, if no process did within the interval."""
        if not self._is_due():
            return
        try:
            with self._lock:
                self._deadline = Deadline(settings.CATALOG_SYNC_TIMEOUT)
                if self.stopped.is_set():
                    return
            sync_catalog(deadline=self._deadline)
        finally:
            with self._lock:
                self._deadline = None

    def _is_due(self) -> bool:
        """Whether no process has found the catalog good within the interval, less the jitter."""
        checked_at = Installation.objects.values_list("catalog_checked_at", flat=True).filter(pk=1).first()
        interval = timedelta(seconds=self.interval_seconds * (1 - 2 * JITTER))
        return checked_at is None or timezone.now() - checked_at >= interval


_started: OfThisProcess[BackgroundSync] = OfThisProcess()


def start_background_sync() -> BackgroundSync | None:
    """Start the thread of this process, once; None when the settings turn it off (`CATALOG_SYNC=0`)."""
    return _started.start(BackgroundSync) if settings.CATALOG_SYNC else None
