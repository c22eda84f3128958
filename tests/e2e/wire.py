"""An HTTP client close to the wire: what arrives when, and whether it ended as HTTP says it must."""

from __future__ import annotations

import json
import socket
import struct
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self
from urllib.parse import urlsplit

WAIT_SECONDS = 20.0


class BrokenAnswer(Exception):
    """The connection ended before the answer did."""


@dataclass(frozen=True, slots=True)
class Reply:
    """A complete answer."""

    status: int
    headers: Sequence[tuple[str, str]]
    content: bytes

    def __getitem__(self, name: str) -> str:
        return next(value for key, value in self.headers if key == name)

    def __contains__(self, name: str) -> bool:
        return any(key == name for key, _ in self.headers)

    def json(self) -> Any:
        return json.loads(self.content)

    @property
    def request_id(self) -> str:
        return self["x-request-id"]

    @property
    def error_type(self) -> str:
        return str(self.json()["error_type"])


class Exchange:
    """One request on a connection of its own; its answer is read piece by piece."""

    def __init__(
        self,
        base_url: str,
        path: str,
        body: Any,
        key: str,
        headers: Mapping[str, str | bytes],
        *,
        method: str = "POST",
    ) -> None:
        parts = urlsplit(base_url)
        self._socket = socket.create_connection((parts.hostname, parts.port), timeout=WAIT_SECONDS)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        raw = body if isinstance(body, bytes) else json.dumps(body).encode()
        lines: dict[str, str | bytes] = {
            "Host": parts.netloc,
            "Content-Type": "application/json",
            "Content-Length": str(len(raw)),
            **({"Authorization": f"Bearer {key}"} if key else {}),
            **headers,
        }
        head = [f"{method} {path} HTTP/1.1".encode()]
        head += [name.encode() + b": " + (v if isinstance(v, bytes) else v.encode()) for name, v in lines.items()]
        self._socket.sendall(b"\r\n".join([*head, b"", raw]))
        self._buffer = b""
        self.status = 0
        self.headers: list[tuple[str, str]] = []

    def read_head(self) -> Self:
        """Wait for the status and the headers."""
        if self.status:
            return self
        while b"\r\n\r\n" not in self._buffer:
            self._more()
        head, _, self._buffer = self._buffer.partition(b"\r\n\r\n")
        first, *rest = head.decode("latin-1").split("\r\n")
        self.status = int(first.split()[1])
        pairs = (line.partition(":") for line in rest)
        self.headers = [(name.strip().lower(), value.strip()) for name, _, value in pairs]
        return self

    def header(self, name: str) -> str:
        return next((value for key, value in self.read_head().headers if key == name), "")

    @property
    def request_id(self) -> str:
        return self.header("x-request-id")

    def pieces(self) -> Iterator[tuple[float, bytes]]:
        """The body as it arrives, each piece with its time; `BrokenAnswer` when it ends before its end.

        May be called again to go on. Closes the connection at the end.
        """
        self.read_head()
        if self.header("transfer-encoding") == "chunked":
            yield from self._chunks()
            return
        left = int(self.header("content-length") or 0)
        while left:
            if not self._buffer:
                self._more()
            piece, self._buffer = self._buffer[:left], self._buffer[left:]
            left -= len(piece)
            yield time.monotonic(), piece
        self.close()

    def _chunks(self) -> Iterator[tuple[float, bytes]]:
        while True:
            while b"\r\n" not in self._buffer:
                self._more()
            line, _, self._buffer = self._buffer.partition(b"\r\n")
            size = int(line.split(b";")[0], 16)
            while len(self._buffer) < size + 2:
                self._more()
            piece, self._buffer = self._buffer[:size], self._buffer[size + 2 :]
            if not size:
                self.close()
                return
            yield time.monotonic(), piece

    def _more(self) -> None:
        try:
            data = self._socket.recv(256 * 1024)
        except ConnectionResetError:
            data = b""
        if not data:
            self.close()
            raise BrokenAnswer
        self._buffer += data

    def reply(self) -> Reply:
        """The whole answer."""
        content = b"".join(piece for _, piece in self.pieces())
        self.close()
        return Reply(self.status, self.headers, content)

    def close(self, *, reset: bool = False) -> None:
        """Leave; with `reset` as a process that was killed does."""
        if reset:
            self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._socket.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()


def send(
    base_url: str, path: str, body: Any, key: str = "", headers: Mapping[str, str | bytes] | None = None
) -> Exchange:
    """Send a request and wait for nothing."""
    return Exchange(base_url, path, body, key, headers or {})


def ask(base_url: str, path: str, body: Any, key: str = "", headers: Mapping[str, str | bytes] | None = None) -> Reply:
    """Send a request and wait for its whole answer."""
    return send(base_url, path, body, key, headers).reply()
