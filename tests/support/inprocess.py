"""The WSGI application called in this process: every part of it real, but for the socket to the client."""

from __future__ import annotations

import io
import json
import threading
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from unittest import mock

import psycopg

from routing.proxy.connections import Prepared
from tests.support.canaries import canaries, shown_once

CHAT = "/api/gateway/v1/chat/completions"
RESPONSES = "/api/gateway/v1/responses"
MESSAGES = "/api/gateway/v1/messages"


@dataclass
class Answer:
    status: int
    headers: dict[str, str]
    content: bytes

    def json(self) -> Any:
        return json.loads(self.content)

    @property
    def error_type(self) -> str:
        return str(self.json()["error_type"])


@dataclass
class Opened:
    """An answer whose body is read, or left, by the test."""

    status: int
    headers: dict[str, str]
    body: Iterable[bytes]


@contextmanager
def opened(
    path: str, body: Any, key: str = "", *, headers: Mapping[str, str] | None = None, method: str = "POST"
) -> Iterator[Opened]:
    """One request; a body that is neither bytes nor a stream of them is sent as JSON. The client leaves with the end of
    the block.
    """
    from kilo_gateway.wsgi import application

    if isinstance(body, io.BytesIO):
        sent = body
    else:
        sent = io.BytesIO(body if isinstance(body, bytes) else json.dumps(body).encode())
    environ: dict[str, Any] = {
        "REQUEST_METHOD": method,
        "PATH_INFO": path,
        "QUERY_STRING": "",
        "SERVER_NAME": "localhost",
        "SERVER_PORT": "80",
        "SCRIPT_NAME": "",
        "REMOTE_ADDR": "127.0.0.1",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "CONTENT_LENGTH": str(len(sent.getbuffer())),
        "CONTENT_TYPE": "application/json",
        "HTTP_HOST": "localhost",
        "wsgi.input": sent,
        "wsgi.input_terminated": True,
        "wsgi.url_scheme": "http",
    }
    if key:
        environ["HTTP_AUTHORIZATION"] = f"Bearer {key}"
    for name, value in (headers or {}).items():
        environ[f"HTTP_{name.upper().replace('-', '_')}"] = value
    started: list[Any] = []

    def start_response(status: str, head: list[tuple[str, str]], exc_info: Any = None) -> None:
        started.append((status, head))

    result = application(environ, start_response)
    status, head = started[0]
    where, but = f"the answer to {method} {path}", shown_once(method, path)
    canaries.search_text(f"a header of {where}", str(head), but=but)
    pieces = canaries.searched(where, result, but=but)
    try:
        yield Opened(int(status.split()[0]), {name.lower(): value for name, value in head}, pieces)
    finally:
        if hasattr(result, "close"):
            result.close()


def call(
    path: str, body: Any, key: str = "", *, headers: Mapping[str, str] | None = None, method: str = "POST"
) -> Answer:
    """One request, and the whole answer to it."""
    with opened(path, body, key, headers=headers, method=method) as answer:
        return Answer(answer.status, answer.headers, b"".join(answer.body))


def chat(model: str = "kilo-auto/org", **fields: Any) -> dict[str, Any]:
    return {"model": model, "messages": [{"role": "user", "content": "hello"}], **fields}


@dataclass
class Statements:
    """The SQL that went to the database, from all threads and past Django too."""

    sent: list[tuple[int, str]] = field(default_factory=list)

    def add(self, text: str) -> None:
        self.sent.append((threading.get_ident(), text))

    @property
    def texts(self) -> list[str]:
        return [text for _, text in self.sent]

    def of_this_thread(self) -> list[str]:
        """What the requests of this thread sent themselves; the usage writer has a thread of its own."""
        return [text for thread, text in self.sent if thread == threading.get_ident()]

    def __len__(self) -> int:
        return len(self.sent)


@contextmanager
def counted_statements() -> Iterator[Statements]:
    """Every statement that goes to the database: through a cursor of psycopg, Django's included, or prepared by us."""
    statements = Statements()
    execute, copy, fetch_row = psycopg.Cursor.execute, psycopg.Cursor.copy, Prepared.fetch_row

    def counting_execute(self: Any, query: Any, *args: Any, **kwargs: Any) -> Any:
        statements.add(str(query))
        return execute(self, query, *args, **kwargs)

    def counting_copy(self: Any, statement: Any, *args: Any, **kwargs: Any) -> Any:
        statements.add(str(statement))
        return copy(self, statement, *args, **kwargs)

    def counting_fetch(self: Prepared, *args: Any) -> Any:
        statements.add(self._sql.decode())
        return fetch_row(self, *args)

    with (
        mock.patch.object(psycopg.Cursor, "execute", counting_execute),
        mock.patch.object(psycopg.Cursor, "copy", counting_copy),
        mock.patch.object(Prepared, "fetch_row", counting_fetch),
    ):
        yield statements
