"""Upstreams that answer with an error, and those that give no answer at all."""

from __future__ import annotations

import gzip
import json
import socket
import time
import zlib
from collections.abc import Callable
from typing import Any

import anthropic
import openai
import pytest

from tests.e2e.keys import SECRET
from tests.e2e.lab import (
    FIRST_BYTE_SECONDS,
    IDLE_SECONDS,
    KINDS,
    PROMPT,
    RECEIPT,
    Lab,
    answers_status,
    answers_whole,
    assert_error_of_ours,
)
from tests.e2e.scripted import Line, with_raw_server


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
def test_other_statuses_pass_with_their_body(lab: Lab, kind: str, stream: bool) -> None:
    told = {"error": {"message": "because", "odd": [1, None]}}
    replies = []
    for status in ("400 Bad Request", "404 Not Found", "418 Teapot", "422 Odd", "500 Oops"):
        lab.openrouter.script = answers_status(status, told)
        replies.append(lab.ask(kind, stream=stream))
        assert (replies[-1].status, replies[-1].json()) == (int(status[:3]), told)
        assert {name for name, _ in replies[-1].headers} >= RECEIPT
    for reply in replies:
        row = lab.usage(reply)
        assert (row["status"], row["error_type"], row["streamed"]) == (reply.status, "upstream_error", stream)
        assert row["input_tokens"] is None
    assert len(lab.openrouter.requests) == len(replies)
    assert not lab.vercel.requests


def test_an_error_page(lab: Lab) -> None:
    lab.openrouter.script = lambda line: line.answer("500 Oops", b"<h1>Oops</h1>", content_type="text/html")
    reply = lab.ask()
    assert (reply.status, reply["content-type"], reply.content) == (500, "text/html", b"<h1>Oops</h1>")


PACKED: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.compress,
    "X-GZIP": lambda content: gzip.compress(content[:9]) + gzip.compress(content[9:]),
    "deflate": zlib.compress,
    "Deflate": lambda content: zlib.compress(content, wbits=-15),
}


@pytest.mark.parametrize("encoding", PACKED)
def test_a_packed_error_leaves_unpacked_and_without_the_key(lab: Lab, encoding: str) -> None:
    told = {"error": {"message": f"no such key: {SECRET}", "odd": [1, None]}}
    content = PACKED[encoding](json.dumps(told).encode())
    lab.provider.script = lambda line: line.answer(
        "400 Bad", content, content_type="application/json", content_encoding=encoding
    )
    reply = lab.ask(tenant="key enabled", mode="code")
    assert (reply.status, "content-encoding" in reply) == (400, False)
    assert reply["content-type"] == "application/json"
    assert SECRET.encode() not in reply.content
    assert reply.json()["error"] == {"message": "no such key: ********", "odd": [1, None]}


UNREADABLE: dict[str, tuple[str, bytes]] = {
    "an encoding that is not known": ("br", SECRET.encode()),
    "two of them": ("gzip, gzip", gzip.compress(gzip.compress(SECRET.encode()))),
    "not packed": ("gzip", SECRET.encode()),
    "cut off": ("gzip", gzip.compress(SECRET.encode())[:-9]),
    "more behind it": ("gzip", gzip.compress(b"{}") + SECRET.encode()),
    "very large": ("deflate", zlib.compress(SECRET.encode() * 100_000)),
}


@pytest.mark.parametrize("how", UNREADABLE)
@pytest.mark.parametrize("status", [400, 401])
def test_an_error_that_cannot_be_read_stays_behind(lab: Lab, how: str, status: int) -> None:
    encoding, content = UNREADABLE[how]
    lab.provider.script = lambda line: line.answer(
        f"{status} No", content, content_type="text/plain", content_encoding=encoding
    )
    reply = lab.ask(tenant="key enabled", mode="code")
    assert (reply.status, reply["content-type"], "content-encoding" in reply) == (status, "application/json", False)
    assert "cannot be read" in reply.json()["error"]["message"]
    assert SECRET.encode() not in reply.content


def test_too_many_requests(lab: Lab) -> None:
    lab.openrouter.script = answers_status("429 Slow down", retry_after="7")
    reply = lab.ask()
    assert (reply.status, reply["retry-after"]) == (429, "7")
    assert not lab.vercel.requests


def test_an_error_as_a_stream(lab: Lab) -> None:
    """Some upstreams send their error as one event, with a status that says that it is one."""
    content = b'data: {"error": {"message": "overloaded"}}\n\n'
    lab.openrouter.script = lambda line: line.answer("500 Oops", content, content_type="text/event-stream")
    reply = lab.ask(stream=True)
    assert (reply.status, reply.content) == (500, content)
    assert lab.usage(reply)["error_type"] == "upstream_error"


@pytest.mark.parametrize("status", ["302 Found", "307 Temporary Redirect", "304 Not Modified"])
@pytest.mark.parametrize("stream", [False, True])
def test_a_redirect_is_no_answer_and_is_not_followed(lab: Lab, status: str, stream: bool) -> None:
    lab.openrouter.script = lambda line: line.answer(status, location=f"{lab.vercel.base_url}/v1/chat/completions")
    reply = lab.ask(stream=stream)
    assert_error_of_ours(reply, 503, "temporarily_unavailable")
    assert reply.json()["error"]["code"] == "upstream"
    assert "location" not in reply
    row = lab.usage(reply)
    assert (row["status"], row["error_type"]) == (503, "temporarily_unavailable")
    assert len(lab.openrouter.requests) == 1
    assert not lab.vercel.requests


def test_the_sdks_raise_the_error_of_the_status(lab: Lab) -> None:
    base_url, key = f"{lab.gateway.base_url}/api/gateway", lab.tenants["acme"].key
    hello: Any = [{"role": "user", "content": PROMPT}]
    lab.openrouter.script = lambda line: line.close()
    headers = {"x-kilocode-mode": "code"}
    with (
        openai.OpenAI(base_url=base_url, api_key=key, max_retries=0, default_headers=headers) as client,
        pytest.raises(openai.InternalServerError, match="could not be reached or broke off"),
    ):
        client.chat.completions.create(model="kilo-auto/org", messages=hello, stream=True)
    with (
        anthropic.Anthropic(base_url=base_url, api_key=key, max_retries=0, default_headers=headers) as client,
        pytest.raises(anthropic.InternalServerError, match="could not be reached or broke off"),
    ):
        client.messages.create(model="kilo-auto/org", messages=hello, max_tokens=5, stream=True)


# --- no answer


def closes_at_once(line: Line) -> None:
    line.close()


def resets(line: Line) -> None:
    line.close(reset=True)


def closes_within_the_head(line: Line) -> None:
    line.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nContent-Le")
    line.close()


def closes_after_a_line_of_the_head(line: Line) -> None:
    line.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n")
    line.close()


def closes_within_the_status(line: Line) -> None:
    line.write(b"HTTP/1.")
    line.close()


def speaks_no_http(line: Line) -> None:
    line.write(b"SSH-2.0-OpenSSH_9.6\r\n")
    line.close()


def head_without_end(line: Line) -> None:
    line.write(b"HTTP/1.1 200 OK\r\n" + b"".join(b"x-%d: 1\r\n" % number for number in range(300)) + b"\r\n")
    line.close()


def a_header_without_end(line: Line) -> None:
    line.write(b"HTTP/1.1 200 OK\r\nx: " + b"y" * 100_000 + b"\r\n\r\n")
    line.close()


def a_length_of_many_digits(line: Line) -> None:
    line.write(b"HTTP/1.1 200 OK\r\ncontent-length: " + b"9" * 5000 + b"\r\n\r\n{}")
    line.close()


def a_status_that_is_none(line: Line) -> None:
    line.head("999 Whatever", content_length="0")


NO_ANSWER = [
    closes_at_once,
    resets,
    closes_within_the_head,
    closes_after_a_line_of_the_head,
    closes_within_the_status,
    speaks_no_http,
    head_without_end,
    a_header_without_end,
    a_length_of_many_digits,
    a_status_that_is_none,
]


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize("script", NO_ANSWER, ids=lambda script: script.__name__)
def test_an_upstream_that_breaks_before_its_answer_is_asked_once(
    lab: Lab, script: Callable[[Line], None], stream: bool
) -> None:
    lab.openrouter.script = script
    reply = lab.ask(stream=stream)
    assert_error_of_ours(reply, 503, "temporarily_unavailable")
    assert len(lab.openrouter.requests) == 1, "the request was sent, so nobody may send it again"
    assert not lab.vercel.requests
    row = lab.usage(reply)
    assert (row["status"], row["error_type"]) == (503, "temporarily_unavailable")
    assert (row["streamed"], row["cancelled"]) == (stream, False)


def breaks_the_encryption(line: Line) -> None:
    socket.socket.sendall(line.socket, b"this is no record of TLS")
    line.close()


TLS = [closes_at_once, resets, breaks_the_encryption]


@pytest.mark.parametrize("script", TLS, ids=lambda script: script.__name__)
@pytest.mark.parametrize("on_used_connection", [False, True], ids=["fresh", "used"])
def test_over_tls_it_is_asked_once_too(lab: Lab, script: Callable[[Line], None], on_used_connection: bool) -> None:
    """Not every error of TLS is one of the handshake: some come after the request was sent."""
    if on_used_connection:
        lab.secure.script = answers_whole("chat_completions")
        assert lab.ask(mode="secure").status == 200
    before = len(lab.secure.requests)
    lab.secure.script = script
    reply = lab.ask(mode="secure")
    assert_error_of_ours(reply, 503, "temporarily_unavailable")
    assert len(lab.secure.requests) - before == 1


def test_over_tls_a_stream_that_breaks_off_ends_with_an_error(lab: Lab) -> None:
    def script(line: Line) -> None:
        line.event_stream()
        line.chunk(b"data: {}\n\n")
        line.close()

    lab.secure.script = script
    reply = lab.ask(mode="secure", stream=True)
    assert reply.content.startswith(b"data: {}\n\n")
    assert b"broke off" in reply.content


def test_connections_over_tls_are_used_again(lab: Lab) -> None:
    lab.secure.script = answers_whole("chat_completions")
    for _ in range(4):
        assert lab.ask(mode="secure").status == 200
    assert len({seen.connection for seen in lab.secure.requests}) == 1


def test_a_tls_handshake_that_fails_is_tried_again_once(lab: Lab) -> None:
    """Nothing was sent, so this does no harm."""
    accepted: list[bytes] = []

    def serve(listener: socket.socket) -> None:
        while True:
            connection, _ = listener.accept()
            accepted.append(connection.recv(5))
            connection.close()

    reply = with_raw_server(lab.secure, serve, lambda: lab.ask(mode="secure"))
    assert_error_of_ours(reply, 503, "temporarily_unavailable")
    assert accepted == [b"\x16\x03\x01" + accepted[0][3:]] * 2


def test_an_upstream_that_is_not_there(lab: Lab) -> None:
    lab.provider.stop()
    try:
        started = time.monotonic()
        reply = lab.ask(mode="neuralwatt")
    finally:
        lab.provider.start()
    assert_error_of_ours(reply, 503, "temporarily_unavailable")
    assert time.monotonic() - started < 2


def test_an_upstream_that_does_not_answer(lab: Lab) -> None:
    def script(line: Line) -> None:
        line.wait_for_peer_to_leave()
        line.close()

    lab.openrouter.script = script
    started = time.monotonic()
    exchanges = {kind: lab.send(kind, stream=True) for kind in KINDS}
    for kind, exchange in exchanges.items():
        reply = exchange.reply()
        assert_error_of_ours(reply, 504, "upstream_timeout", kind)
        assert lab.usage(reply)["error_type"] == "upstream_timeout"
    assert FIRST_BYTE_SECONDS <= time.monotonic() - started < FIRST_BYTE_SECONDS + 4
    assert len(lab.openrouter.requests) == len(KINDS)
    assert not lab.vercel.requests


def test_an_answer_that_stalls_half_way(lab: Lab) -> None:
    def script(line: Line) -> None:
        line.head(content_type="application/json", content_length="100")
        line.write(b'{"id":')
        line.wait_for_peer_to_leave()
        line.close()

    lab.openrouter.script = script
    started = time.monotonic()
    reply = lab.ask()
    assert_error_of_ours(reply, 504, "upstream_timeout")
    assert time.monotonic() - started < IDLE_SECONDS + 2


@pytest.mark.parametrize("chunked", [False, True], ids=["length", "chunked"])
def test_an_answer_that_breaks_off_half_way(lab: Lab, chunked: bool) -> None:
    def script(line: Line) -> None:
        framing = {"transfer_encoding": "chunked"} if chunked else {"content_length": "100"}
        line.head(content_type="application/json", **framing)
        line.write(b"6\r\n" + b'{"id":' + b"\r\n" if chunked else b'{"id":')
        line.close()

    lab.openrouter.script = script
    assert_error_of_ours(lab.ask(), 503, "temporarily_unavailable")


def test_an_error_whose_body_breaks_off(lab: Lab) -> None:
    def script(line: Line) -> None:
        line.head("400 Bad Request", content_type="application/json", content_length="100")
        line.close()

    lab.openrouter.script = script
    assert_error_of_ours(lab.ask(), 503, "temporarily_unavailable")


def test_nothing_of_the_above_was_unexpected(lab: Lab) -> None:
    assert "Traceback" not in lab.gateway.log()
    assert "Unexpected error" not in lab.gateway.log()
