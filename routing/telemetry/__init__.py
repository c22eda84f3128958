"""What operators see of the requests: metrics and traces, made of usage records after the requests have ended."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING

from django.conf import settings

from kilo_gateway import metrics

if TYPE_CHECKING:
    from routing.proxy.usage_writer import Usage

log = logging.getLogger(__name__)


def observe(written: Sequence[Usage]) -> None:
    """Count and trace requests whose records have been written. Called by the usage writer's thread; never raises."""
    try:
        # Only here: whoever wants neither need not load their libraries.
        if metrics.is_on():
            from routing.telemetry.counting import count_requests

            count_requests(written)
        if settings.OTEL_EXPORTER_OTLP_ENDPOINT:
            from routing.telemetry.tracing import trace_requests

            trace_requests(written)
    except Exception:
        # Records matter more than what is told of them.
        log.exception("Requests could not be counted or traced")


def start_sampling() -> None:
    """Start to look at this process's queues and connections from time to time, where metrics are on."""
    if metrics.is_on():
        from routing.telemetry.sampling import start

        start()
