"""The incoming request before anything is decided: its size and its shape."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from django.conf import settings

from kilo_gateway.api_errors import ErrorType, GatewayError
from kilo_gateway.api_kinds import ApiKind
from routing.proxy.body import JsonBody, invalid_request
from routing.proxy.fields import check_fields, check_tools, unsupported_field

READ_BYTES = 256 * 1024
# What is parsed before it is known who asks; nearly every body is larger only because of its pictures or files.
EARLY_BYTES = 64 * 1024
# Far above any id with a mode behind it. What was decided is remembered by the id, so the id must not be of any size.
MAX_MODEL_LENGTH = 1000


def stated_length(environ: Mapping[str, Any]) -> int | None:
    """How long the body is, as the request says; None for a chunked one.

    Looked at before the key is: a stranger may not make us read, or wait for, what he sends.

    Raises:
        GatewayError: 400 for what is no length, 413 beyond `MAX_REQUEST_BYTES`.
    """
    stated = environ.get("CONTENT_LENGTH") or ""
    if not stated:
        return None
    length = _length(stated)
    if length > settings.MAX_REQUEST_BYTES:
        raise _too_large(settings.MAX_REQUEST_BYTES)
    return length


def read_body(environ: Mapping[str, Any], length: int | None) -> bytes:
    """The whole body, of a stated length or chunked.

    Raises:
        GatewayError: 413 beyond `MAX_REQUEST_BYTES`, before more than that is read; 400 when it ends early.
    """
    stream = environ["wsgi.input"]
    if length is not None:
        return _read_exactly(stream, length)
    # Without a length the server marks the end itself (`wsgi.input_terminated`); else there is no body.
    if not environ.get("wsgi.input_terminated"):
        return b""
    return _read_to_end(stream, settings.MAX_REQUEST_BYTES)


def _length(stated: str) -> int:
    if not (stated.isascii() and stated.isdigit()):
        raise invalid_request("Content-Length is not a number.")
    # Leading zeros are allowed, so only what follows them tells the size; no body is as long as 20 digits say.
    digits = stated.lstrip("0")
    return int(digits[:20] or "0")


def _read_exactly(stream: Any, length: int) -> bytes:
    body = stream.read(length)
    while len(body) < length:
        piece = stream.read(length - len(body))
        if not piece:
            raise invalid_request("The body is shorter than its Content-Length says.")
        body += piece
    return bytes(body)


def _read_to_end(stream: Any, limit: int) -> bytes:
    pieces: list[bytes] = []
    size = 0
    while piece := stream.read(READ_BYTES):
        size += len(piece)
        if size > limit:
            raise _too_large(limit)
        pieces.append(piece)
    return b"".join(pieces)


def _too_large(limit: int) -> GatewayError:
    return GatewayError(ErrorType.REQUEST_TOO_LARGE, 413, f"The body is larger than {limit} bytes.")


class IncomingBody:
    """The body of a request, read and parsed when it is asked for; or before that, while there is nothing else to do.

    Whatever goes wrong early goes wrong again, and is told, when the body is asked for: the order of the checks stays
    what it is.
    """

    __slots__ = ("_api_kind", "_body", "_environ", "_length", "_raw")

    def __init__(self, environ: Mapping[str, Any], length: int | None, api_kind: ApiKind) -> None:
        self._environ = environ
        self._length = length
        self._api_kind = api_kind
        self._raw: bytes | None = None
        self._body: JsonBody | None = None

    def get_early(self) -> JsonBody | None:
        """The body, or None if it is large or something is wrong with it. Waits for whoever sends it, so it is not for
        what strangers send.
        """
        if self._body is None and self._raw is None and self._length is not None and self._length <= EARLY_BYTES:
            with suppress(Exception):
                self._raw = read_body(self._environ, self._length)
                self._body = self._parsed(self._raw)
        return self._body

    def get(self) -> JsonBody:
        """All of it, parsed and checked.

        Raises:
            GatewayError: as `read_body`, `JsonBody` and `validate` raise it.
        """
        raw, self._raw = self._raw, None
        if self._body is None:
            self._body = self._parsed(read_body(self._environ, self._length) if raw is None else raw)
        return self._body

    def _parsed(self, raw: bytes) -> JsonBody:
        body = JsonBody(raw)
        validate(body, self._api_kind)
        return body


def validate(body: JsonBody, api_kind: ApiKind) -> None:
    """The checks that need only the body, in their order.

    Raises:
        GatewayError: the first that fails.
    """
    if "providerOptions" in body.values:
        raise unsupported_field('"providerOptions" is not supported: the organization decides about providers.')
    model = body.get("model")
    if not isinstance(model, str) or not model.strip():
        raise GatewayError(
            ErrorType.MODEL_NOT_FOUND, 404, '"model" must be the id of a model, for example "kilo-auto/org".'
        )
    if len(model) > MAX_MODEL_LENGTH:
        raise GatewayError(ErrorType.MODEL_NOT_FOUND, 404, f'"model" has more than {MAX_MODEL_LENGTH} characters.')
    check_fields(body.values)
    if api_kind is ApiKind.RESPONSES:
        _validate_responses(body)
    elif not isinstance(body.get("messages"), list) or not body.get("messages"):
        raise invalid_request('"messages" must be a list of at least one message.')
    elif not all(isinstance(message, dict) for message in body.values["messages"]):
        raise invalid_request('Each of "messages" must be an object.')
    if not isinstance(body.get("stream"), bool | None):
        raise invalid_request('"stream" must be true or false.')


# What an upstream would have to remember for the client, or has stored under an id.
_MEMORIES: Mapping[str, str] = {
    "previous_response_id": 'send the whole conversation as "input"',
    "conversation": 'send the whole conversation as "input"',
    "prompt": 'a stored prompt has a model of its own; send its text as "instructions" or "input"',
}
_ONLY_FALSE: Mapping[str, str] = {
    "store": "the gateway keeps no responses",
    "background": "the gateway keeps no responses to be fetched later",
}


def _validate_responses(body: JsonBody) -> None:
    for name, reason in _ONLY_FALSE.items():
        # Not only `true`: what an upstream takes for true must not pass either.
        if body.get(name) not in (None, False):
            raise unsupported_field(f'"{name}" is not supported, except as false: {reason}.')
    for name, instead in _MEMORIES.items():
        if body.get(name) is not None:
            raise unsupported_field(f'"{name}" is not supported: {instead}.')
    content = body.get("input")
    if not isinstance(content, (str, list)) or not content:
        raise invalid_request('"input" must be a text or a list of at least one item.')
    if isinstance(content, list):
        for item in content:
            _validate_item(item)


def _validate_item(item: Any) -> None:
    if not isinstance(item, dict):
        raise invalid_request('Each item of "input" must be an object.')
    if item.get("type") == "item_reference":
        raise unsupported_field('An "item_reference" is not supported: send the item itself as "input".')
    # A conversation may bring tools along: those that a search for tools has found.
    if item.get("tools") is not None:
        check_tools(item["tools"])
