"""The production server: granian with plain threads. `make run` calls this.

Environment: `HOST`, `PORT`, `WORKERS` (processes), `THREADS` (requests and streams at once in each process), `MIGRATE`,
`METRICS_HOST`, `METRICS_PORT`, `SHUTDOWN_DELAY`.
"""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

from kilo_gateway.database import provide_database
from kilo_gateway.env import MISCONFIGURED, Environment, SettingError
from kilo_gateway.listening import require_free_address
from kilo_gateway.metrics import served_metrics
from kilo_gateway.stopping import stop_notice

GRACE_SECONDS = 30


def main() -> None:
    """Prepare what is served, then serve until SIGTERM or SIGINT; running answers are finished."""
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "kilo_gateway.settings")
    environment = Environment()
    try:
        host = environment.text("HOST", "127.0.0.1")
        port = environment.integer("PORT", 8000, minimum=1, maximum=65_535)
        workers = environment.integer("WORKERS", 1, minimum=1)
        threads = environment.integer("THREADS", 1024, minimum=1)
        metrics_host = environment.text("METRICS_HOST", "127.0.0.1")
        metrics_port = environment.integer("METRICS_PORT", 0, maximum=65_535)
        delay = environment.limit_seconds("SHUTDOWN_DELAY", 2.0)
        if metrics_port == port:
            raise SettingError("METRICS_PORT must be another port than PORT.")
        require_free_address(host, port)
        provide_database()
        _prepare(migrate=environment.flag("MIGRATE", default=True))
        _allow_many_files()
        with _metrics(metrics_host, metrics_port), stop_notice() as announce_stop:
            _serve(host, port, workers, threads, delay, announce_stop)
    except SettingError as error:
        raise SystemExit(f"Configuration error: {error}") from None


def _prepare(*, migrate: bool) -> None:
    """Check the settings, migrate and collect static files in another process, so that this one, which only supervises,
    stays small; and so that a mistake stops the start with one line instead of one per worker.
    """
    arguments = ["--migrate"] if migrate else []
    command = [sys.executable, "-m", "kilo_gateway.prepare", *arguments]
    status = subprocess.run(command, check=False).returncode  # noqa: S603 - our own module and words
    if status == MISCONFIGURED:
        raise SystemExit(1)
    if status:
        raise SystemExit("The gateway could not be prepared; what went wrong is above.")


def _allow_many_files() -> None:
    """Each stream needs two sockets; the usual soft limit of 1,024 open files is far below that."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard if hard != resource.RLIM_INFINITY else 65_536, hard))


def _metrics(host: str, port: int) -> AbstractContextManager[None]:
    """What serves `/metrics` beside the workers, if a port is set for it."""
    return served_metrics(host, port) if port else nullcontext()


def _serve(  # noqa: PLR0917 - one for each setting
    host: str, port: int, workers: int, threads: int, delay: float, announce_stop: Callable[[], None]
) -> None:
    # Read by the allocator of granian's native side when it is loaded. By itself it keeps memory back for each thread,
    # for a thousand streams nearly as much as they need.
    os.environ.setdefault("_RJEM_MALLOC_CONF", "narenas:1,tcache:false,dirty_decay_ms:0,muzzy_decay_ms:0")
    # Only here: what is above has to be in the environment first.
    from granian.constants import HTTPModes, Interfaces
    from granian.log import LogLevels
    from granian.server import Server

    class RespawningServer(Server):  # type: ignore[misc, valid-type]  # which one it is depends on the interpreter
        """Replaces a worker that was killed however often that happens.

        granian ends as a whole when a worker ends twice within seconds. That is right for one that cannot start, and
        wrong for one that somebody or the system kills.
        """

        def _respawn_workers(self, workers: list[int], *arguments: Any, **options: Any) -> None:
            killed = [index for index in workers if (self.wrks[index].inner.exitcode or 0) < 0]
            super()._respawn_workers(workers, *arguments, **options)
            for index in killed:
                self.respawned_wrks.pop(index, None)

        def signal_handler_interrupt(self, number: int, *arguments: Any) -> None:
            # Ctrl-C reaches the workers too, which end by themselves then.
            self.is_announced = number == signal.SIGTERM and not self.interrupt_signal
            super().signal_handler_interrupt(number, *arguments)

        def shutdown(self, exit_code: int = 0) -> None:
            """Serve a little longer, because closing the listener resets what waits to be accepted."""
            if self.interrupt_signal and self.is_announced:
                announce_stop()
                # A second signal ends the wait.
                self.main_loop_interrupt.clear()
                self.main_loop_interrupt.wait(delay)
            super().shutdown(exit_code)

    print(f"Kilo Gateway listens on http://{host}:{port}", file=sys.stderr, flush=True)  # noqa: T201 - for the operator
    RespawningServer(
        "kilo_gateway.wsgi:application",
        address=host,
        port=port,
        interface=Interfaces.WSGI,
        # What is in front speaks it; to find out what a connection speaks would cost each one memory and time.
        http=HTTPModes.http1,
        workers=workers,
        blocking_threads=threads,
        backpressure=threads,
        backlog=4096,
        websockets=False,
        respawn_failed_workers=True,
        workers_kill_timeout=GRACE_SECONDS,
        log_access=False,
        # Its notes about threads and workers are about the choices made here.
        log_level=LogLevels.error,
    ).serve()


if __name__ == "__main__":
    main()
