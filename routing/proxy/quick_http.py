"""Connections of urllib3 that write and read the heads of messages without the machinery for e-mail. For POST only.

`http.client` parses the head of each answer with the standard library's mail parser and checks each header that it
sends with two regular expressions: more work than everything else that a request costs here. What these classes do not
expect goes the usual way.
"""

from __future__ import annotations

from email.parser import Parser
from http.client import (
    CONTINUE,
    HTTPException,
    HTTPMessage,
    HTTPResponse,
    LineTooLong,
    RemoteDisconnected,
    UnknownProtocol,
)
from typing import TYPE_CHECKING, Any

from urllib3.connection import HTTPConnection, HTTPSConnection

MAX_LINE = 65_536
MAX_HEADERS = 200
MAX_LENGTH_DIGITS = 18
_NO_BODY = frozenset({204, 304})


class Head(HTTPMessage):
    """The headers of an answer: reading one is a look into a dictionary."""

    def __init__(self, pairs: list[tuple[str, str]]) -> None:
        super().__init__()
        self._headers = pairs
        self._by_name: dict[str, str] = {}
        for name, value in pairs:
            self._by_name.setdefault(name.lower(), value)

    def get(self, name: str, failobj: Any = None) -> Any:
        return self._by_name.get(name.lower(), failobj)

    def items(self) -> list[tuple[str, str]]:
        return self._headers


def read_head(reader: Any) -> HTTPMessage:
    """Read header lines up to the blank one.

    Raises:
        HTTPException: a line is too long, or there are too many, or the connection ends before the blank line.
    """
    lines: list[bytes] = []
    while (line := reader.readline(MAX_LINE + 1)) not in {b"\r\n", b"\n"}:
        if len(line) > MAX_LINE:
            raise LineTooLong("header line")
        if not line.endswith(b"\n"):
            # `http.client` takes this for the end of the head, and so a dead upstream's for an empty answer.
            raise RemoteDisconnected("the connection ended within the head")
        lines.append(line)
        if len(lines) > MAX_HEADERS:
            raise HTTPException(f"got more than {MAX_HEADERS} headers")
    pairs: list[tuple[str, str]] = []
    for line in lines:
        name, colon, value = line.decode("latin-1").partition(":")
        if not colon or not name or name[-1] in " \t" or name[0] in " \t":
            # Folded or malformed: whatever it means, the usual parser decides.
            return Parser(_class=HTTPMessage).parsestr(b"".join(lines).decode("latin-1") + "\r\n")
        pairs.append((name, value.strip()))
    return Head(pairs)


class QuickResponse(HTTPResponse):
    """An answer whose head is read by `read_head`; its body is read as ever."""

    if TYPE_CHECKING:  # what the stubs leave out

        def _read_status(self) -> tuple[str, int, str]: ...
        def _check_close(self) -> bool: ...

    def begin(self) -> None:
        """Read the head, by the rules of RFC 9112 for where the body ends."""
        if getattr(self, "headers", None) is not None:
            return
        version, status, reason = self._read_status()
        while status == CONTINUE:
            read_head(self.fp)
            version, status, reason = self._read_status()
        if not version.startswith("HTTP/1."):
            raise UnknownProtocol(version)
        self.code = self.status = status
        self.reason = reason.strip()
        self.version = 10 if version == "HTTP/1.0" else 11
        self.headers = self.msg = read_head(self.fp)
        self.chunked = (self.headers.get("transfer-encoding") or "").lower() == "chunked"
        self.chunk_left = None
        self.length = None if self.chunked else _length(self.headers.get("content-length"))
        if status in _NO_BODY or 100 <= status < 200:
            self.length = 0
        self.will_close = self._check_close() or (not self.chunked and self.length is None)


def _length(text: str | None) -> int | None:
    if not text or not (text.isascii() and text.isdigit()):
        return None
    if len(text) > MAX_LENGTH_DIGITS:
        raise HTTPException("the length has too many digits")
    return int(text)


class _QuickHead:
    """Writes headers as they are: they are ours, and each was checked where it came from."""

    response_class = QuickResponse
    _buffer: list[bytes]
    _head = b""

    def putheader(self, header: str, *values: str) -> None:
        """Add a header line to the head.

        Raises:
            ValueError: a line break in it would end the header and begin another.
        """
        line = f"{header}: {values[0]}"
        if "\r" in line or "\n" in line:
            raise ValueError(f"the header {header!r} has a line break")
        self._buffer.append(line.encode("latin-1"))

    def _send_output(self, message_body: Any = None, encode_chunked: bool = False) -> None:  # noqa: FBT001, FBT002 - as there
        """Keep the head until the body is sent: one write, and one packet, for both."""
        self._head = b"\r\n".join([*self._buffer, b"", b""])
        self._buffer.clear()

    def send(self, data: bytes) -> None:
        """Send the body, which every request of ours has, behind its head."""
        head, self._head = self._head, b""
        super().send(head + data)  # type: ignore[misc]  # the class that this is mixed into


class QuickHTTPConnection(_QuickHead, HTTPConnection):  # type: ignore[misc]
    """urllib3's connection with quick heads."""


class QuickHTTPSConnection(_QuickHead, HTTPSConnection):  # type: ignore[misc]
    """The same over TLS."""
