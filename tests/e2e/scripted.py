"""An upstream that does to each request, byte by byte, what a test says; nothing between the test and the socket."""

from __future__ import annotations

import json
import select
import socket
import ssl
import struct
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Self

WAIT_SECONDS = 20.0


@dataclass(frozen=True, slots=True)
class Seen:
    """A request as it arrived, its headers in their order and spelling."""

    connection: int
    line: str
    headers: tuple[tuple[str, str], ...]
    body: bytes

    @property
    def path(self) -> str:
        return self.line.split()[1]

    def header(self, name: str) -> str | None:
        return next((value for key, value in self.headers if key.lower() == name.lower()), None)

    def names(self) -> set[str]:
        return {name.lower() for name, _ in self.headers}

    def json(self) -> Any:
        return json.loads(self.body)


@dataclass
class Line:
    """A connection in the hands of a script, with the request that has arrived on it."""

    number: int
    socket: socket.socket
    request: Seen
    _closed: bool = field(default=False)

    def write(self, data: bytes) -> float:
        """Send; the time when it was handed to the system."""
        sent_at = time.monotonic()
        self.socket.sendall(data)
        return sent_at

    def head(self, status: str = "200 OK", /, **headers: str) -> None:
        """The head of an answer; names with `_` for `-`."""
        lines = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in headers.items())
        self.write(f"HTTP/1.1 {status}\r\n{lines}\r\n".encode("latin-1"))

    def event_stream(self, **headers: str) -> None:
        self.head(content_type="text/event-stream", transfer_encoding="chunked", **headers)

    def chunk(self, data: bytes, extension: bytes = b"") -> float:
        return self.write(b"%x%b\r\n%b\r\n" % (len(data), extension, data))

    def end(self, trailers: bytes = b"") -> None:
        self.write(b"0\r\n" + trailers + b"\r\n")

    def answer(self, status: str = "200 OK", body: bytes = b"", /, **headers: str) -> None:
        """A whole answer of a stated length."""
        fields = {"content_length": str(len(body)), **headers}
        lines = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in fields.items())
        self.write(f"HTTP/1.1 {status}\r\n{lines}\r\n".encode("latin-1") + body)

    def answer_json(self, payload: Any, status: str = "200 OK", /, **headers: str) -> None:
        self.answer(status, json.dumps(payload).encode(), **{"content_type": "application/json", **headers})

    def close(self, *, reset: bool = False) -> None:
        """End the connection; with `reset` as a process that was killed does. TLS gets no goodbye."""
        if self._closed:
            return
        self._closed = True
        if reset:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        else:
            # Of a TLS connection this is the end of the connection below it.
            with suppress(OSError):
                socket.socket.shutdown(self.socket, socket.SHUT_RDWR)
        self.socket.close()

    @property
    def is_closed(self) -> bool:
        return self._closed

    def wait_for_peer_to_leave(self, seconds: float = WAIT_SECONDS) -> float | None:
        """How long it took until the other side closed the connection; None when it did not."""
        started = time.monotonic()
        poller = select.poll()
        poller.register(self.socket, select.POLLRDHUP)
        return time.monotonic() - started if poller.poll(seconds * 1000) else None


Script = Callable[[Line], None]


def _no_script(line: Line) -> None:
    line.answer_json({"error": {"message": "no test told this upstream what to do"}}, "418 Teapot")


class ScriptedUpstream:
    """Listens on loopback; every request goes to `script`, in a thread for each connection.

    A script that returns without closing leaves the connection open for the next request.
    """

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        self.script: Script = _no_script
        self.requests: list[Seen] = []
        self.accepted = 0
        self.failures: list[BaseException] = []
        self._tls = tls
        self._port = 0
        self._open: set[socket.socket] = set()
        self._lock = threading.Lock()
        self._listener: socket.socket | None = None

    @property
    def base_url(self) -> str:
        return f"{'https' if self._tls else 'http'}://127.0.0.1:{self._port}"

    def start(self) -> Self:
        """Listen, at the same port as before if there was one."""
        self._listener = socket.create_server(("127.0.0.1", self._port), backlog=512)
        self._port = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, args=(self._listener,), daemon=True).start()
        return self

    def stop(self) -> None:
        """Stop listening and close every connection."""
        listener, self._listener = self._listener, None
        if listener is None:
            return
        # Closing alone would not wake the thread that waits in accept().
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        self.close_connections()

    def close_connections(self) -> None:
        """Close what is open, and go on listening."""
        with self._lock:
            connections = list(self._open)
        for connection in connections:
            try:
                socket.socket.shutdown(connection, socket.SHUT_RDWR)
            except OSError:
                continue

    def reset(self) -> None:
        """Forget what was seen and what was to be done."""
        self.script = _no_script
        self.requests, self.failures, self.accepted = [], [], 0

    @property
    def open_connections(self) -> int:
        with self._lock:
            return len(self._open)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *exc_info: object) -> None:
        self.stop()

    # --- inside

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            self.accepted += 1
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            with self._lock:
                self._open.add(connection)
            threading.Thread(target=self._serve, args=(connection, self.accepted), daemon=True).start()

    def _serve(self, plain: socket.socket, number: int) -> None:
        connection = plain
        try:
            if self._tls is not None:
                connection = self._tls.wrap_socket(plain, server_side=True)
                with self._lock:
                    self._open.discard(plain)
                    self._open.add(connection)
            reader = connection.makefile("rb")
            while (seen := _read_request(reader, number)) is not None:
                self.requests.append(seen)
                line = Line(number, connection, seen)
                self.script(line)
                if line.is_closed:
                    break
        except OSError:
            pass
        except BaseException as error:
            self.failures.append(error)
        finally:
            with self._lock:
                self._open -= {plain, connection}
            connection.close()


def with_raw_server(
    instead_of: ScriptedUpstream, serve: Callable[[socket.socket], None], act: Callable[[], Any]
) -> Any:
    """Act while something else than the scripted upstream listens at its port."""
    instead_of.stop()
    port = int(instead_of.base_url.rpartition(":")[2])

    def run(listener: socket.socket) -> None:
        with suppress(OSError):
            serve(listener)

    try:
        with socket.create_server(("127.0.0.1", port)) as listener:
            thread = threading.Thread(target=run, args=(listener,), daemon=True)
            thread.start()
            try:
                return act()
            finally:
                # Closing alone would not wake a thread that waits in accept().
                with suppress(OSError):
                    listener.shutdown(socket.SHUT_RDWR)
                thread.join(5)
    finally:
        instead_of.start()


def _read_request(reader: Any, number: int) -> Seen | None:
    line = reader.readline()
    if not line:
        return None
    headers: list[tuple[str, str]] = []
    while text := reader.readline().decode("latin-1").rstrip("\r\n"):
        name, _, value = text.partition(":")
        headers.append((name, value.strip()))
    length = next((int(value) for name, value in headers if name.lower() == "content-length"), 0)
    return Seen(number, line.decode("latin-1").strip(), tuple(headers), reader.read(length))


def ok_chat(text: str = "hello", usage: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """A chat completion."""
    message = {"role": "assistant", "content": text}
    choice = {"index": 0, "message": message, "finish_reason": "stop"}
    return {"id": "chatcmpl-1", "object": "chat.completion", "choices": [choice], "usage": dict(usage or {})}
