"""A gateway that is watched: metrics on a port of their own, traces sent to a receiver."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.operations.receiver import TraceReceiver
from tests.support.live import Gateway, free_port, server_beside


@pytest.fixture(scope="package")
def receiver() -> Iterator[TraceReceiver]:
    with TraceReceiver() as running:
        yield running


@pytest.fixture(scope="package")
def watched(gateway: Gateway, tmp_path_factory: pytest.TempPathFactory, receiver: TraceReceiver) -> Iterator[Gateway]:
    """Two worker processes."""
    with server_beside(
        gateway,
        tmp_path_factory.mktemp("watched"),
        WORKERS="2",
        METRICS_PORT=str(free_port()),
        OTEL_EXPORTER_OTLP_ENDPOINT=receiver.base_url,
        OTEL_EXPORTER_OTLP_HEADERS="authorization=Bearer%20collector-token",
        OTEL_BSP_SCHEDULE_DELAY="100",
    ) as running:
        yield running
