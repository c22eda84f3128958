"""The process beside the workers that serves `/metrics`: `python -m kilo_gateway.metrics_server HOST PORT`."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Iterable
from pathlib import Path

from prometheus_client import CollectorRegistry, Metric, start_http_server
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead

from kilo_gateway.metrics import FOLDER_VARIABLE


class _LiveProcesses(MultiProcessCollector):
    """What is true of a process now (its queue, its connections) no longer counts when the process has ended."""

    def __init__(self, registry: CollectorRegistry, folder: Path) -> None:
        super().__init__(registry, str(folder))  # type: ignore[no-untyped-call]  # the library leaves it untyped
        self._folder = folder
        self._lock = threading.Lock()

    def collect(self) -> Iterable[Metric]:
        with self._lock:
            for pid in {int(file.stem.rpartition("_")[2]) for file in self._folder.glob("gauge_live*_*.db")}:
                if not Path(f"/proc/{pid}").exists():
                    mark_process_dead(pid, str(self._folder))  # type: ignore[no-untyped-call]  # as above
            # A worker that begins to count has made its file before there is anything in it.
            files = [str(file) for file in self._folder.glob("*.db") if file.stat().st_size]
            return self.merge(files)  # type: ignore[no-untyped-call,no-any-return]  # as above


def main() -> None:
    """Serve until standard input ends, which it also does when the server that started this was killed."""
    registry = CollectorRegistry()
    _LiveProcesses(registry, Path(os.environ[FOLDER_VARIABLE]))
    try:
        start_http_server(int(sys.argv[2]), sys.argv[1], registry)
    except OSError as error:
        raise SystemExit(f"{sys.argv[1]}:{sys.argv[2]}: {error.strerror}") from None
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    sys.stdin.buffer.read()


if __name__ == "__main__":
    main()
