"""Answers of HTTP/1.1 as bytes: what a head says, and which bytes behind it are the body. Neither reads nor waits.

Strict where two readers could disagree about where an answer ends: what is ambiguous is `MalformedAnswer`, because the
rest of it would be taken for the answer to somebody else's request.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum, auto
from typing import Final, Protocol

MAX_HEAD_BYTES: Final = 65_536
MAX_HEADERS: Final = 200
# A line between chunks: a size with its extensions, a trailer.
MAX_LINE: Final = 4096
MAX_LENGTH_DIGITS: Final = 18

_HEAD_END: Final = re.compile(rb"\r?\n\r?\n")
_STATUS_LINE: Final = re.compile(r"HTTP/1\.([0-9]) +([0-9]{3})(?: .*)?", re.DOTALL)
_FOLD: Final = re.compile(r"\r?\n[ \t]+")
_CHUNK_SIZE: Final = re.compile(rb"([0-9A-Fa-f]{1,15})[ \t]*(?:;[^\r\n]*)?\r\n")
_LINE_END: Final = b"\r\n"
_WITHOUT_BODY: Final = frozenset({204, 304})
# Of any other header that is there twice the first counts.
_LISTS: Final = frozenset({"connection", "content-length", "transfer-encoding"})


class MalformedAnswer(Exception):
    """What came is no answer of HTTP/1, or not unambiguously one. The text shows nothing of it."""


class Framing(Protocol):
    """Tells the bytes of a body from those around them, in whatever pieces they come."""

    is_complete: bool
    has_excess: bool
    """Whether bytes came that no answer of ours explains; what follows on such a connection means nothing."""

    def feed(self, data: bytes) -> bytes:
        """The bytes of the body in the next bytes of the connection; none are there between chunks.

        Raises:
            MalformedAnswer: the frame is broken.
        """

    def connection_ended(self) -> None:
        """Nothing more will come.

        Raises:
            MalformedAnswer: and that is too early.
        """


class Sized:
    """A body of a stated length."""

    __slots__ = ("_left", "has_excess", "is_complete")

    def __init__(self, length: int) -> None:
        self._left = length
        self.is_complete = length == 0
        self.has_excess = False

    def feed(self, data: bytes) -> bytes:
        if len(data) > self._left:
            self.has_excess = True
            data = data[: self._left]
        self._left -= len(data)
        self.is_complete = self._left == 0
        return data

    def connection_ended(self) -> None:
        raise MalformedAnswer("the body is shorter than its length says")


class UntilClose:
    """A body that ends with its connection."""

    __slots__ = ("has_excess", "is_complete")

    def __init__(self) -> None:
        self.is_complete = False
        self.has_excess = False

    def feed(self, data: bytes) -> bytes:
        return data

    def connection_ended(self) -> None:
        self.is_complete = True


class _Expected(Enum):
    """What stands next in a chunked body."""

    SIZE = auto()
    DATA = auto()
    END_OF_CHUNK = auto()
    TRAILER = auto()


class Chunked:
    """A body in chunks, each with its size before it. Extensions and trailers are read and dropped."""

    __slots__ = ("_expected", "_held", "_left", "_trailers", "has_excess", "is_complete")

    def __init__(self) -> None:
        self._expected = _Expected.SIZE
        self._held = b""  # the beginning of a line whose end has not come yet
        self._left = 0
        self._trailers = 0
        self.is_complete = False
        self.has_excess = False

    def feed(self, data: bytes) -> bytes:
        if self._held:
            data, self._held = self._held + data, b""
        pieces: list[bytes] = []
        position, end = 0, len(data)
        while position < end and not self.is_complete:
            if self._expected is _Expected.DATA:
                piece = data[position : position + self._left]
                pieces.append(piece)
                position += len(piece)
                self._left -= len(piece)
                if not self._left:
                    self._expected = _Expected.END_OF_CHUNK
                continue
            after = self._frame(data, position)
            if after is None:
                self._held = data[position:]
                break
            position = after
        self.has_excess = self.is_complete and position < end
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def _frame(self, data: bytes, position: int) -> int | None:
        """Read one line that is not payload; where it ends, or None while its end is not there."""
        if self._expected is _Expected.END_OF_CHUNK:
            if data.startswith(_LINE_END, position):
                self._expected = _Expected.SIZE
                return position + 2
            if data[position:] != b"\r":
                raise MalformedAnswer("a chunk is longer than its size says")
            return None
        return (self._size if self._expected is _Expected.SIZE else self._trailer)(data, position)

    def _size(self, data: bytes, position: int) -> int | None:
        line = _CHUNK_SIZE.match(data, position, position + MAX_LINE)
        if line is None:
            if len(data) - position >= MAX_LINE or b"\n" in data[position:]:
                raise MalformedAnswer("a chunk has no size")
            return None
        self._left = int(line[1], 16)
        self._expected = _Expected.DATA if self._left else _Expected.TRAILER
        return line.end()

    def _trailer(self, data: bytes, position: int) -> int | None:
        at = data.find(_LINE_END, position)
        length = (len(data) if at < 0 else at) - position
        if length >= MAX_LINE or self._trailers >= MAX_HEADERS:
            raise MalformedAnswer("the trailers are too long")
        if at < 0:
            return None
        self._trailers += 1
        self.is_complete = at == position
        return at + 2

    def connection_ended(self) -> None:
        # Of the payload all is there once the empty chunk is.
        if self._expected is not _Expected.TRAILER:
            raise MalformedAnswer("the connection ended within the chunks")
        self.is_complete = True


@dataclass(frozen=True, slots=True)
class Head:
    """The head of an answer; names in lower case."""

    status: int
    headers: Mapping[str, str]
    keeps_connection: bool

    @property
    def is_interim(self) -> bool:
        """Whether another head follows, which is the answer itself."""
        return self.status < 200

    def framing(self) -> Framing:
        """How the body is to be read (RFC 9112, section 6.3).

        Raises:
            MalformedAnswer: the head does not say it in one way.
        """
        if self.status in _WITHOUT_BODY:
            return Sized(0)
        coding = self.headers.get("transfer-encoding", "").lower()
        if coding not in {"", "identity"}:
            if coding != "chunked":
                raise MalformedAnswer("a transfer coding that was not asked for")
            return Chunked()
        length = self.headers.get("content-length")
        return UntilClose() if length is None else Sized(_length(length))


def head_end(data: bytes, start: int) -> tuple[int, int] | None:
    """Where a head ends and where what follows it begins; None while its end is not there.

    Raises:
        MalformedAnswer: it should be there by now.
    """
    found = _HEAD_END.search(data, start, MAX_HEAD_BYTES)
    if found is not None:
        return found.span()
    if len(data) >= MAX_HEAD_BYTES:
        raise MalformedAnswer("the head is too long")
    return None


def parse_head(data: bytes) -> Head:
    """A head without the empty line at its end.

    Raises:
        MalformedAnswer: it is none, or has too many headers.
    """
    text = data.decode("latin-1")
    if "\n " in text or "\n\t" in text:
        text = _FOLD.sub(" ", text)
    first, *lines = text.split("\n")
    status_line = _STATUS_LINE.fullmatch(first.rstrip("\r"))
    if status_line is None:
        raise MalformedAnswer("it does not begin like an answer")
    if len(lines) > MAX_HEADERS:
        raise MalformedAnswer("too many headers")
    headers: dict[str, str] = {}
    for line in lines:
        name, colon, value = line.partition(":")
        name = name.rstrip(" \t").lower()
        if not colon or not name:
            raise MalformedAnswer("a line of the head is no header")
        if name not in headers:
            headers[name] = value.strip()
        elif name in _LISTS:
            headers[name] += f", {value.strip()}"
    return Head(int(status_line[2]), headers, _keeps_connection(status_line[1], headers))


def _keeps_connection(minor_version: str, headers: Mapping[str, str]) -> bool:
    if "transfer-encoding" in headers and "content-length" in headers:
        # The coding counts. Whoever writes both may mean the other one by the next answer.
        return False
    said = headers.get("connection", "").lower()
    return "keep-alive" in said if minor_version == "0" else "close" not in said


def _length(text: str) -> int:
    lengths = {part.strip() for part in text.split(",")}
    length = lengths.pop()
    if lengths or not (length.isascii() and length.isdigit()) or len(length) > MAX_LENGTH_DIGITS:
        raise MalformedAnswer("the length is not one number")
    return int(length)
