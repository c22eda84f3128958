"""A pytest plugin: what a test plants as a secret must appear in nothing that the gateway says.

Planted by itself: what is sealed with the keyring, hashed as a password, set as a secret setting, and sent in a field
for secrets. Searched: every answer of Django in this process, every byte that a client in this process receives from a
gateway of `tests.support.live`, every record that is logged, every audit row, mail, and output of a command.
"""

from __future__ import annotations

import json
import logging
import re
import socket
from collections.abc import Iterator
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import parse_qsl
from weakref import WeakKeyDictionary

import pytest
from django.conf import settings
from django.contrib.auth import base_user
from django.core.handlers.base import BaseHandler
from django.core.mail import EmailMessage
from django.core.management.base import BaseCommand, OutputWrapper
from django.db.models.signals import pre_save
from django.http import FileResponse, HttpRequest
from django.http.response import HttpResponseBase
from django.test import RequestFactory
from django.test.signals import setting_changed

from byok.encryption import Keyring
from kilo_gateway.logs import JsonFormatter
from organizations.models import AuditLog
from tests.support.canaries import (
    NOTHING,
    OVERLAP,
    SECRET_SETTINGS,
    Kind,
    canaries,
    decoded,
    is_gateway,
    printed_by,
    shown_once,
)

_FIELD: Final = r"(?:old)?password\d?|secret|api_?key|(?:header_)?value"
_FIELDS: Final = re.compile(_FIELD, re.IGNORECASE)
_IN_JSON: Final = re.compile(rf'"(?:{_FIELD})"\s*:\s*("(?:[^"\\]|\\.)*")'.encode(), re.IGNORECASE)
_IN_PARTS: Final = re.compile(rf'name="(?:{_FIELD})"\r\n\r\n(.*?)\r\n--'.encode(), re.IGNORECASE | re.DOTALL)
_REQUEST_LINE: Final = re.compile(rb"(GET|POST|PUT|PATCH|DELETE|HEAD|OPTIONS) (\S+) HTTP/1\.")
_LONGEST_BODY: Final = 100_000

_command: ContextVar[str] = ContextVar("command", default="")


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    canaries.planted.clear()
    for name in SECRET_SETTINGS:
        canaries.plant(getattr(settings, name, ""), Kind.SETTING)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Iterator[None]:
    yield
    canaries.judge()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown(item: pytest.Item) -> Iterator[None]:
    yield
    canaries.judge()


def pytest_configure(config: pytest.Config) -> None:
    _plant_by_themselves()
    _watch_answers()
    _watch_sockets()
    _watch_records()
    _watch_commands()


# ---------------------------------------------------------------- planting


def _plant_by_themselves() -> None:
    encrypt, make_password, generic = Keyring.encrypt, base_user.make_password, RequestFactory.generic

    def planting_encrypt(self: Keyring, secret: Any, **binding: Any) -> Any:
        canaries.plant(secret.reveal(), Kind.SEALED)
        return encrypt(self, secret, **binding)

    def planting_make_password(password: str | None, *args: Any, **kwargs: Any) -> str:
        canaries.plant(password or "", Kind.PASSWORD)
        return str(make_password(password, *args, **kwargs))

    def planting_generic(
        self: RequestFactory,
        method: str,
        path: str,
        data: Any = "",
        content_type: str = "application/octet-stream",
        *args: Any,
        **more: Any,
    ) -> Any:
        for text in typed_secrets(data.encode() if isinstance(data, str) else data, content_type or ""):
            canaries.plant(text, Kind.TYPED)
        return generic(self, method, path, data, content_type, *args, **more)

    Keyring.encrypt = planting_encrypt  # type: ignore[method-assign]
    base_user.make_password = planting_make_password  # type: ignore[attr-defined]
    RequestFactory.generic = planting_generic  # type: ignore[method-assign]
    setting_changed.connect(_plant_setting, dispatch_uid="canaries")


def _plant_setting(*, setting: str, value: Any, **_more: Any) -> None:
    if setting in SECRET_SETTINGS:
        canaries.plant(value or "", Kind.SETTING)


def typed_secrets(body: bytes, content_type: str) -> list[str]:
    """What a request brings in fields for secrets, as a form or as JSON."""
    if not body or len(body) > _LONGEST_BODY:
        return []
    if content_type.startswith("application/x-www-form-urlencoded"):
        pairs = parse_qsl(body.decode("utf-8", "replace"), keep_blank_values=True)
        return [value for name, value in pairs if _FIELDS.fullmatch(name)]
    if content_type.startswith("multipart/"):
        return [match.decode("utf-8", "replace") for match in _IN_PARTS.findall(body)]
    return [_unquoted(match) for match in _IN_JSON.findall(body)]


def _unquoted(quoted: bytes) -> str:
    try:
        return str(json.loads(quoted))
    except ValueError:
        return quoted[1:-1].decode("utf-8", "replace")


# ---------------------------------------------------------------- answers


def _watch_answers() -> None:
    get_response = BaseHandler.get_response

    def watching(self: BaseHandler, request: HttpRequest) -> HttpResponseBase:
        response = get_response(self, request)
        search_response(request, response)
        return response

    BaseHandler.get_response = watching  # type: ignore[method-assign,assignment]


def search_response(request: HttpRequest, response: HttpResponseBase) -> None:
    """Look through an answer of Django, and through a streamed one while it is read."""
    method, path = str(request.method), request.path
    where, but = f"the answer to {method} {path}", shown_once(method, path)
    head = "\n".join(f"{name}: {value}" for name, value in response.items())
    canaries.search_text(f"a header of {where}", f"{head}\n{response.cookies.output()}", but=but)
    if not response.streaming:
        canaries.search(where, decoded(response.content, response.get("Content-Encoding", "")), but=but)  # type: ignore[attr-defined]
    elif not isinstance(response, FileResponse):
        response.streaming_content = canaries.searched(where, response.streaming_content, but=but)  # type: ignore[attr-defined]


# ---------------------------------------------------------------- connections to gateways


@dataclass
class _Exchange:
    """What a client asked last on a connection, and the end of what it received."""

    method: str = ""
    path: str = ""
    tail: bytes = b""


def _watch_sockets() -> None:
    exchanges: WeakKeyDictionary[socket.socket, _Exchange] = WeakKeyDictionary()
    recv, recv_into = socket.socket.recv, socket.socket.recv_into
    send, sendall = socket.socket.send, socket.socket.sendall

    def asked(connection: socket.socket, data: Any) -> None:
        if is_gateway(connection) and (match := _REQUEST_LINE.match(bytes(memoryview(data)[:4096]))):
            exchanges[connection] = _Exchange(match[1].decode(), match[2].decode("ascii", "replace"))

    def received(connection: socket.socket, data: bytes) -> None:
        if not data or not is_gateway(connection):
            return
        exchange = exchanges.setdefault(connection, _Exchange())
        where = f"the answer to {exchange.method} {exchange.path}"
        canaries.search(where, exchange.tail + data, but=shown_once(exchange.method, exchange.path))
        exchange.tail = (exchange.tail + data)[-OVERLAP:]

    def watching_recv(self: socket.socket, *args: Any) -> bytes:
        data = recv(self, *args)
        received(self, data)
        return data

    def watching_recv_into(self: socket.socket, buffer: Any, *args: Any) -> int:
        count = recv_into(self, buffer, *args)
        received(self, bytes(memoryview(buffer)[:count]))
        return count

    def watching_send(self: socket.socket, data: Any, *args: Any) -> int:
        asked(self, data)
        return send(self, data, *args)

    def watching_sendall(self: socket.socket, data: Any, *args: Any) -> None:
        asked(self, data)
        sendall(self, data, *args)

    socket.socket.recv, socket.socket.recv_into = watching_recv, watching_recv_into  # type: ignore[method-assign]
    socket.socket.send, socket.socket.sendall = watching_send, watching_sendall  # type: ignore[method-assign]


# ---------------------------------------------------------------- records


def _watch_records() -> None:
    formatter, call_handlers, send = JsonFormatter(), logging.Logger.callHandlers, EmailMessage.send

    # Behind the filters of the logger, some of which are there to take keys out.
    def watching_call_handlers(self: logging.Logger, record: logging.LogRecord) -> None:
        canaries.search_text(f"a log line of {record.name}", formatter.format(record))
        call_handlers(self, record)

    def watching_send(self: EmailMessage, *args: Any, **kwargs: Any) -> int:
        canaries.search(f"the mail {self.subject!r}", self.message().as_bytes())
        return send(self, *args, **kwargs)

    logging.Logger.callHandlers = watching_call_handlers  # type: ignore[method-assign]
    EmailMessage.send = watching_send  # type: ignore[method-assign]
    pre_save.connect(_search_audit_row, sender=AuditLog, dispatch_uid="canaries")


def _search_audit_row(*, instance: AuditLog, **_more: Any) -> None:
    content = {field.attname: getattr(instance, field.attname) for field in AuditLog._meta.concrete_fields}
    canaries.search_text(f"the audit row {instance.action}", json.dumps(content, default=str, ensure_ascii=False))


# ---------------------------------------------------------------- commands


def _watch_commands() -> None:
    execute, write = BaseCommand.execute, OutputWrapper.write

    def watching_execute(self: BaseCommand, *args: Any, **options: Any) -> Any:
        before = _command.set(type(self).__module__.rpartition(".")[2])
        try:
            return execute(self, *args, **options)
        finally:
            _command.reset(before)

    def watching_write(self: OutputWrapper, msg: str = "", *args: Any, **kwargs: Any) -> None:
        command = _command.get()
        but = printed_by(command) if command else NOTHING
        canaries.search_text(f"the output of the command {command}", str(msg), but=but)
        write(self, msg, *args, **kwargs)

    BaseCommand.execute = watching_execute  # type: ignore[method-assign]
    OutputWrapper.write = watching_write  # type: ignore[method-assign]
