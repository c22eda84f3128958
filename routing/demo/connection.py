"""The HTTP side of one connection to the demo upstream: bodies in, answers out, clients that leave."""

from __future__ import annotations

import json
import select
import time
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from typing import Any

from routing.demo.answers import Event
from routing.demo.behaviour import Behaviour, BehaviourKind

LARGEST_BODY_BYTES = 64 * 1024 * 1024

# Linux tells of a peer that closed its side by POLLRDHUP, others by POLLHUP, which needs no asking.
_PEER_CLOSED = getattr(select, "POLLRDHUP", 0)
_SEND_SLICE_BYTES = 256 * 1024


class ClientLeftError(Exception):
    """The client closed its connection before its answer was complete."""


class BadBodyError(Exception):
    """The request's body cannot be read, so the connection cannot be used any further."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class Connection(BaseHTTPRequestHandler):
    """One keep-alive connection; what to answer is the business of the subclass."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    # --- in

    def read_body(self) -> bytes:
        """The whole body of the request, whichever way its length is told."""
        if "chunked" in self.headers.get("transfer-encoding", "").lower():
            return self._read_chunked()
        length = self.headers.get("content-length", "0")
        if not length.isdecimal():
            raise BadBodyError(400, "content-length is not a number")
        return self._read_exactly(int(length))

    def _read_exactly(self, length: int) -> bytes:
        if length > LARGEST_BODY_BYTES:
            raise BadBodyError(413, "the request is too large")
        data = self.rfile.read(length)
        if len(data) < length:
            raise ClientLeftError
        return data

    def _read_chunked(self) -> bytes:
        body = bytearray()
        while True:
            size_text = self.rfile.readline(100).split(b";")[0].strip()
            try:
                size = int(size_text, 16)
            except ValueError as error:
                raise BadBodyError(400, "malformed chunk") from error
            if size < 0:
                raise BadBodyError(400, "malformed chunk")
            body += self._read_exactly(size)
            if len(body) > LARGEST_BODY_BYTES:
                raise BadBodyError(413, "the request is too large")
            # After a chunk comes an empty line; after the last one trailers may come before it.
            while self.rfile.readline(10_000).strip() and size == 0:
                pass
            if size == 0:
                return bytes(body)

    # --- waiting

    def wait(self, seconds: float) -> None:
        """Sleep, but notice at once a client that leaves meanwhile."""
        poller = select.poll()
        poller.register(self.connection, _PEER_CLOSED)
        deadline = time.monotonic() + seconds
        while True:
            remaining_seconds = max(0.0, deadline - time.monotonic())
            if poller.poll(remaining_seconds * 1000):
                raise ClientLeftError
            if time.monotonic() >= deadline:
                return

    # --- out

    def send_json(self, status: int, payload: Any, headers: Mapping[str, str] | None = None) -> None:
        """Send an object as a complete answer."""
        self.send_whole(status, "application/json", json.dumps(payload).encode(), headers)

    def send_whole(
        self,
        status: int,
        content_type: str,
        body: bytes,
        headers: Mapping[str, str] | None = None,
        behaviour: Behaviour | None = None,
    ) -> None:
        """Send a complete answer, or the half of one where the behaviour stalls or breaks it in the middle."""
        head = self._head(status, {"Content-Type": content_type, "Content-Length": str(len(body)), **(headers or {})})
        if behaviour is None or not behaviour.acts_mid_stream:
            self._send(head + body)
            return
        half = len(body) // 2
        self._send(head + body[:half])
        if behaviour.breaks_mid_stream:
            self.close_connection = True
            return
        self.wait(behaviour.seconds)
        self._send(body[half:])

    def send_events(self, events: Sequence[Event], headers: Mapping[str, str], behaviour: Behaviour) -> None:
        """Send server-sent events, each as one chunk in one write, at the pace that the behaviour sets."""
        chunked = self.request_version >= "HTTP/1.1"
        framing = {"Transfer-Encoding": "chunked"} if chunked else {}
        self.close_connection = self.close_connection or not chunked
        stream_headers = {"Content-Type": "text/event-stream; charset=utf-8", "Cache-Control": "no-cache"}
        self._send(self._head(200, stream_headers | framing | dict(headers)))
        end = b"0\r\n\r\n" if chunked else b""
        for position, event in enumerate(events):
            if self._acts_at(position, behaviour):
                return
            self.wait(behaviour.interval_ms / 1000 if event.is_delta else 0)
            data = b"%x\r\n%b\r\n" % (len(event.data), event.data) if chunked else event.data
            is_last = position == len(events) - 1
            # SDKs close as soon as they have read the last event: the end travels with it.
            self._send(data + end if is_last and not behaviour.acts_mid_stream else data)
        if behaviour.acts_mid_stream and not self._acts_at(len(events), behaviour, at_end=True):
            self._send(end)

    def _acts_at(self, position: int, behaviour: Behaviour, *, at_end: bool = False) -> bool:
        """Stall or break here if that was asked for; true says that the connection must be closed now."""
        due = behaviour.after_events == position or (at_end and behaviour.after_events > position)
        if not (behaviour.acts_mid_stream and due):
            return False
        if behaviour.kind is BehaviourKind.STALL_MID_STREAM:
            self.wait(behaviour.seconds)
        self.close_connection = self.close_connection or behaviour.breaks_mid_stream
        return behaviour.breaks_mid_stream

    def _head(self, status: int, headers: Mapping[str, str]) -> bytes:
        try:
            reason = HTTPStatus(status).phrase
        except ValueError:
            reason = "Status"
        usual = {"Server": "demo-upstream", "Date": self.date_time_string()}
        if self.close_connection:
            usual["Connection"] = "close"
        merged = {name.lower(): (name, value) for name, value in [*usual.items(), *headers.items()]}
        lines = [f"{name}: {value}" for name, value in merged.values()]
        return "\r\n".join([f"HTTP/1.1 {status} {reason}", *lines, "", ""]).encode("latin-1", "replace")

    def _send(self, data: bytes) -> None:
        try:
            # In slices, so that a client that leaves is noticed while a huge answer is under way.
            for start in range(0, len(data), _SEND_SLICE_BYTES):
                self.wfile.write(data[start : start + _SEND_SLICE_BYTES])
        except ConnectionError as error:
            raise ClientLeftError from error

    # --- what the base class says by itself

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """A malformed request or an unknown method, in JSON like every other error."""
        self.close_connection = True
        text = message or HTTPStatus(code).phrase
        self._send(self._head(code, {"Content-Type": "application/json"}) + json.dumps({"error": text}).encode())

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class names it so
        """Silence: who wants to see the requests asks for the recorded ones."""
