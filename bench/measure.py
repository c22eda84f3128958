"""Measuring one subject, step by step; a step that fails is noted and the next one goes on where that makes sense."""

from __future__ import annotations

import http.client
import shutil
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Self

from bench.load import run_wrk
from bench.model import LOCAL_HOST, BenchError, Plan, Request, Result
from bench.processes import Priority, Program, free_port
from bench.streams import run_streams
from bench.subject import Running, Subject
from bench.upstream import start_instant, start_streaming

_START_SECONDS = 60.0
_SETTLE_SECONDS = 5.0
_IDLE_SHARE = 0.1


class Clock:
    """The time that the whole run may still take."""

    def __init__(self, limit_seconds: float) -> None:
        self._end = time.monotonic() + limit_seconds

    def left(self, wanted: float) -> float:
        """As much of `wanted` seconds as is left.

        Raises:
            BenchError: nothing sensible is left.
        """
        left = min(wanted, self._end - time.monotonic())
        if left < min(wanted, 1.0):
            raise BenchError("not measured: the run's time is up")
        return left


def post(port: int, request: Request, *, seconds: float = 10.0) -> tuple[int, dict[str, str]]:
    """Send one request and return status and response headers (lower case)."""
    connection = http.client.HTTPConnection(LOCAL_HOST, port, timeout=seconds)
    try:
        connection.request("POST", request.path, body=request.body, headers=dict(request.headers))
        response = connection.getresponse()
        response.read()
        return response.status, {name.lower(): value for name, value in response.getheaders()}
    finally:
        connection.close()


def wait_until_ready(running: Running, clock: Clock) -> dict[str, str]:
    """Wait for the first good answer and return its headers.

    Raises:
        BenchError: it ended, or did not answer well in time.
    """
    deadline = time.monotonic() + clock.left(_START_SECONDS)
    last = "no answer"
    while time.monotonic() < deadline:
        if running.program is not None and not running.program.running:
            raise BenchError(f"it ended at the start: {running.program.last_words()}")
        try:
            status, headers = post(running.port, running.requests[0])
        except (OSError, http.client.HTTPException) as error:
            last = type(error).__name__
        else:
            if status == 200:
                return headers
            last = f"status {status}"
        time.sleep(0.2)
    words = running.program.last_words() if running.program else ""
    raise BenchError(f"not ready in time ({last}) {words}".strip())


def settle(program: Program | None) -> None:
    """Wait until the program has nothing left to do (requests that the load left behind), or a few seconds."""
    deadline = time.monotonic() + _SETTLE_SECONDS
    while program is not None and time.monotonic() < deadline:
        used = program.cpu_seconds()
        time.sleep(0.5)
        if program.cpu_seconds() - used < _IDLE_SHARE * 0.5:
            return


def raise_companions(running: Running) -> None:
    """Where priority was asked for, give it to processes that came up since the last time (database connections)."""
    for pid in running.companions:
        Priority.give_all(pid)


class MemoryWatch:
    """The largest memory of a program while something else goes on."""

    def __init__(self, program: Program | None) -> None:
        self._program = program
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self.largest_mb: float | None = None

    def _watch(self) -> None:
        while self._program is not None and not self._over.wait(1.0):
            self.largest_mb = max(self.largest_mb or 0.0, self._program.memory_mb())

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()


@contextmanager
def noted(result: Result, step: str) -> Iterator[None]:
    """A step whose failure is a line in the result."""
    try:
        yield
    except BenchError as error:
        result.failures.append(f"{step}: {error}")


@contextmanager
def started(subject: Subject, directory: Path, upstream: Program, port: int) -> Iterator[Running]:
    """The subject, running against this upstream."""
    with upstream, ExitStack() as stack:
        running = subject.start(directory / "subject", port)
        if running.program is not None:
            stack.enter_context(running.program)
        yield running


def measure(subject: Subject, version: str, plan: Plan, clock: Clock, directory: Path) -> Result:
    """Everything about one subject that is installed."""
    result = Result(subject.name, subject.title, version, subject.settings)
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir(parents=True)
    try:
        with noted(result, "answers"):
            _measure_answers(result, subject, plan, clock, directory / "answers")
        with noted(result, "streams"):
            _measure_streams(result, subject, plan, clock, directory / "streams")
    finally:
        subject.close()
    return result


def _measure_answers(result: Result, subject: Subject, plan: Plan, clock: Clock, directory: Path) -> None:
    port = free_port()
    with started(subject, directory, start_instant(directory / "upstream", port), port) as running:
        headers = wait_until_ready(running, clock)
        result.receipt = {name: value for name, value in headers.items() if name.startswith("x-kilo-")}
        settle(running.program)
        if running.program is not None:
            result.idle_mb = running.program.memory_mb()
        for clients in (None, *plan.clients):
            seconds = plan.warm_up_seconds if clients is None else plan.load_seconds
            with noted(result, "warm-up" if clients is None else f"{clients} clients"):
                raise_companions(running)
                load = run_wrk(
                    running.port,
                    running.requests,
                    clients=clients or max(plan.clients),
                    seconds=clock.left(seconds),
                    directory=directory / "wrk",
                    program=running.program,
                )
                settle(running.program)
                if clients is not None:
                    result.loads[clients] = load


def _measure_streams(result: Result, subject: Subject, plan: Plan, clock: Clock, directory: Path) -> None:
    port = free_port()
    with started(subject, directory, start_streaming(directory / "upstream", port, plan), port) as running:
        wait_until_ready(running, clock)
        # A few short loads first, so that no subject pays for imports and compilation during the streams.
        run_wrk(
            running.port,
            running.requests,
            clients=min(plan.clients[-1], 16),
            seconds=clock.left(plan.warm_up_seconds),
            directory=directory / "wrk",
        )
        settle(running.program)
        raise_companions(running)
        cpu = running.program.cpu_seconds() if running.program else 0.0
        with MemoryWatch(running.program) as memory:
            streams = run_streams(
                running.port,
                running.stream_requests,
                plan,
                directory=directory / "client",
                limit_seconds=clock.left(plan.stream_limit_seconds),
            )
        used = running.program.cpu_seconds() - cpu if running.program else None
        result.streams = replace(streams, cpu_seconds=used)
        result.streams_mb = memory.largest_mb
