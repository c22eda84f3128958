"""Answers that are not streamed, answers that are errors, and upstreams that give no answer at all."""

from __future__ import annotations

import gzip
import json
import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import anthropic
import openai
import pytest

from tests.e2e.lab import (
    FIRST_BYTE_SECONDS,
    IDLE_SECONDS,
    KINDS,
    PROMPT,
    TOKENS,
    Lab,
    answers_status,
    answers_whole,
    recorded,
)
from tests.e2e.scripted import Line, ScriptedUpstream
from tests.e2e.wire import Reply

RECEIPT = {"x-request-id", "x-kilo-mode", "x-kilo-route", "x-kilo-target", "x-kilo-model", "x-kilo-provider"}
RECEIPT |= {"x-kilo-byok", "x-kilo-routing-version"}


def assert_error_of_ours(reply: Reply, status: int, error_type: str, kind: str = "chat_completions") -> None:
    """Our body, in the shape of the API, with the whole receipt."""
    assert reply.status == status, reply.content
    assert reply["content-type"] == "application/json"
    body = reply.json()
    assert body["error_type"] == error_type
    assert body["message"] == body["error"]["message"] != ""
    assert body.get("type") == ("error" if kind == "messages" else None)
    assert {name for name, _ in reply.headers} >= RECEIPT
    if status == 503:
        assert int(reply["retry-after"]) > 0


# --- whole answers


def a_byte_a_chunk(line: Line, content: bytes) -> None:
    line.head(content_type="application/json", transfer_encoding="chunked")
    line.write(b"".join(b"1;x=y\r\n%c\r\n" % byte for byte in content))
    line.end(b"set-cookie: late=1\r\n")


def until_the_connection_closes(line: Line, content: bytes) -> None:
    line.write(b"HTTP/1.0 200 OK\r\nContent-Type: application/json\r\n\r\n" + content)
    line.close()


def stated_length_in_drops(line: Line, content: bytes) -> None:
    line.head(content_type="application/json", content_length=str(len(content)))
    for start in range(0, len(content), 40):
        line.write(content[start : start + 40])
        time.sleep(0.001)


def closes_afterwards(line: Line, content: bytes) -> None:
    line.answer("200 OK", content, content_type="application/json", connection="close")
    line.close()


WHOLE = [a_byte_a_chunk, until_the_connection_closes, stated_length_in_drops, closes_afterwards]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("framing", WHOLE, ids=lambda framing: framing.__name__)
def test_every_byte_arrives_and_the_tokens_are_counted(
    lab: Lab, kind: str, framing: Callable[[Line, bytes], None]
) -> None:
    content = recorded(kind).whole
    lab.openrouter.script = lambda line: framing(line, content)
    reply = lab.ask(kind)
    assert (reply.status, reply["content-type"], reply.content) == (200, "application/json", content)
    assert reply["content-length"] == str(len(content))
    row = lab.usage(reply)
    assert {name: row[name] for name in TOKENS} == TOKENS
    assert (row["status"], row["error_type"], row["streamed"]) == (200, "", False)


def test_compressed_though_nobody_asked_for_it(lab: Lab) -> None:
    packed = gzip.compress(recorded("responses").whole)
    lab.openrouter.script = lambda line: line.answer(
        "200 OK", packed, content_type="application/json", content_encoding="gzip"
    )
    reply = lab.ask("responses")
    assert (reply["content-encoding"], reply.content) == ("gzip", packed)


def test_of_no_stated_type(lab: Lab) -> None:
    lab.openrouter.script = lambda line: line.answer("200 OK", recorded("messages").whole)
    reply = lab.ask("messages")
    assert (reply["content-type"], reply.content) == ("application/json", recorded("messages").whole)


@pytest.mark.parametrize("stream", [False, True])
def test_empty(lab: Lab, stream: bool) -> None:
    lab.openrouter.script = lambda line: line.answer("200 OK", content_type="application/json")
    reply = lab.ask(stream=stream)
    assert (reply.status, reply.content) == (200, b"")
    assert lab.usage(reply)["input_tokens"] is None


@pytest.mark.parametrize("headers", [{}, {"content_type": "text/event-stream"}], ids=["no type", "a stream"])
def test_no_content(lab: Lab, headers: dict[str, str]) -> None:
    lab.openrouter.script = lambda line: line.head("204 No Content", **headers)
    reply = lab.ask(stream=True)
    assert (reply.status, reply.content) == (204, b"")
    assert lab.usage(reply)["cancelled"] is False
    lab.openrouter.script = answers_whole("chat_completions")
    assert lab.ask().content == recorded("chat_completions").whole
    assert len({seen.connection for seen in lab.openrouter.requests}) == 1


def test_what_is_not_json_passes(lab: Lab) -> None:
    content = b'{"id": "x", "usage": {"prompt_tokens": 5, '
    lab.openrouter.script = lambda line: line.answer("200 OK", content, content_type="application/json")
    reply = lab.ask()
    assert (reply.status, reply.content) == (200, content)
    assert lab.usage(reply)["input_tokens"] is None


# --- errors of the upstream


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize("status", ["400 Bad Request", "404 Not Found", "422 Odd", "500 Oops", "418 Teapot"])
def test_other_statuses_pass_with_their_body(lab: Lab, kind: str, status: str, stream: bool) -> None:
    lab.openrouter.script = answers_status(status, {"error": {"message": "because", "odd": [1, None]}})
    reply = lab.ask(kind, stream=stream)
    assert reply.status == int(status[:3])
    assert reply.json() == {"error": {"message": "because", "odd": [1, None]}}
    assert {name for name, _ in reply.headers} >= RECEIPT
    row = lab.usage(reply)
    assert (row["status"], row["error_type"], row["streamed"]) == (reply.status, "upstream_error", stream)
    assert row["input_tokens"] is None
    assert len(lab.openrouter.requests) == 1
    assert not lab.vercel.requests


def test_an_error_page(lab: Lab) -> None:
    lab.openrouter.script = lambda line: line.answer("500 Oops", b"<h1>Oops</h1>", content_type="text/html")
    reply = lab.ask()
    assert (reply.status, reply["content-type"], reply.content) == (500, "text/html", b"<h1>Oops</h1>")


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


def test_a_redirect_is_not_followed(lab: Lab) -> None:
    lab.openrouter.script = lambda line: line.answer(
        "307 Temporary Redirect", location=f"{lab.vercel.base_url}/v1/chat/completions"
    )
    reply = lab.ask()
    assert reply.status == 307
    assert "location" not in reply
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

    reply = _with_raw_server(lab.secure, serve, lambda: lab.ask(mode="secure"))
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


# --- kept connections


def test_connections_are_used_again(lab: Lab) -> None:
    lab.openrouter.script = answers_whole("chat_completions")
    for _ in range(10):
        lab.ask()
    assert len({seen.connection for seen in lab.openrouter.requests}) == 1


def test_after_an_error_the_connection_is_used_again(lab: Lab) -> None:
    lab.openrouter.script = answers_status("400 Bad Request")
    for _ in range(3):
        lab.ask()
    assert len({seen.connection for seen in lab.openrouter.requests}) == 1


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
def test_an_upstream_that_was_restarted_meanwhile(lab: Lab, stream: bool) -> None:
    """The kept connection is dead: another one is opened, and the request is sent once."""
    lab.openrouter.script = answers_whole("chat_completions")
    assert lab.ask().status == 200
    lab.openrouter.stop()
    lab.openrouter.start()
    for _ in range(3):
        assert lab.ask(stream=stream).status == 200
    assert len(lab.openrouter.requests) == 4
    assert not lab.vercel.requests


def test_many_kept_connections_that_died(lab: Lab) -> None:
    def script(line: Line) -> None:
        time.sleep(0.2)
        answers_whole("chat_completions")(line)

    lab.openrouter.script = script
    exchanges = [lab.send() for _ in range(20)]
    assert {exchange.reply().status for exchange in exchanges} == {200}
    lab.openrouter.stop()
    lab.openrouter.start()
    exchanges = [lab.send() for _ in range(20)]
    assert {exchange.reply().status for exchange in exchanges} == {200}
    assert len(lab.openrouter.requests) == 40


def test_tls_connections_that_died(lab: Lab) -> None:
    lab.secure.script = answers_whole("chat_completions")
    assert lab.ask(mode="secure").status == 200
    lab.secure.stop()
    lab.secure.start()
    assert lab.ask(mode="secure").status == 200
    assert len(lab.secure.requests) == 2


def test_an_interim_answer_does_not_answer_the_next_request(lab: Lab) -> None:
    """103 and then, late, the answer: whoever gets the connection next must not be given it."""

    def script(line: Line) -> None:
        line.head("103 Early Hints", link="</style.css>; rel=preload")
        time.sleep(0.5)
        line.answer_json({"secret": "of the first request"})

    lab.openrouter.script = script
    assert_error_of_ours(lab.ask(), 503, "temporarily_unavailable")
    lab.openrouter.script = answers_whole("chat_completions")
    assert lab.ask().content == recorded("chat_completions").whole


def test_bytes_behind_an_answer_do_not_answer_the_next_request(lab: Lab) -> None:
    def script(line: Line) -> None:
        line.answer_json({"first": True})
        line.answer_json({"secret": "that nobody asked for"})
        time.sleep(0.2)

    lab.openrouter.script = script
    assert lab.ask().json() == {"first": True}
    time.sleep(0.3)
    lab.openrouter.script = answers_whole("chat_completions")
    assert lab.ask().content == recorded("chat_completions").whole


def test_a_huge_request_that_the_upstream_refuses_unread(lab: Lab) -> None:
    """It answers and closes while the body is still on its way: the answer counts, if it arrived."""
    refusal = json.dumps({"error": {"message": "too large"}}).encode()

    def serve(listener: socket.socket) -> None:
        connection, _ = listener.accept()
        connection.recv(1000)
        connection.sendall(
            b"HTTP/1.1 413 Too Large\r\nConnection: close\r\nContent-Type: application/json\r\n"
            b"Content-Length: %d\r\n\r\n%b" % (len(refusal), refusal)
        )
        time.sleep(0.5)
        connection.close()

    reply = _with_raw_server(lab.provider, serve, lambda: lab.ask(mode="neuralwatt", filler="x" * 8_000_000))
    assert reply.status in {413, 503}
    if reply.status == 503:
        assert_error_of_ours(reply, 503, "temporarily_unavailable")


def _with_raw_server(
    instead_of: ScriptedUpstream, serve: Callable[[socket.socket], None], act: Callable[[], Reply]
) -> Reply:
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


def test_nothing_of_the_above_was_unexpected(lab: Lab) -> None:
    assert "Traceback" not in lab.gateway.log()
    assert "Unexpected error" not in lab.gateway.log()
