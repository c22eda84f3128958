"""What the demo upstream has seen: requests, connections, clients that left."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, fields
from typing import Any

KEPT_REQUESTS = 1000
# A thousand bodies of the largest permitted size would not fit into memory.
KEPT_BYTES = 64 * 1024 * 1024

_CREDENTIAL_HEADERS = ("x-api-key", "api-key", "x-goog-api-key")
_SHORTEST_MASKED_KEY = 8


@dataclass(frozen=True, slots=True)
class RecordedRequest:
    """One request as it arrived, its credential masked."""

    number: int
    connection: int
    """The same for all requests that came through one connection."""
    method: str
    path: str
    query: str
    api_kind: str | None
    model: str | None
    key_last_four: str | None
    headers: dict[str, str]
    body: Any

    def as_json(self) -> dict[str, Any]:
        """The request as the control requests and the tests see it."""
        # Not asdict(), which copies the body and gives up on one that is nested deeply.
        return {each.name: getattr(self, each.name) for each in fields(self)}


def last_four(key: str) -> str:
    """The end of a key; of a key so short that four characters would give it away, nothing."""
    return key[-4:] if len(key) >= _SHORTEST_MASKED_KEY else "****"


def credential_of(headers: Mapping[str, str]) -> str | None:
    """The key in lower-cased request headers, wherever its API puts it."""
    scheme, _, token = headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer" and token.strip():
        return token.strip()
    return next((headers[name] for name in _CREDENTIAL_HEADERS if headers.get(name)), None)


def masked_headers(headers: Mapping[str, str]) -> dict[str, str]:
    """Lower-cased request headers with nothing but the last four characters of a credential."""
    masked = dict(headers)
    for name in ("authorization", "cookie", *_CREDENTIAL_HEADERS):
        if name in masked:
            scheme, space, token = masked[name].partition(" ")
            prefix = f"{scheme} " if name == "authorization" and space else ""
            masked[name] = f"{prefix}...{last_four(token if prefix else masked[name])}"
    return masked


class Recorder:
    """The last requests and the counters, for any number of threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._requests: deque[tuple[RecordedRequest, int]] = deque()
        self._kept_bytes = 0
        self._last_number = 0
        self._open = 0
        self._total = 0
        self._disconnects = 0
        self._connections = 0
        self._open_connections = 0

    def next_number(self) -> int:
        """A number that no other request or connection has."""
        with self._lock:
            self._last_number += 1
            return self._last_number

    def add(self, request: RecordedRequest, size_bytes: int) -> None:
        """Remember a request; the oldest make room for it."""
        with self._lock:
            self._requests.append((request, size_bytes))
            self._kept_bytes += size_bytes
            while len(self._requests) > KEPT_REQUESTS or (self._kept_bytes > KEPT_BYTES and len(self._requests) > 1):
                self._kept_bytes -= self._requests.popleft()[1]

    def requests(self) -> list[RecordedRequest]:
        """What is remembered, oldest first."""
        with self._lock:
            return [request for request, _ in self._requests]

    def clear(self) -> None:
        """Forget the requests and start the counters again; what is open stays counted as open."""
        with self._lock:
            self._requests.clear()
            self._kept_bytes = self._total = self._disconnects = self._connections = 0

    @contextmanager
    def answering(self) -> Iterator[None]:
        """Count a request as open for as long as the block runs."""
        with self._lock:
            self._open += 1
            self._total += 1
        try:
            yield
        finally:
            with self._lock:
                self._open -= 1

    def client_left(self) -> None:
        """Count a client that did not wait for the end of its answer."""
        with self._lock:
            self._disconnects += 1

    def connection_opened(self) -> None:
        """Count a connection that a client has opened."""
        with self._lock:
            self._connections += 1
            self._open_connections += 1

    def connection_closed(self) -> None:
        """Count a connection as open no longer."""
        with self._lock:
            self._open_connections -= 1

    def stats(self) -> dict[str, int]:
        """The counters."""
        with self._lock:
            return {
                "open": self._open,
                "disconnects": self._disconnects,
                "total": self._total,
                "connections": self._connections,
                "open_connections": self._open_connections,
            }
