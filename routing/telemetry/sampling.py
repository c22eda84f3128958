"""What is true of this process now, looked at every few seconds."""

from __future__ import annotations

import logging
import threading
from typing import Final

from django.db import DatabaseError, connections

from kilo_gateway import instruments
from routing.models import Installation
from routing.proxy.connections import pool_numbers
from routing.proxy.usage_writer import writer

log = logging.getLogger(__name__)

INTERVAL_SECONDS: Final = 5.0


class _Sampler:
    def __init__(self) -> None:
        self._dropped = 0

    def run(self) -> None:
        instruments.WORKERS.set(1)
        pause = threading.Event()
        while True:
            self.sample()
            pause.wait(INTERVAL_SECONDS)

    def sample(self) -> None:
        """One look; one query."""
        instruments.QUEUE_DEPTH.set(writer.depth)
        dropped = writer.dropped
        if dropped > self._dropped:
            instruments.DROPPED.inc(dropped - self._dropped)
            self._dropped = dropped
        for state, number in pool_numbers().items():
            instruments.POOL.labels(state).set(number)
        try:
            checked_at = Installation.objects.values_list("catalog_checked_at", flat=True).filter(pk=1).first()
            if checked_at is not None:
                instruments.CATALOG_CHECKED.set(checked_at.timestamp())
        except DatabaseError as error:
            log.debug("The catalog's age is not known (%s)", type(error).__name__)
        finally:
            connections.close_all()


def start() -> None:
    """Start the thread of this process."""
    threading.Thread(target=_Sampler().run, name="metrics", daemon=True).start()
