"""Connections to upstreams that are kept for the next request."""

from __future__ import annotations

import json
import socket
import time

import pytest

from tests.e2e.lab import Lab, answers_status, answers_whole, assert_error_of_ours, recorded
from tests.e2e.scripted import Line, with_raw_server


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


def test_an_interim_answer_is_passed_over(lab: Lab) -> None:
    """103 and then, late, the answer: it is for this request, and whoever gets the connection next is not given it."""

    def script(line: Line) -> None:
        line.head("103 Early Hints", link="</style.css>; rel=preload")
        time.sleep(0.2)
        line.answer_json({"for": "the first request"})

    lab.openrouter.script = script
    assert lab.ask().json() == {"for": "the first request"}
    lab.openrouter.script = answers_whole("chat_completions")
    assert lab.ask().content == recorded("chat_completions").whole


@pytest.mark.parametrize("status", ["101 Switching Protocols", "103 Early Hints"])
def test_an_interim_answer_that_nothing_follows(lab: Lab, status: str) -> None:
    def script(line: Line) -> None:
        line.head(status)
        line.close()

    lab.openrouter.script = script
    assert_error_of_ours(lab.ask(), 503, "temporarily_unavailable")
    assert len(lab.openrouter.requests) == 1


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

    reply = with_raw_server(lab.provider, serve, lambda: lab.ask(mode="neuralwatt", filler="x" * 8_000_000))
    assert reply.status in {413, 503}
    if reply.status == 503:
        assert_error_of_ours(reply, 503, "temporarily_unavailable")


def test_nothing_of_the_above_was_unexpected(lab: Lab) -> None:
    assert "Traceback" not in lab.gateway.log()
    assert "Unexpected error" not in lab.gateway.log()
