"""Streams: what arrives, and when."""

from __future__ import annotations

import gzip
import json
import random
import statistics
import threading
import time
from collections.abc import Callable

import pytest

from tests.e2e.lab import (
    KINDS,
    TOKENS,
    Lab,
    answers_stream,
    events_in,
    recorded,
)
from tests.e2e.scripted import Line

Framing = Callable[[Line, bytes], None]
MIB = 1024 * 1024


def an_event_a_chunk(line: Line, stream: bytes) -> None:
    line.event_stream()
    for event in stream.split(b"\n\n")[:-1]:
        line.chunk(event + b"\n\n")
    line.end()


def one_chunk(line: Line, stream: bytes) -> None:
    line.event_stream()
    line.chunk(stream)
    line.end()


def a_byte_a_chunk(line: Line, stream: bytes) -> None:
    line.event_stream()
    line.write(b"".join(b"1\r\n%c\r\n" % byte for byte in stream))
    line.end()


def extensions_and_trailers(line: Line, stream: bytes) -> None:
    line.event_stream()
    for event in stream.split(b"\n\n")[:-1]:
        line.chunk(event + b"\n\n", b';name="a;b";flag')
    line.end(b"x-checksum: 1\r\nset-cookie: late=1\r\n")


def stated_length(line: Line, stream: bytes) -> None:
    line.head(content_type="text/event-stream", content_length=str(len(stream)))
    for start in range(0, len(stream), 100):
        line.write(stream[start : start + 100])


def until_the_connection_closes(line: Line, stream: bytes) -> None:
    line.write(b"HTTP/1.0 200 OK\r\nContent-Type: text/event-stream\r\n\r\n")
    line.write(stream)
    line.close()


def cut_anywhere(line: Line, stream: bytes) -> None:
    """Chunks and packets cut independently of each other and of the events, frames of chunks included."""
    chance = random.Random(len(stream))
    framed = bytearray()
    rest = stream
    while rest:
        size = chance.randint(1, 90)
        piece, rest = rest[:size], rest[size:]
        framed += b"%x\r\n%b\r\n" % (len(piece), piece)
    framed += b"0\r\n\r\n"
    line.event_stream()
    start = 0
    while start < len(framed):
        end = start + chance.randint(1, 150)
        line.write(bytes(framed[start:end]))
        start = end
        time.sleep(0.001)


FRAMINGS: list[Framing] = [
    an_event_a_chunk,
    one_chunk,
    a_byte_a_chunk,
    extensions_and_trailers,
    stated_length,
    until_the_connection_closes,
    cut_anywhere,
]


class TestBytes:
    @pytest.mark.parametrize("kind", KINDS)
    @pytest.mark.parametrize("framing", FRAMINGS, ids=lambda framing: framing.__name__)
    def test_every_byte_arrives_and_the_tokens_are_counted(self, lab: Lab, kind: str, framing: Framing) -> None:
        stream = recorded(kind).stream
        lab.openrouter.script = lambda line: framing(line, stream)
        reply = lab.ask(kind, stream=True)
        assert reply.status == 200
        assert reply["content-type"] == "text/event-stream"
        assert reply.content == stream
        row = lab.usage(reply)
        assert {name: row[name] for name in TOKENS} == TOKENS
        assert (row["status"], row["cancelled"], row["error_type"], row["streamed"]) == (200, False, "", True)

    @pytest.mark.parametrize("line_end", [b"\r\n", b"\r"], ids=["crlf", "cr"])
    def test_other_line_ends_are_left_alone_and_held_back_by_nobody(self, lab: Lab, line_end: bytes) -> None:
        events = [event.replace(b"\n", line_end) for event in recorded("chat_completions").events]
        arrived = threading.Semaphore(0)

        def script(line: Line) -> None:
            line.event_stream()
            for event in events:
                line.chunk(event)
                assert arrived.acquire(timeout=5), "an event was held back until the next one"
            line.end()

        lab.openrouter.script = script
        content = b""
        with lab.send(stream=True) as exchange:
            for _, piece in exchange.pieces():
                content += piece
                for _ in range(content.count(line_end * 2) - content[: -len(piece)].count(line_end * 2)):
                    arrived.release()
        assert content == b"".join(events)

    def test_comments_and_fields_that_nobody_knows_pass(self, lab: Lab) -> None:
        stream = b": OPENROUTER PROCESSING\n\nretry: 10\nid: 7\nodd: yes\ndata: [DONE]\n\n: bye\n\n"
        lab.openrouter.script = lambda line: one_chunk(line, stream)
        assert lab.ask(stream=True).content == stream

    def test_huge_events(self, lab: Lab) -> None:
        big = b'data: {"choices":[{"delta":{"content":"%b"}}]}\n\n' % (b"x" * (5 * MIB))
        stream = big + recorded("chat_completions").stream
        lab.openrouter.script = lambda line: one_chunk(line, stream)
        reply = lab.ask(stream=True)
        assert reply.content == stream
        assert lab.usage(reply)["input_tokens"] == 1000

    def test_what_is_not_complete_at_a_clean_end_is_not_lost(self, lab: Lab) -> None:
        stream = b'data: {"choices":[]}\n\ndata: [DONE]\n'
        lab.openrouter.script = lambda line: one_chunk(line, stream)
        assert lab.ask(stream=True).content == stream

    @pytest.mark.parametrize("chunked", [False, True], ids=["length", "chunked"])
    def test_an_empty_stream(self, lab: Lab, chunked: bool) -> None:
        def script(line: Line) -> None:
            if chunked:
                line.event_stream()
                line.end()
            else:
                line.head(content_type="text/event-stream", content_length="0")

        lab.openrouter.script = script
        reply = lab.ask(stream=True)
        assert (reply.status, reply.content) == (200, b"")
        assert lab.usage(reply)["input_tokens"] is None

    def test_compressed_though_nobody_asked_for_it(self, lab: Lab) -> None:
        packed = gzip.compress(recorded("chat_completions").stream)

        def script(line: Line) -> None:
            line.event_stream(content_encoding="gzip")
            for start in range(0, len(packed), 50):
                line.chunk(packed[start : start + 50])
            line.end()

        lab.openrouter.script = script
        reply = lab.ask(stream=True)
        assert lab.openrouter.requests[0].header("accept-encoding") == "identity"
        assert reply["content-encoding"] == "gzip"
        assert reply.content == packed

    def test_a_stream_of_no_stated_type_is_a_stream_if_one_was_asked_for(self, lab: Lab) -> None:
        first, *rest = recorded("chat_completions").events
        seen = threading.Event()

        def script(line: Line) -> None:
            line.head(transfer_encoding="chunked")
            line.chunk(first)
            assert seen.wait(5), "it was held back until its end"
            line.chunk(b"".join(rest))
            line.end()

        lab.openrouter.script = script
        content = b""
        with lab.send(stream=True) as exchange:
            assert exchange.header("content-type") == "text/event-stream"
            for _, piece in exchange.pieces():
                content += piece
                seen.set()
        assert content == recorded("chat_completions").stream

    def test_the_type_of_a_stream_in_capitals(self, lab: Lab) -> None:
        stream = recorded("chat_completions").stream

        def script(line: Line) -> None:
            line.head(content_type="Text/Event-Stream; charset=UTF-8", transfer_encoding="chunked")
            line.chunk(stream)
            line.end()

        lab.openrouter.script = script
        reply = lab.ask(stream=True)
        assert reply.content == stream
        assert lab.usage(reply)["input_tokens"] == 1000

    def test_json_where_a_stream_was_asked_for(self, lab: Lab) -> None:
        whole = recorded("chat_completions").whole
        lab.openrouter.script = lambda line: line.answer("200 OK", whole, content_type="application/json")
        reply = lab.ask(stream=True)
        assert (reply.status, reply["content-type"], reply.content) == (200, "application/json", whole)
        assert lab.usage(reply)["input_tokens"] == 1000

    def test_a_stream_where_json_was_asked_for(self, lab: Lab) -> None:
        lab.openrouter.script = answers_stream("chat_completions")
        reply = lab.ask()
        assert reply.content == recorded("chat_completions").stream
        assert lab.usage(reply)["input_tokens"] == 1000


class TestPace:
    def test_each_event_leaves_when_it_arrives(self, lab: Lab) -> None:
        sent: list[float] = []

        def script(line: Line) -> None:
            line.event_stream()
            for number in range(60):
                sent.append(line.chunk(b'data: {"number": %d}\n\n' % number))
                time.sleep(0.02)
            line.end()

        lab.openrouter.script = script
        with lab.send(stream=True) as exchange:
            arrived = [at for at, _ in exchange.pieces()]
        assert len(arrived) == len(sent) == 60
        delays = [after - before for before, after in zip(sent, arrived, strict=True)]
        median_ms = statistics.median(delays) * 1000
        # Five are promised; a busy machine takes longer, and what is held back for good takes far longer.
        assert median_ms < 25

    def test_no_event_waits_for_the_next_one(self, lab: Lab) -> None:
        """In lockstep: the upstream sends an event only after the client has had the one before."""
        arrived = threading.Semaphore(0)

        def script(line: Line) -> None:
            line.event_stream()
            for number in range(20):
                line.chunk(b"data: %d\n\n" % number)
                assert arrived.acquire(timeout=5), "an event was held back"
            line.end()

        lab.openrouter.script = script
        with lab.send(stream=True) as exchange:
            for _ in exchange.pieces():
                arrived.release()

    def test_the_head_does_not_wait_for_the_first_event(self, lab: Lab) -> None:
        headed = threading.Event()

        def script(line: Line) -> None:
            line.event_stream()
            assert headed.wait(5), "the head was held back until the first event"
            line.chunk(b"data: 1\n\n")
            line.end()

        lab.openrouter.script = script
        with lab.send(stream=True) as exchange:
            exchange.read_head()
            headed.set()
            assert b"".join(piece for _, piece in exchange.pieces()) == b"data: 1\n\n"


def test_a_stream_that_ends_well_gives_its_connection_back(lab: Lab) -> None:
    lab.openrouter.script = answers_stream("chat_completions")
    for _ in range(5):
        lab.ask(stream=True)
    assert len({seen.connection for seen in lab.openrouter.requests}) == 1


def test_streams_do_not_meet(lab: Lab) -> None:
    """Many at once, each with its own content, cut in odd places."""

    def script(line: Line) -> None:
        number = json.loads(line.request.body)["metadata"]["number"]
        stream = b"".join(b'data: {"number": %d, "event": %d}\n\n' % (number, event) for event in range(30))
        cut_anywhere(line, stream)

    lab.openrouter.script = script
    exchanges = [lab.send(stream=True, metadata={"number": number}) for number in range(40)]
    for number, exchange in enumerate(exchanges):
        found = events_in(exchange.reply().content)
        assert found == [("", {"number": number, "event": event}) for event in range(30)]


def test_no_stream_left_an_error_in_the_log(lab: Lab) -> None:
    """Of all the above, nothing was unexpected."""
    assert "Traceback" not in lab.gateway.log()
    assert "Unexpected error" not in lab.gateway.log()
