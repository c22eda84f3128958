"""Speaking to upstreams: a request goes out in one piece over a kept connection, and its answer is read as it comes.

Only POST, only HTTP/1.1, no redirects, no cookies, no decoding: all that a gateway needs, and a tenth of the work of a
client for everything (ADR 6).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Final

from django.conf import settings

from routing.proxy.http1 import Head, MalformedAnswer, head_end, parse_head
from routing.proxy.origins import Connection, Origin, UpstreamForbidden, UpstreamUnreachable, address_of

# A body that is not larger leaves in one write, and one packet, with its head.
ONE_WRITE_BYTES: Final = 65_536
MAX_INTERIM_ANSWERS: Final = 8
# What Django can answer with; anything else is no final answer of HTTP.
_LOWEST_STATUS: Final = 200
_HIGHEST_STATUS: Final = 599
_SWITCHING_PROTOCOLS: Final = 101


class UpstreamBroke(Exception):
    """The upstream was reached and then ended the connection, or sent what is no answer."""


class UpstreamTimedOut(Exception):
    """The upstream was reached and did not start to answer in time."""


class Answer:
    """The head of an answer, and its body as it comes."""

    __slots__ = ("_connection", "_framing", "_keep", "_origin", "_unread", "headers", "status")

    def __init__(self, origin: Origin, connection: Connection, head: Head, unread: bytes, *, keep: bool) -> None:
        self.status = head.status
        self.headers = head.headers
        self._origin = origin
        self._connection: Connection | None = connection
        self._framing = head.framing()
        self._unread = unread
        self._keep = keep and head.keeps_connection

    def wait_at_most(self, seconds: float) -> None:
        """How long `read` waits from now on."""
        if self._connection is not None:
            self._connection.wait_at_most(seconds)

    def read(self) -> bytes | None:
        """The next bytes of the body, unchanged; empty at its end, None when what came was no part of it.

        Raises:
            TimeoutError: nothing came in time; it may be tried again.
            UpstreamBroke: the body ended too early, or its frame is broken.
        """
        framing = self._framing
        if framing.is_complete or self._connection is None:
            return b""
        try:
            data, self._unread = self._unread or self._connection.receive(), b""
            if not data:
                framing.connection_ended()
                self._keep = False
                return b""
            payload = framing.feed(data)
        except TimeoutError:
            raise
        except (OSError, MalformedAnswer) as error:
            raise UpstreamBroke(type(error).__name__) from None
        return payload if payload or framing.is_complete else None

    def close(self) -> None:
        """Done with it. The connection is kept if the answer was read to its end and nothing follows it."""
        connection, self._connection = self._connection, None
        if connection is None:
            return
        framing = self._framing
        if self._keep and framing.is_complete and not framing.has_excess and not self._unread:
            self._origin.give_back(connection)
        else:
            connection.close()


def send(
    url: str,
    headers: Mapping[str, str],
    body: bytes,
    *,
    guarded: bool = False,
    meanwhile: Callable[[], None] | None = None,
) -> Answer:
    """POST a body and wait for the head of the answer; the answer's own body is left unread.

    Tries a second time to connect when the first has failed (nothing was sent), and sends never more than once. Does
    not follow redirects.

    Args:
        guarded: Connect only to addresses that an organization's own provider may be at; see `byok.addresses`.
        meanwhile: What there is to do while the upstream works; not called when nothing could be sent.

    Raises:
        UpstreamUnreachable: no connection, twice; or none is allowed.
        UpstreamTimedOut: connected, and no answer within `UPSTREAM_FIRST_BYTE_TIMEOUT`.
        UpstreamBroke: connected, and the connection ended before an answer, or what came is none.
    """
    address = address_of(url, guarded=guarded)
    head = _request_head(address.head, headers, len(body))
    origin = address.origin
    connection = origin.take() or _connect(origin)
    try:
        return _exchange(origin, connection, head, body, meanwhile)
    except TimeoutError as error:
        connection.close()
        raise UpstreamTimedOut(type(error).__name__) from None
    except (OSError, MalformedAnswer) as error:
        connection.close()
        # The kind of the failure; its text may hold the address and what was sent, and goes nowhere.
        raise UpstreamBroke(type(error).__name__) from None


def _connect(origin: Origin) -> Connection:
    try:
        return origin.connect()
    except UpstreamForbidden:
        raise
    except UpstreamUnreachable:
        return origin.connect()


def _request_head(start: str, headers: Mapping[str, str], length: int) -> bytes:
    """The head of a request.

    Raises:
        ValueError: a line break in a header would end it and begin another.
    """
    fields = "\r\n".join([f"{name}: {value}" for name, value in headers.items()])
    if fields.count("\n") != len(headers) - 1 or fields.count("\r") != len(headers) - 1:
        raise ValueError("a header has a line break")
    return f"{start}{fields}\r\nContent-Length: {length}\r\n\r\n".encode("latin-1")


def _exchange(
    origin: Origin, connection: Connection, head: bytes, body: bytes, meanwhile: Callable[[], None] | None
) -> Answer:
    patience: float = settings.UPSTREAM_FIRST_BYTE_TIMEOUT
    connection.wait_at_most(patience)
    was_taken = _write(connection, head, body)
    if meanwhile is not None:
        meanwhile()
    connection.wait_awake()
    answer_head, rest = _read_head(connection, time.monotonic() + patience)
    if not _LOWEST_STATUS <= answer_head.status <= _HIGHEST_STATUS:
        raise MalformedAnswer("the status is no final one")
    return Answer(origin, connection, answer_head, rest, keep=was_taken)


def _write(connection: Connection, head: bytes, body: bytes) -> bool:
    """Send a request; whether the upstream took all of it. It may answer and leave while the body is on its way."""
    try:
        if len(body) <= ONE_WRITE_BYTES:
            connection.send(head + body)
        else:
            connection.send(head)
            connection.send(body)
    except (BrokenPipeError, ConnectionResetError):
        return False
    return True


def _read_head(connection: Connection, deadline: float) -> tuple[Head, bytes]:
    """The head of the answer and what has come behind it; interim answers are passed over."""
    data = b""
    searched = interim = 0
    while True:
        end = head_end(data, max(0, searched - 3)) if data else None
        if end is None:
            searched = len(data)
            if searched:
                _wait_until(connection, deadline)
            received = connection.receive()
            if not received:
                raise MalformedAnswer("the connection ended within the head")
            data += received
            continue
        head, data = parse_head(data[: end[0]]), data[end[1] :]
        if not head.is_interim or head.status == _SWITCHING_PROTOCOLS:
            return head, data
        searched, interim = 0, interim + 1
        if interim > MAX_INTERIM_ANSWERS:
            raise MalformedAnswer("one interim answer after the other")
        _wait_until(connection, deadline)


def _wait_until(connection: Connection, deadline: float) -> None:
    """Have the next read end at a moment, so that an answer in drops takes no longer than one in a piece."""
    left = deadline - time.monotonic()
    if left <= 0:
        raise TimeoutError
    connection.wait_at_most(left)
