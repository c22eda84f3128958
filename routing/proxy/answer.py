"""The upstream's answer on its way back."""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterable, Mapping
from urllib.parse import quote

from django.conf import settings

from kilo_gateway.api_errors import ErrorType, GatewayError, temporarily_unavailable
from kilo_gateway.secret import MASK, SHORTEST_WITH_LAST_FOUR, Secret
from routing.proxy.upstream import Answer, UpstreamBroke

MAX_ANSWER_BYTES = 64 * 1024 * 1024
# What an answer's reader needs. Everything else of the upstream's head stays behind: cookies, server, account, limits.
_PASSED = ("content-type", "content-encoding", "retry-after")
# Answers of a provider that are about the account behind a key.
ACCOUNT_STATUSES = frozenset({401, 402, 403, 429})
MAX_MESSAGE_LENGTH = 500
MAX_UNPACKED_BYTES = 1024 * 1024
_UNREADABLE = "The upstream's error came packed in a way that cannot be read here."
_UNREADABLE_ERROR = json.dumps(
    {"type": "error", "error": {"type": ErrorType.UPSTREAM_ERROR, "code": "unreadable_error", "message": _UNREADABLE}}
).encode()
# The server ends such an answer at its head, and would take the rest for a client that has left.
_WITHOUT_CONTENT = frozenset({204, 205})


def passed_headers(headers: Mapping[str, str], *, streamed: bool) -> dict[str, str]:
    """The headers of the upstream that the client gets; an upstream that does not say what it sends sends what was
    asked for.
    """
    asked_for = "text/event-stream" if streamed else "application/json"
    passed = {name: _clean(headers[name]) for name in _PASSED if name in headers}
    return {"content-type": asked_for} | {name: value for name, value in passed.items() if value}


def refuse_redirect(answer: Answer) -> None:
    """Raises 503 for an answer that sends the request elsewhere: nothing is followed, and the client got no answer."""
    if 300 <= answer.status < 400:
        answer.close()
        raise temporarily_unavailable(
            "The upstream redirects, which is not followed. Try again later.", code="upstream"
        )


def is_stream(status: int, headers: Mapping[str, str]) -> bool:
    """Whether an answer is passed on piece by piece; an error is looked at as a whole, whatever its type."""
    is_of_events = headers["content-type"].lower().startswith("text/event-stream")
    return is_of_events and status < 400 and status not in _WITHOUT_CONTENT


def _clean(value: str) -> str:
    """A header's value without what could end it: a value that is folded over several lines has line breaks in it."""
    if value.isascii() and value.isprintable():
        return value
    return " ".join("".join(c if c.isascii() and c.isprintable() else " " for c in value).split())


def read_whole(answer: Answer) -> bytes:
    """An answer that is not streamed; its connection is kept for the next request.

    Raises:
        GatewayError: 504 when it stalls, 503 when it breaks off or is larger than 64 MiB; the client has not got a byte
            of it then.
    """
    pieces: list[bytes] = []
    size = 0
    answer.wait_at_most(settings.UPSTREAM_IDLE_TIMEOUT)
    try:
        while (piece := answer.read()) != b"":
            if piece is None:
                continue
            pieces.append(piece)
            size += len(piece)
            if size > MAX_ANSWER_BYTES:
                raise temporarily_unavailable("The upstream's answer is too large.", code="upstream")
    except TimeoutError:
        raise upstream_timeout() from None
    except UpstreamBroke:
        raise _broken() from None
    finally:
        answer.close()
    return b"".join(pieces)


def _broken() -> GatewayError:
    return temporarily_unavailable("The upstream broke off its answer. Try again.", code="upstream")


def upstream_timeout() -> GatewayError:
    """504: the upstream let the client wait for too long."""
    return GatewayError(ErrorType.UPSTREAM_TIMEOUT, 504, "The upstream did not answer in time. Try again.")


def byok_error(status: int, content: bytes, account: str, headers: Mapping[str, str]) -> GatewayError:
    """A provider's refusal of an account that is not the installation's, in the provider's words."""
    told = provider_message(content)
    message = f"{account} was refused by the provider ({status})"
    return GatewayError(ErrorType.BYOK_ERROR, status, f"{message}: {told}" if told else f"{message}.", headers=headers)


def without_secrets(
    content: bytes, headers: Mapping[str, str], secrets: Iterable[Secret]
) -> tuple[bytes, dict[str, str]]:
    """An error's body in which the secrets that were sent are masked, should the upstream repeat them, and its headers.

    It leaves unpacked. One in which they could hide, because it cannot be read here, stays behind for words of ours.
    """
    passed = dict(headers)
    encoding = passed.pop("content-encoding", "").strip().lower()
    if encoding not in {"", "identity"}:
        try:
            content = _unpacked(content, encoding)
        except (ValueError, zlib.error):
            return _UNREADABLE_ERROR, passed | {"content-type": "application/json"}
    for secret in secrets:
        content = _without(content, secret)
    return content, passed


def _unpacked(content: bytes, encoding: str) -> bytes:
    """What was packed with gzip or deflate, the latter with or without the head of zlib; raises for all else."""
    if encoding in {"gzip", "x-gzip"}:
        return _inflated(content, zlib.MAX_WBITS | 16)
    if encoding != "deflate":
        raise ValueError(encoding)
    try:
        return _inflated(content, zlib.MAX_WBITS)
    except zlib.error:
        return _inflated(content, -zlib.MAX_WBITS)


def _inflated(content: bytes, window_bits: int) -> bytes:
    """All members of it; raises ValueError or zlib.error when it is broken, cut off or too large."""
    unpacked = bytearray()
    while content:
        member = zlib.decompressobj(window_bits)
        # Where one byte more than may be is there, the rest is left.
        unpacked += member.decompress(content, MAX_UNPACKED_BYTES + 1 - len(unpacked))
        if len(unpacked) > MAX_UNPACKED_BYTES or not member.eof:
            raise ValueError("too large, or cut off")
        content = member.unused_data
    return bytes(unpacked)


def _without(content: bytes, secret: Secret) -> bytes:
    text = secret.reveal()
    if len(text) < SHORTEST_WITH_LAST_FOUR:
        # So short a text is found in words that have nothing to do with the key.
        return content
    for spelling in (text, json.dumps(text)[1:-1], text.replace("/", "\\/"), quote(text, safe="")):
        content = content.replace(spelling.encode(), MASK.encode())
    return content


def provider_message(content: bytes) -> str:
    """The sentence in a provider's error body, if there is one; at most 500 characters."""
    try:
        body = json.loads(content)
    except (ValueError, RecursionError):
        return ""
    error = body.get("error", body) if isinstance(body, dict) else body
    message = error.get("message") if isinstance(error, dict) else error
    text = message if isinstance(message, str) else ""
    return " ".join(text.split())[:MAX_MESSAGE_LENGTH]
