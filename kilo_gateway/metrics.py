"""Counting for Prometheus what no usage record tells, and serving the sums at a port of its own.

The numbers of all worker processes lie in files of one folder, which the server makes at its start and names in the
environment; a small process beside the workers adds them up when it is asked. So a scrape reaches no worker, and it
does not matter how many there are. Without `METRICS_PORT` nothing is counted, and the library is not loaded.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from typing import Final

from kilo_gateway.env import SettingError

FOLDER_VARIABLE: Final = "PROMETHEUS_MULTIPROC_DIR"


class Event(StrEnum):
    """What is counted where it happens; each is a counter `kilo_gateway_<event>_total`."""

    REFUSALS = "refusals"
    """A request refused before it was resolved; labelled with the type of the error."""
    LOCKED_RESOLUTIONS = "locked_resolutions"
    """A request for which no decision was remembered."""
    TOGGLE_FAILURES = "toggle_failures"
    """The release toggle could not be asked, and counted as off."""
    RATE_LIMIT_FALLBACKS = "rate_limit_fallbacks"
    """The shared rate limit could not be asked, and a process counted for itself."""


def is_on() -> bool:
    """Whether this process counts."""
    return FOLDER_VARIABLE in os.environ


def count(event: Event, label: str = "") -> None:
    """Count one event. `label` is one of a closed set of words, and only refusals have one."""
    if is_on():
        # Only here: whoever wants no metrics need not load their library.
        from kilo_gateway.instruments import event_counter

        event_counter(event, label).inc()


@contextmanager
def served_metrics(host: str, port: int) -> Iterator[None]:
    """While the block runs, what it starts counts into one folder, and the sums are served at the port.

    Raises:
        SettingError: nothing can listen there.
    """
    folder = tempfile.mkdtemp(prefix="kilo-gateway-metrics-")
    os.environ[FOLDER_VARIABLE] = folder
    command = [sys.executable, "-m", "kilo_gateway.metrics_server", host, str(port)]
    server = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)  # noqa: S603 - our own module
    try:
        if server.stdout is None or not server.stdout.readline():
            raise SettingError(f"METRICS_PORT: nothing can listen at {host}:{port}.")
        yield
    finally:
        server.terminate()
        server.wait()
        shutil.rmtree(folder, ignore_errors=True)
