"""Answers whose upstream does not tell what they took: hosted ones are estimated, others stay unknown."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from kilo_gateway.api_kinds import ApiKind
from routing.models import HostedBalance, UsageRecord
from routing.proxy.tokens import KEPT_BYTES, StreamedUsage, text_bytes_of_answer
from routing.proxy.usage_writer import writer
from tests.e2e.scripted import Line, ScriptedUpstream
from tests.support.inprocess import CHAT, MESSAGES, RESPONSES, chat, opened
from tests.support.tenants import Tenant, auto_settings, make_tenant

PATHS = {ApiKind.CHAT_COMPLETIONS: CHAT, ApiKind.RESPONSES: RESPONSES, ApiKind.MESSAGES: MESSAGES}
KINDS = list(ApiKind)
SONNET_IN, SONNET_OUT = 2, 10  # Microdollars a token, in the bundled catalog.


def event(data: Any) -> bytes:
    return b"data: " + json.dumps(data).encode() + b"\n\n"


def delta(kind: ApiKind, text: str) -> bytes:
    """An event that brings text, with other texts in it that the model has not written."""
    if kind is ApiKind.MESSAGES:
        return event({"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": text}})
    if kind is ApiKind.RESPONSES:
        return event({"type": "response.output_text.delta", "item_id": "msg_1", "delta": text, "obfuscation": "x" * 9})
    choice = {"index": 0, "delta": {"role": "assistant", "content": text}, "finish_reason": None}
    return event({"id": "gen-1", "object": "chat.completion.chunk", "model": "m", "choices": [choice], "usage": None})


def told(kind: ApiKind, output: int) -> bytes:
    """An event that counts the output."""
    if kind is ApiKind.MESSAGES:
        return event({"type": "message_delta", "usage": {"input_tokens": 70, "output_tokens": output}})
    if kind is ApiKind.RESPONSES:
        usage = {"input_tokens": 70, "output_tokens": output}
        return event({"type": "response.completed", "response": {"usage": usage}})
    return event({"choices": [], "usage": {"prompt_tokens": 70, "completion_tokens": output}})


class TestMeasuring:
    @pytest.mark.parametrize("kind", KINDS)
    def test_text_counts_however_it_is_cut(self, kind: ApiKind) -> None:
        texts = ["hello", "", "\u00fc\u4e2d\U0001f600", 'say "no"\n', "\\", "x" * 3000, "y" * 7000, "z" * 500]
        stream = b"".join(delta(kind, text) for text in texts)
        size = sum(len(text.encode()) for text in texts)
        assert size > KEPT_BYTES
        dice = random.Random(3)
        for _ in range(20):
            usage = StreamedUsage(kind, measures_text=True)
            position = 0
            while position < len(stream):
                step = dice.choice([1, 7, 90, 4000])
                usage.feed(stream[position : position + step])
                position += step
            assert (usage.text_bytes(), usage.counts().output) == (size, None)

    @pytest.mark.parametrize("kind", KINDS)
    def test_only_what_comes_after_the_count(self, kind: ApiKind) -> None:
        usage = StreamedUsage(kind, measures_text=True)
        usage.feed(delta(kind, "a" * 9000))
        usage.feed(delta(kind, "before") + told(kind, 5) + delta(kind, "after") + delta(kind, "it"))
        assert (usage.text_bytes(), usage.counts().output) == (7, 5)
        usage.feed(told(kind, 9))
        assert (usage.text_bytes(), usage.counts().output) == (0, 9)

    def test_what_is_told_at_the_start_counts_nothing_that_follows(self) -> None:
        usage = StreamedUsage(ApiKind.MESSAGES, measures_text=True)
        usage.feed(event({"type": "message_start", "message": {"usage": {"input_tokens": 500, "output_tokens": 1}}}))
        for name, key in (("thinking_delta", "thinking"), ("text_delta", "text"), ("input_json_delta", "partial_json")):
            usage.feed(event({"type": "content_block_delta", "delta": {"type": name, key: "12345678"}}))
        counts = usage.counts()
        assert (counts.input, counts.output, usage.text_bytes()) == (500, 1, 24)

    @pytest.mark.parametrize("key", ["reasoning", "reasoning_content", "content"])
    def test_reasoning_and_calls_of_tools(self, key: str) -> None:
        usage = StreamedUsage(ApiKind.CHAT_COMPLETIONS, measures_text=True)
        call = {"index": 0, "function": {"name": "read", "arguments": '{"a":1}'}}
        usage.feed(event({"choices": [{"delta": {key: "12345", "tool_calls": [call]}}]}))
        assert usage.text_bytes() == 5 + len('{"a":1}')

    def test_what_is_told_by_two_names_counts_once(self) -> None:
        usage = StreamedUsage(ApiKind.CHAT_COMPLETIONS, measures_text=True)
        usage.feed(event({"choices": [{"delta": {"reasoning": "12345", "reasoning_content": "12345"}}]}))
        assert usage.text_bytes() == 5
        usage.feed(event({"choices": [{"delta": {"reasoning": "1", "reasoning_content": None, "content": "abc"}}]}))
        assert usage.text_bytes() == 5 + 1 + 3

    def test_what_is_no_json_counts_as_it_is_written(self) -> None:
        usage = StreamedUsage(ApiKind.CHAT_COMPLETIONS, measures_text=True)
        usage.feed(b'data: {"content": "\\x12"}\n')
        assert usage.text_bytes() == 4

    def test_nothing_is_kept_of_what_nobody_measures(self) -> None:
        usage = StreamedUsage(ApiKind.CHAT_COMPLETIONS, measures_text=False)
        usage.feed(delta(ApiKind.CHAT_COMPLETIONS, "hello"))
        assert (usage.text_bytes(), usage._kept) == (0, None)

    def test_what_is_kept_is_bounded(self) -> None:
        usage = StreamedUsage(ApiKind.CHAT_COMPLETIONS, measures_text=True)
        for _ in range(1000):
            usage.feed(delta(ApiKind.CHAT_COMPLETIONS, "word"))
            assert len(usage._kept or b"") <= KEPT_BYTES
        assert usage.text_bytes() == 4000

    @pytest.mark.parametrize(
        ("kind", "answer", "size"),
        [
            (ApiKind.CHAT_COMPLETIONS, {"choices": [{"message": {"role": "assistant", "content": "hello"}}]}, 5),
            (ApiKind.RESPONSES, {"output": [{"content": [{"type": "output_text", "text": "hello"}]}]}, 5),
            (ApiKind.RESPONSES, {"output": [{"type": "function_call", "arguments": "{}"}]}, 2),
            (ApiKind.MESSAGES, {"type": "message", "content": [{"type": "text", "text": "hello"}]}, 5),
            (ApiKind.CHAT_COMPLETIONS, {"error": {"message": "no such thing"}}, 0),
        ],
    )
    def test_whole_answers(self, kind: ApiKind, answer: Any, size: int) -> None:
        for indent in (None, 2):
            assert text_bytes_of_answer(kind, json.dumps(answer, indent=indent).encode()) == size


Script = Callable[[Line], None]


def stream(*events: bytes, end: str = "wait") -> Script:
    """Events, and then: wait for the client to leave, end, or break off."""

    def script(line: Line) -> None:
        line.event_stream()
        for each in events:
            line.chunk(each)
        if end == "wait":
            line.wait_for_peer_to_leave()
        elif end == "end":
            line.chunk(b"")
        line.close()

    return script


class TestRequests:
    @pytest.fixture(autouse=True)
    def tenant(self, committed_db: None) -> Tenant:
        return make_tenant(settings=auto_settings({"code": "anthropic/claude-sonnet-5"}))

    @pytest.fixture(autouse=True)
    def upstream(self, settings: Any) -> Iterator[ScriptedUpstream]:
        with ScriptedUpstream() as running:
            settings.OPENROUTER_API_KEY, settings.VERCEL_AI_GATEWAY_API_KEY = "sk-hosted-key-0001", ""
            settings.OPENROUTER_BASE_URL = f"{running.base_url}/api/v1"
            yield running

    def record(self, tenant: Tenant, kind: ApiKind, until: bytes | None, **fields: Any) -> UsageRecord:
        """Ask for a stream, leave when this has come, or else at its end; what was noted of it."""
        body = chat(**{"stream": True, "max_tokens": 1000, **fields})
        if kind is ApiKind.RESPONSES:
            body["input"] = body.pop("messages")
        with opened(PATHS[kind], body, tenant.key, headers={"x-kilocode-mode": "code"}) as answer:
            taken = b""
            for piece in answer.body:
                taken += piece
                if until is not None and until in taken:
                    break
        writer.flush()
        return UsageRecord.objects.get()

    @pytest.mark.parametrize("kind", KINDS)
    def test_a_stream_that_the_client_leaves_is_paid_for(
        self, tenant: Tenant, upstream: ScriptedUpstream, kind: ApiKind
    ) -> None:
        HostedBalance.objects.create(organization=tenant.organization, balance_microdollars=10**9)
        upstream.script = stream(delta(kind, "a" * 400), delta(kind, "b" * 40))
        found = self.record(tenant, kind, b"bbbb")
        sent = len(upstream.requests[0].body)
        assert (found.cancelled, found.input_tokens, found.output_tokens) == (True, -(-sent // 4), 110)
        cost = found.input_tokens * SONNET_IN + 110 * SONNET_OUT
        assert (found.hosted_cost_microdollars, found.market_cost_microdollars) == (cost, cost)
        account = HostedBalance.objects.get()
        assert (account.balance_microdollars, account.day_spent_microdollars) == (10**9 - cost, cost)
        assert account.reserved_microdollars == 0

    def test_what_was_told_is_believed(self, tenant: Tenant, upstream: ScriptedUpstream) -> None:
        kind = ApiKind.CHAT_COMPLETIONS
        upstream.script = stream(delta(kind, "a" * 400), told(kind, 5))
        found = self.record(tenant, kind, b"_tokens")
        assert (found.cancelled, found.input_tokens, found.output_tokens) == (True, 70, 5)
        assert found.hosted_cost_microdollars == 70 * SONNET_IN + 5 * SONNET_OUT

    def test_no_more_than_was_asked_for(self, tenant: Tenant, upstream: ScriptedUpstream) -> None:
        kind = ApiKind.CHAT_COMPLETIONS
        upstream.script = stream(delta(kind, "a" * 4000))
        assert self.record(tenant, kind, b"aaaa", max_tokens=30).output_tokens == 30

    def test_what_may_be_of_any_length_is_paid_for_in_full(self, tenant: Tenant, upstream: ScriptedUpstream) -> None:
        kind = ApiKind.CHAT_COMPLETIONS
        upstream.script = stream(*[delta(kind, "a" * 4000)] * 10, delta(kind, "b"))
        assert self.record(tenant, kind, b'"b"', max_tokens=None).output_tokens == 10_001

    @pytest.mark.parametrize(
        ("events", "end", "until", "is_known"),
        [
            ([], "wait", b"", True),
            ([delta(ApiKind.CHAT_COMPLETIONS, "hello")], "end", None, True),
            ([delta(ApiKind.CHAT_COMPLETIONS, "hello")], "break", None, True),
            ([b": nothing yet\n\n"], "end", None, False),
            ([b": nothing yet\n\n"], "break", None, False),
        ],
    )
    def test_how_it_ended(  # noqa: PLR0917
        self,
        tenant: Tenant,
        upstream: ScriptedUpstream,
        events: list[bytes],
        end: str,
        until: bytes | None,
        is_known: bool,
    ) -> None:
        """A client that leaves pays for its input, however early; an upstream that fails at once is not paid."""
        upstream.script = stream(*events, end=end)
        found = self.record(tenant, ApiKind.CHAT_COMPLETIONS, until)
        assert (found.hosted_cost_microdollars is not None) is is_known
        assert (found.input_tokens is not None) is is_known

    @pytest.mark.parametrize(("content", "output_tokens"), [("a" * 41, 11), (None, None)])
    def test_a_whole_answer_without_usage(
        self, tenant: Tenant, upstream: ScriptedUpstream, content: str | None, output_tokens: int | None
    ) -> None:
        answer = {"choices": [{"message": {"content": content}}]}
        upstream.script = lambda line: line.answer_json(answer)
        found = self.record(tenant, ApiKind.CHAT_COMPLETIONS, None, stream=False)
        assert (found.status, found.output_tokens) == (200, output_tokens)
        assert (found.hosted_cost_microdollars is None) == (content is None)

    def test_nothing_is_guessed_of_the_organization_s_own_account(
        self, tenant: Tenant, upstream: ScriptedUpstream, settings: Any
    ) -> None:
        settings.PROVIDER_BASE_URLS = {"openai-byok": f"{upstream.base_url}/v1"}
        tenant.store_credential("openai-byok")
        tenant.change(**auto_settings({"code": "openai-byok/gpt-5-mini"}))
        upstream.script = stream(delta(ApiKind.CHAT_COMPLETIONS, "hello"))
        found = self.record(tenant, ApiKind.CHAT_COMPLETIONS, b"hello")
        assert (found.is_byok, found.cancelled, found.input_tokens, found.output_tokens) == (True, True, None, None)
        assert (found.hosted_cost_microdollars, found.market_cost_microdollars) == (0, None)
