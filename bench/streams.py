"""The load client for streams: opens many at once and times their first bytes and every event.

`python -m bench.streams FILE` reads a job from FILE and prints the outcome as one line of JSON. It is a process of its
own so that it can be pinned, and measured, apart from everything else.
"""

from __future__ import annotations

import asyncio
import json
import math
import re
import sys
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from bench.model import LOCAL_HOST, ROOT, BenchError, Plan, Request, Streams
from bench.processes import LOAD_CORE, run

_MARK = re.compile(rb"#(\d+)@(\d+)#")
_GRACE_SECONDS = 15.0


@dataclass(frozen=True, slots=True)
class Job:
    """What one run of the client does."""

    port: int
    requests: Sequence[Request]
    streams: int
    events: int
    start_seconds: float
    limit_seconds: float


def percentile(values: Sequence[float], share: float) -> float | None:
    """The smallest value that at least `share` of the values do not exceed; none of no values."""
    if not values:
        return None
    return sorted(values)[max(math.ceil(share * len(values)) - 1, 0)]


def request_bytes(request: Request, port: int) -> bytes:
    """The request as it goes over the wire."""
    body = request.body.encode()
    lines = [f"POST {request.path} HTTP/1.1", f"Host: {LOCAL_HOST}:{port}", "Accept: text/event-stream"]
    lines += [f"{name}: {value}" for name, value in request.headers.items()]
    lines += [f"Content-Length: {len(body)}", "", ""]
    return "\r\n".join(lines).encode() + body


class ChunkReader:
    """Takes a chunked body apart as it arrives."""

    __slots__ = ("_buffer", "_left", "ended")

    def __init__(self) -> None:
        self._buffer = b""
        self._left = 0
        self.ended = False

    def feed(self, data: bytes) -> bytes:
        """The payload in `data`, which may start and stop anywhere."""
        self._buffer += data
        payload = bytearray()
        while self._buffer and not self.ended:
            if self._left:
                # Two more bytes belong to each chunk: the line end after it.
                part, self._buffer = self._buffer[: self._left], self._buffer[self._left :]
                payload += part[: max(self._left - 2, 0)]
                self._left -= len(part)
                continue
            line, found, rest = self._buffer.partition(b"\r\n")
            if not found:
                break
            size = int(line.partition(b";")[0], 16)
            self._buffer = rest
            self._left = size + 2 if size else 0
            self.ended = size == 0
        return bytes(payload)


class StreamClient(asyncio.Protocol):
    """One stream, from the request to its end."""

    def __init__(self, request: bytes, events: int) -> None:
        self._request = request
        self._wanted = events
        self._head: bytes | None = b""
        self._chunks: ChunkReader | None = None
        self._tail = b""
        self._seen: set[int] = set()
        self._done_seen = False
        self._transport: asyncio.Transport | None = None
        self.started = time.monotonic_ns()
        self.first_byte_ms: float | None = None
        self.delays_ms: list[float] = []
        self.outcome: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        if isinstance(transport, asyncio.Transport):
            self._transport = transport
            transport.write(self._request)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._chunks is None and self._head is None:
            self._finish("completed" if self._complete else "ended early")
        else:
            self._finish(f"connection lost ({type(exc).__name__})" if exc else "connection closed")

    def data_received(self, data: bytes) -> None:
        now = time.monotonic_ns()
        if self._head is not None:
            head, found, rest = (self._head + data).partition(b"\r\n\r\n")
            if not found:
                self._head += data
                return
            self._head = None
            status = head[9:12].decode("ascii", "replace")
            if status != "200":
                self._finish(f"status {status}")
                return
            self._chunks = ChunkReader() if b"transfer-encoding: chunked" in head.lower() else None
            data = rest
        payload = self._chunks.feed(data) if self._chunks else data
        if payload:
            self._read(payload, now)
        if self._chunks is not None and self._chunks.ended:
            self._finish("completed" if self._complete else "ended early")

    def _read(self, payload: bytes, now: int) -> None:
        if self.first_byte_ms is None:
            self.first_byte_ms = (now - self.started) / 1e6
        text = self._tail + payload
        for mark in _MARK.finditer(text):
            number = int(mark[1])
            if number not in self._seen:
                self._seen.add(number)
                self.delays_ms.append((now - int(mark[2])) / 1e6)
        self._done_seen = self._done_seen or b"[DONE]" in text
        self._tail = text[-64:]

    @property
    def _complete(self) -> bool:
        return len(self._seen) == self._wanted and self._done_seen

    def _finish(self, outcome: str) -> None:
        if not self.outcome.done():
            self.outcome.set_result(outcome)
        if self._transport is not None:
            self._transport.close()

    def abandon(self) -> None:
        """Stop waiting for this stream."""
        if not self.outcome.done():
            self.outcome.set_result("not ended in time")
        if self._transport is not None:
            self._transport.abort()


async def _open(job: Job, clients: list[StreamClient], number: int, failures: Counter[str]) -> None:
    """Start stream `number` at its moment."""
    client = StreamClient(request_bytes(job.requests[number % len(job.requests)], job.port), job.events)
    clients.append(client)
    try:
        await asyncio.get_running_loop().create_connection(lambda: client, LOCAL_HOST, job.port)
    except OSError as error:
        client.outcome.set_result("not connected")
        failures[f"connect: {error.strerror or type(error).__name__}"] += 1


async def perform(job: Job) -> Streams:
    """Run all streams and sum them up."""
    clients: list[StreamClient] = []
    connect_failures: Counter[str] = Counter()
    loop = asyncio.get_running_loop()
    began = loop.time()
    async with asyncio.TaskGroup() as group:
        for number in range(job.streams):
            delay = began + number * job.start_seconds / job.streams - loop.time()
            if delay > 0:
                await asyncio.sleep(delay)
            group.create_task(_open(job, clients, number, connect_failures))
    left = max(job.limit_seconds - (loop.time() - began), 0.0)
    await asyncio.wait([client.outcome for client in clients], timeout=left)
    for client in clients:
        client.abandon()
    outcomes = Counter(client.outcome.result() for client in clients)
    first = [client.first_byte_ms for client in clients if client.first_byte_ms is not None]
    delays = [delay for client in clients for delay in client.delays_ms]
    failures = {name: count for name, count in outcomes.items() if name != "completed"}
    return Streams(
        started=job.streams,
        completed=outcomes["completed"],
        first_byte_p50_ms=percentile(first, 0.50),
        first_byte_p99_ms=percentile(first, 0.99),
        event_delay_p50_ms=percentile(delays, 0.50),
        event_delay_p99_ms=percentile(delays, 0.99),
        seconds=loop.time() - began,
        failures=failures | dict(connect_failures),
    )


def run_streams(
    port: int, requests: Sequence[Request], plan: Plan, *, directory: Path, limit_seconds: float
) -> Streams:
    """Run the client as a process of its own on the load core.

    Raises:
        BenchError: it failed or took longer than its own limit.
    """
    directory.mkdir(parents=True, exist_ok=True)
    job = Job(port, requests, plan.streams, plan.stream_events, plan.stream_start_seconds, limit_seconds)
    file = directory / "streams.json"
    file.write_text(json.dumps(asdict(job)), encoding="utf-8")
    command = ["taskset", "--cpu-list", str(LOAD_CORE), sys.executable, "-m", "bench.streams", str(file)]
    output = run(command, seconds=limit_seconds + _GRACE_SECONDS, directory=ROOT)
    try:
        return Streams(**json.loads(output))
    except (ValueError, TypeError):
        raise BenchError("the stream client printed no result") from None


def main() -> None:
    """Entry point of the load client."""
    given = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    job = Job(**given | {"requests": [Request(**request) for request in given["requests"]]})
    print(json.dumps(asdict(asyncio.run(perform(job)))))


if __name__ == "__main__":
    main()
