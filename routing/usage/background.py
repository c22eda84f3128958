"""The server's own pruning of usage records: a thread in each of its processes, of which one at a time works."""

from __future__ import annotations

import logging
from datetime import UTC, datetime, timedelta
from typing import Final

from django.conf import settings

from kilo_gateway.background import OfThisProcess, RepeatingThread
from routing.usage.retention import usage_prune

logger = logging.getLogger(__name__)

INTERVAL_SECONDS: Final = 3600.0
FIRST_DELAY_SECONDS: Final = (60.0, 120.0)


class BackgroundPruning(RepeatingThread):
    """Deletes what is older than so many days. `stop` ends it after the batch that it is at."""

    name = "usage-pruning"
    title = "The pruning of usage records"

    def __init__(
        self,
        days: int,
        *,
        interval_seconds: float = INTERVAL_SECONDS,
        first_delay_seconds: tuple[float, float] = FIRST_DELAY_SECONDS,
    ) -> None:
        super().__init__(interval_seconds=interval_seconds, first_delay_seconds=first_delay_seconds)
        self._days = days

    def work(self) -> None:
        """Prune once."""
        before = datetime.now(UTC).date() - timedelta(days=self._days)
        pruned = usage_prune(before, is_stopped=self.stopped.is_set)
        if pruned.records:
            logger.info("%d usage records from before %s were deleted.", pruned.records, before)


_started: OfThisProcess[BackgroundPruning] = OfThisProcess()


def start_background_pruning() -> BackgroundPruning | None:
    """Start the thread of this process, once; None when records are kept for good (`USAGE_RETENTION_DAYS` is 0)."""
    if not settings.USAGE_RETENTION_DAYS:
        return None
    return _started.start(lambda: BackgroundPruning(settings.USAGE_RETENTION_DAYS))
