"""Streams that do not reach their end: the client leaves, the upstream breaks off, or it falls silent."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any

import anthropic
import openai
import pytest

from tests.e2e.lab import IDLE_SECONDS, KINDS, PROMPT, Lab, events_in, eventually, is_error_event, recorded
from tests.e2e.scripted import Line


class TestTheClientLeaves:
    @pytest.mark.parametrize("kind", KINDS)
    def test_while_the_upstream_is_silent(self, lab: Lab, kind: str) -> None:
        left_after: list[float | None] = []
        events = recorded(kind).events

        def script(line: Line) -> None:
            line.event_stream()
            line.chunk(b"".join(events[:3]))
            left_after.append(line.wait_for_peer_to_leave(10))
            line.close()

        lab.openrouter.script = script
        exchange = lab.send(kind, stream=True)
        next(exchange.pieces())
        exchange.close()
        assert eventually(lambda: bool(left_after), 10)
        row = lab.usage(exchange)
        assert left_after[0] is not None
        assert left_after[0] < 1.4, "the upstream's connection is closed within a second"
        assert (row["cancelled"], row["status"], row["error_type"]) == (True, 200, "")
        # Of an answer in Anthropic's format the input is known from the start; of the others it is estimated.
        assert (row["input_tokens"] == 1000) == (kind == "messages")
        assert row["hosted_cost_microdollars"] > 0
        assert row["time_to_first_byte_ms"] is not None

    @pytest.mark.parametrize("reset", [False, True], ids=["closed", "reset"])
    def test_while_events_flow(self, lab: Lab, reset: bool) -> None:
        ended = threading.Event()

        def script(line: Line) -> None:
            line.event_stream()
            try:
                for number in range(2000):
                    line.chunk(b"data: %d\n\n" % number)
                    time.sleep(0.005)
            except OSError:
                ended.set()
            line.close()

        lab.openrouter.script = script
        exchange = lab.send(stream=True)
        pieces = exchange.pieces()
        for _ in range(5):
            next(pieces)
        exchange.close(reset=reset)
        assert ended.wait(2), "the upstream was read on"
        assert lab.usage(exchange)["cancelled"] is True

    def test_before_the_first_event(self, lab: Lab) -> None:
        left_after: list[float | None] = []

        def script(line: Line) -> None:
            line.event_stream()
            left_after.append(line.wait_for_peer_to_leave(10))
            line.close()

        lab.openrouter.script = script
        exchange = lab.send(stream=True).read_head()
        exchange.close()
        assert eventually(lambda: bool(left_after), 10)
        assert left_after[0] is not None
        assert left_after[0] < 1.4
        assert lab.usage(exchange)["cancelled"] is True

    def test_while_it_does_not_read(self, lab: Lab) -> None:
        """A client that stops reading and then goes: the gateway is stuck in sending to it meanwhile."""
        ended = threading.Event()

        def script(line: Line) -> None:
            line.event_stream()
            try:
                for _ in range(200):
                    line.chunk(b"data: %b\n\n" % (b"x" * 200_000))
            except OSError:
                ended.set()
            line.close()

        lab.openrouter.script = script
        exchange = lab.send(stream=True).read_head()
        time.sleep(1)
        assert not ended.is_set()
        exchange.close(reset=True)
        assert ended.wait(3)
        assert lab.usage(exchange)["cancelled"] is True

    def test_many_of_them(self, lab: Lab) -> None:
        """Two hundred aborted streams leave no connection behind, and each its record."""

        def script(line: Line) -> None:
            line.event_stream()
            line.chunk(b"data: 1\n\n")
            line.wait_for_peer_to_leave(20)
            line.close()

        lab.openrouter.script = script
        ids = []
        for _ in range(4):
            exchanges = [lab.send(stream=True) for _ in range(50)]
            for exchange in exchanges:
                next(exchange.pieces())
                ids.append(exchange.request_id)
                exchange.close()
        assert eventually(lambda: lab.openrouter.open_connections == 0, 10)
        query = "SELECT count(*) AS n FROM routing_usagerecord WHERE cancelled AND request_id = ANY(%s::uuid[])"
        assert eventually(lambda: lab.gateway.sql(query, ids)[0]["n"] == len(ids))


# How an upstream breaks off: after whole events, within one, within the frame of a chunk; politely or not.
BREAKS = {
    "between events": (b"", b""),
    "within an event": (b"", b'data: {"choices": [{"delta": {"cont'),
    "within the name of an event": (b"", b"event: respon"),
    "after the name of an event": (b"", b"event: response.output_text.delta\n"),
    "within a chunk's frame": (b"1", b""),
    "after a chunk's frame": (b"40\r\n", b""),
    "within a chunk": (b'40\r\ndata: {"a', b""),
}


def breaks_off(kind: str, how: str, *, reset: bool) -> Callable[[Line], None]:
    raw, chunk = BREAKS[how]

    def script(line: Line) -> None:
        line.event_stream()
        for event in recorded(kind).events[:3]:
            line.chunk(event)
        if chunk:
            line.chunk(chunk)
        line.write(raw)
        time.sleep(0.05)
        line.close(reset=reset)

    return script


class TestTheUpstreamBreaksOff:
    @pytest.mark.parametrize("kind", KINDS)
    def test_one_error_event_and_a_clean_end(self, lab: Lab, kind: str) -> None:
        replies = {}
        for how in BREAKS:
            lab.openrouter.script = breaks_off(kind, how, reset=False)
            replies[how] = lab.ask(kind, stream=True)
        for how, reply in replies.items():
            found = events_in(reply.content)
            assert found[:3] == events_in(b"".join(recorded(kind).events[:3])), how
            assert len(found) == 4, how
            assert is_error_event(kind, found[3]), how
            row = lab.usage(reply)
            assert (row["status"], row["error_type"], row["cancelled"]) == (200, "upstream_broke", False), how
        assert len(lab.openrouter.requests) == len(BREAKS)
        assert not lab.vercel.requests

    def test_killed(self, lab: Lab) -> None:
        lab.openrouter.script = breaks_off("chat_completions", "within an event", reset=True)
        found = events_in(lab.ask(stream=True).content)
        assert is_error_event("chat_completions", found[-1])

    def test_a_length_that_is_not_reached(self, lab: Lab) -> None:
        def script(line: Line) -> None:
            line.head(content_type="text/event-stream", content_length="5000")
            line.write(recorded("chat_completions").events[0])
            line.close()

        lab.openrouter.script = script
        found = events_in(lab.ask(stream=True).content)
        assert is_error_event("chat_completions", found[-1])

    def test_garbage_instead_of_a_chunk(self, lab: Lab) -> None:
        def script(line: Line) -> None:
            line.event_stream()
            line.chunk(recorded("chat_completions").events[0])
            line.write(b"not a chunk at all\r\n")
            line.wait_for_peer_to_leave(3)
            line.close()

        lab.openrouter.script = script
        found = events_in(lab.ask(stream=True).content)
        assert is_error_event("chat_completions", found[-1])

    def test_without_an_event_before(self, lab: Lab) -> None:
        def script(line: Line) -> None:
            line.event_stream()
            line.close()

        lab.openrouter.script = script
        found = events_in(lab.ask("messages", stream=True).content)
        assert len(found) == 1
        assert is_error_event("messages", found[0])

    @pytest.mark.parametrize("how", ["between events", "within an event", "after the name of an event"])
    def test_the_sdks_raise_their_error(self, lab: Lab, how: str) -> None:
        key = lab.tenants["acme"].key
        base_url, headers = f"{lab.gateway.base_url}/api/gateway", {"x-kilocode-mode": "code"}
        hello: Any = [{"role": "user", "content": PROMPT}]
        with openai.OpenAI(base_url=base_url, api_key=key, default_headers=headers, max_retries=0) as client:
            lab.openrouter.script = breaks_off("chat_completions", how, reset=False)
            chat = client.chat.completions.create(model="kilo-auto/org", messages=hello, stream=True)
            with chat, pytest.raises(openai.APIError, match="broke off"):
                list(chat)
            lab.openrouter.script = breaks_off("responses", how, reset=False)
            response = client.responses.create(model="kilo-auto/org", input=PROMPT, stream=True)
            with response:
                # This SDK gives errors of the responses API as events.
                *_, last = response
            assert last.type == "error"
            assert "broke off" in last.message
        with anthropic.Anthropic(
            base_url=base_url, api_key=key, default_headers=headers, max_retries=0
        ) as anthropic_client:
            lab.openrouter.script = breaks_off("messages", how, reset=False)
            message = anthropic_client.messages.create(
                model="kilo-auto/org", messages=hello, max_tokens=10, stream=True
            )
            with message, pytest.raises(anthropic.APIStatusError, match="broke off"):
                list(message)


class TestTheUpstreamStalls:
    def test_in_the_middle(self, lab: Lab) -> None:
        left: list[float | None] = []

        def script(line: Line) -> None:
            kind = line.request.path.partition("/v1/")[2].replace("/", "_")
            line.event_stream()
            line.chunk(b"".join(recorded(kind).events[:2]) + b"data: {")
            left.append(line.wait_for_peer_to_leave(10))
            line.close()

        lab.openrouter.script = script
        started = time.monotonic()
        exchanges = {kind: lab.send(kind, stream=True) for kind in KINDS}
        replies = {kind: exchange.reply() for kind, exchange in exchanges.items()}
        assert IDLE_SECONDS <= time.monotonic() - started < IDLE_SECONDS + 2
        for kind, reply in replies.items():
            found = events_in(reply.content)
            assert len(found) == 3
            assert is_error_event(kind, found[-1])
            row = lab.usage(reply)
            assert (row["error_type"], row["cancelled"]) == ("upstream_timeout", False)
        assert eventually(lambda: len(left) == len(KINDS) and None not in left), "the connections are closed"

    def test_within_the_frame_of_a_chunk(self, lab: Lab) -> None:
        """What comes can be read, and is no payload: nobody may wait for the rest longer than for an event."""

        def script(line: Line) -> None:
            line.event_stream()
            line.chunk(recorded("chat_completions").events[0])
            line.write(b"1")
            time.sleep(0.3)
            line.write(b"0")
            line.wait_for_peer_to_leave(10)
            line.close()

        lab.openrouter.script = script
        started = time.monotonic()
        reply = lab.ask(stream=True)
        assert time.monotonic() - started < IDLE_SECONDS + 2
        assert is_error_event("chat_completions", events_in(reply.content)[-1])
        assert lab.usage(reply)["error_type"] == "upstream_timeout"

    def test_a_slow_stream_is_no_stall(self, lab: Lab) -> None:
        """The patience is for the time between two events, not for all of them."""

        def script(line: Line) -> None:
            line.event_stream()
            for number in range(4):
                time.sleep(IDLE_SECONDS * 0.5)
                line.chunk(b"data: %d\n\n" % number)
            line.end()

        lab.openrouter.script = script
        assert lab.ask(stream=True).content == b"".join(b"data: %d\n\n" % number for number in range(4))


def test_nothing_of_the_above_was_unexpected(lab: Lab) -> None:
    assert "Traceback" not in lab.gateway.log()
    assert "Unexpected error" not in lab.gateway.log()
