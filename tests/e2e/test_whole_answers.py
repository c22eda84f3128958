"""Answers that are not streamed."""

from __future__ import annotations

import gzip
import time
from collections.abc import Callable

import pytest

from tests.e2e.lab import (
    KINDS,
    TOKENS,
    Lab,
    answers_whole,
    recorded,
)
from tests.e2e.scripted import Line


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


def test_nothing_of_the_above_was_unexpected(lab: Lab) -> None:
    assert "Traceback" not in lab.gateway.log()
    assert "Unexpected error" not in lab.gateway.log()
