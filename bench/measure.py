"""The steps of measuring a subject, and the streams, for which it is alone.

A step that fails is noted and the next one goes on where that makes sense.
"""

from __future__ import annotations

import http.client
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Self, TypeVar

from bench.load import run_wrk
from bench.model import LOCAL_HOST, BenchError, Load, Plan, Request, Result
from bench.processes import Priority, Program, free_port
from bench.runs import say
from bench.streams import run_streams
from bench.subject import Running, Subject
from bench.upstream import start_streaming

_START_SECONDS = 60.0
_SETTLE_SECONDS = 5.0
_SETTLE_STEP_SECONDS = 0.25
_IDLE_SHARE = 0.1
_WARM_UP_CLIENTS = 16
Answer = TypeVar("Answer")


class Clock:
    """The time that the whole run may still take."""

    def __init__(self, limit_seconds: float) -> None:
        self._end = time.monotonic() + limit_seconds

    @property
    def is_up(self) -> bool:
        """Whether nothing is left."""
        return time.monotonic() >= self._end

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


def first_good_answer(
    program: Program | None, ask: Callable[[], tuple[int, Answer]], *, seconds: float = _START_SECONDS
) -> Answer:
    """Ask until the status is 200 and return what came with it.

    Raises:
        BenchError: the program ended, or did not answer well in time.
    """
    deadline = time.monotonic() + seconds
    last = "no answer"
    while time.monotonic() < deadline:
        if program is not None and not program.running:
            raise BenchError(f"it ended at the start: {program.last_words()}")
        try:
            status, answer = ask()
        except (OSError, http.client.HTTPException) as error:
            last = type(error).__name__
        else:
            if status == 200:
                return answer
            last = f"status {status}"
        time.sleep(0.1)
    words = program.last_words() if program else ""
    raise BenchError(f"not ready in time ({last}) {words}".strip())


def wait_until_ready(running: Running, clock: Clock) -> dict[str, str]:
    """Wait for the first good answer and return its headers.

    Raises:
        BenchError: it ended, or did not answer well in time.
    """
    return first_good_answer(
        running.program, lambda: post(running.port, running.requests[0]), seconds=clock.left(_START_SECONDS)
    )


def settle(program: Program | None) -> None:
    """Wait until the program has nothing left to do (requests that the load left behind), or a few seconds."""
    deadline = time.monotonic() + _SETTLE_SECONDS
    while program is not None and time.monotonic() < deadline:
        used = program.cpu_seconds()
        time.sleep(_SETTLE_STEP_SECONDS)
        if program.cpu_seconds() - used < _IDLE_SHARE * _SETTLE_STEP_SECONDS:
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
        say(f"  {result.title}, {result.failures[-1]}")


@contextmanager
def started(subject: Subject, directory: Path, upstream_port: int) -> Iterator[Running]:
    """The subject, running against this upstream."""
    running = subject.start(directory, upstream_port)
    with running.program or nullcontext():
        yield running


def load_once(running: Running, clients: int, seconds: float, directory: Path) -> Load:
    """Load a subject, and wait until it is done with what the load left behind.

    Raises:
        BenchError: nothing was answered.
    """
    raise_companions(running)
    program = running.program
    try:
        return run_wrk(
            running.port, running.requests, clients=clients, seconds=seconds, directory=directory, program=program
        )
    finally:
        settle(program)


def measure_streams(result: Result, subject: Subject, plan: Plan, clock: Clock, directory: Path) -> None:
    """Start the subject, and no other one, and look at its memory and at many streams."""
    port = free_port()
    with (
        noted(result, "streams"),
        start_streaming(directory / "upstream", port, plan),
        started(subject, directory / "subject", port) as running,
    ):
        wait_until_ready(running, clock)
        settle(running.program)
        if running.program is not None:
            result.idle_mb = running.program.memory_mb()
        # A load that does not count, so that no subject pays for imports and compilation during the streams.
        load_once(running, _WARM_UP_CLIENTS, clock.left(plan.warm_up_seconds), directory / "wrk")
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
