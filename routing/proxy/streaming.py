"""A streamed answer on its way through: bytes as they come, an eye on the client, and an end that is noted once."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from enum import Enum, auto
from typing import Any

from django.conf import settings

from kilo_gateway.api_errors import ErrorType
from kilo_gateway.api_kinds import ApiKind
from routing.proxy.tokens import StreamedUsage
from routing.proxy.upstream import Answer, UpstreamBroke

# While an upstream is silent, the server is asked this often whether the client is still there.
PROBE_SECONDS = 0.5
# So much of an event that is not complete is kept back; a larger one is passed on as it comes.
MAX_HELD_BYTES = 256 * 1024
# Two line ends in a row end an event, and a line may end in \n, \r or \r\n.
_EVENT_ENDS = (b"\n\n", b"\n\r\n", b"\r\r")


class Ending(Enum):
    """How a stream came to its end."""

    COMPLETE = auto()
    CANCELLED = auto()
    BROKEN = auto()
    TIMED_OUT = auto()


ERROR_TYPES = {Ending.BROKEN: ErrorType.UPSTREAM_BROKE, Ending.TIMED_OUT: ErrorType.UPSTREAM_TIMEOUT}
_BROKEN_MESSAGES = {
    Ending.BROKEN: "The upstream broke off its answer.",
    Ending.TIMED_OUT: "The upstream stopped in the middle of its answer.",
}


class WholeEvents:
    """Hands bytes on up to the last complete event, and keeps the beginning of the next one until its end is there.

    A client can do nothing with half an event, and when the upstream breaks off in the middle of one, what was kept
    back is dropped: then our own event does not become part of a broken one.
    """

    def __init__(self) -> None:
        self._held = bytearray()
        self.is_mid_event = False
        """Whether what was handed on ends within an event, because that one is larger than what is kept back."""

    def add(self, chunk: bytes) -> bytes:
        """The next bytes, as far as they may leave now."""
        if not self._held and chunk.endswith(b"\n\n"):
            self.is_mid_event = False
            return chunk
        # An end may be cut too: its first bytes are the last ones that are held.
        searched = max(0, len(self._held) - 2)
        self._held += chunk
        ends = (at + len(mark) for mark in _EVENT_ENDS if (at := self._held.rfind(mark, searched)) >= 0)
        end = max(ends, default=0)
        if end:
            self.is_mid_event = False
        elif len(self._held) > MAX_HELD_BYTES:
            end = len(self._held)
            self.is_mid_event = True
        else:
            return b""
        complete = bytes(self._held[:end])
        del self._held[:end]
        return complete

    def rest(self) -> bytes:
        """What is still held, at the end of a stream."""
        return bytes(self._held)


class UpstreamStream:
    """Iterates over an upstream's bytes unchanged; the WSGI server closes it when the client leaves.

    An empty piece is not sent to the client: it only gives the server the occasion to notice that nobody listens.
    `on_end` is called exactly once, with how it ended.
    """

    def __init__(
        self,
        answer: Answer,
        api_kind: ApiKind,
        on_end: Callable[[UpstreamStream, Ending], None],
        *,
        measures_text: bool,
    ) -> None:
        self.usage = StreamedUsage(api_kind, measures_text=measures_text)
        self.first_byte_at: float | None = None
        self._answer = answer
        self._api_kind = api_kind
        self._on_end: Callable[[UpstreamStream, Ending], None] | None = on_end
        self._last_byte_at = time.monotonic()
        # Compressed bytes have no events that could be seen in them.
        self._events = None if "content-encoding" in answer.headers else WholeEvents()
        answer.wait_at_most(PROBE_SECONDS)

    def __iter__(self) -> UpstreamStream:
        return self

    def __next__(self) -> bytes:
        if self._on_end is None:
            raise StopIteration
        try:
            chunk = self._answer.read()
        except TimeoutError:
            return self._idle()
        except UpstreamBroke:
            return self._broken(Ending.BROKEN)
        if chunk is None:
            return self._idle()
        if not chunk:
            self._end(Ending.COMPLETE)
            if self._events is not None and (rest := self._events.rest()):
                return rest
            raise StopIteration
        self._last_byte_at = time.monotonic()
        if self.first_byte_at is None:
            self.first_byte_at = time.perf_counter()
        self.usage.feed(chunk)
        return chunk if self._events is None else self._events.add(chunk)

    def _idle(self) -> bytes:
        if time.monotonic() - self._last_byte_at > settings.UPSTREAM_IDLE_TIMEOUT:
            return self._broken(Ending.TIMED_OUT)
        return b""

    def _broken(self, ending: Ending) -> bytes:
        """The last piece: one error event in the API's own shape."""
        self._end(ending)
        is_mid_event = self._events is not None and self._events.is_mid_event
        return (b"\n\n" if is_mid_event else b"") + error_event(
            self._api_kind, ERROR_TYPES[ending], _BROKEN_MESSAGES[ending]
        )

    def close(self) -> None:
        """Called by the server at the end of the answer, or as soon as the client has left."""
        self._end(Ending.CANCELLED)

    def _end(self, ending: Ending) -> None:
        on_end, self._on_end = self._on_end, None
        if on_end is None:
            return
        self._answer.close()
        on_end(self, ending)


def error_event(api_kind: ApiKind, code: ErrorType, message: str) -> bytes:
    """One server-sent event that says what went wrong, in the shape that clients of this API parse."""
    if api_kind is ApiKind.MESSAGES:
        body: dict[str, Any] = {"type": "error", "error": {"type": "api_error", "message": message}}
        return f"event: error\ndata: {json.dumps(body)}\n\n".encode()
    if api_kind is ApiKind.RESPONSES:
        body = {"type": "error", "code": code, "message": message, "param": None, "sequence_number": 0}
        return f"event: error\ndata: {json.dumps(body)}\n\n".encode()
    body = {"error": {"message": message, "type": code, "code": code}}
    return f"data: {json.dumps(body)}\n\n".encode()
