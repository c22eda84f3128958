"""Hosted models: OpenRouter first, Vercel after it where that does no harm, and what either says about our account."""

from __future__ import annotations

from typing import Any

import pytest

from kilo_gateway.secret import MASK
from routing.demo import DemoUpstream
from tests.e2e.lab import (
    HOSTED_KEY,
    KINDS,
    VERCEL_KEY,
    Lab,
    answers_status,
    answers_stream,
    answers_whole,
    events_in,
    is_error_event,
    recorded,
)
from tests.e2e.scripted import Line
from tests.support import inprocess
from tests.support.tenants import auto_settings, make_tenant


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("status", ["502 Bad Gateway", "503 Busy", "529 Overloaded"])
def test_vercel_serves_what_openrouter_cannot(lab: Lab, kind: str, status: str) -> None:
    lab.openrouter.script = answers_status(status)
    lab.vercel.script = answers_whole(kind)
    reply = lab.ask(kind)
    assert (reply.status, reply.content) == (200, recorded(kind).whole)
    assert reply["x-kilo-provider"] == "vercel-ai-gateway"
    (first,), (second,) = lab.openrouter.requests, lab.vercel.requests
    assert second.path == f"/v1/{kind.replace('_', '/')}"
    assert second.header("authorization") == f"Bearer {VERCEL_KEY}"
    assert HOSTED_KEY not in str(second)
    assert second.body == first.body
    assert second.json()["model"] == "anthropic/claude-sonnet-5"
    row = lab.usage(reply)
    assert (row["provider"], row["status"], row["error_type"]) == ("vercel-ai-gateway", 200, "")
    assert row["input_tokens"] == 1000


def test_a_stream_too(lab: Lab) -> None:
    lab.openrouter.script = answers_status("503 Busy")
    lab.vercel.script = answers_stream("responses")
    assert lab.ask("responses", stream=True).content == recorded("responses").stream


def test_vercel_serves_when_openrouter_is_not_there(lab: Lab) -> None:
    lab.vercel.script = answers_whole("chat_completions")
    lab.openrouter.stop()
    try:
        reply = lab.ask()
    finally:
        lab.openrouter.start()
    assert reply.status == 200
    assert reply["x-kilo-provider"] == "vercel-ai-gateway"
    assert len(lab.vercel.requests) == 1


@pytest.mark.parametrize("status", ["400 Bad", "404 None", "408 Slow", "429 Many", "500 Oops", "504 Late", "520 Odd"])
def test_other_failures_of_openrouter_are_its_answer(lab: Lab, status: str) -> None:
    lab.openrouter.script = answers_status(status, {"error": {"message": "as it is"}})
    reply = lab.ask()
    assert reply.status == int(status[:3])
    assert reply.json() == {"error": {"message": "as it is"}}
    assert reply["x-kilo-provider"] == "openrouter"
    assert not lab.vercel.requests


def test_the_second_failure_is_the_answer(lab: Lab) -> None:
    lab.openrouter.script = answers_status("503 Busy", {"error": {"message": "first"}})
    lab.vercel.script = answers_status("503 Busy", {"error": {"message": "second"}})
    reply = lab.ask()
    assert (reply.status, reply.json()["error"]["message"]) == (503, "second")
    assert (len(lab.openrouter.requests), len(lab.vercel.requests)) == (1, 1)
    assert lab.usage(reply)["error_type"] == "upstream_error"


def test_neither_is_there(lab: Lab) -> None:
    lab.openrouter.stop()
    lab.vercel.stop()
    try:
        reply = lab.ask("messages")
    finally:
        lab.openrouter.start()
        lab.vercel.start()
    assert (reply.status, reply.error_type) == (503, "temporarily_unavailable")
    assert int(reply["retry-after"]) > 0


def test_never_after_the_first_byte(lab: Lab) -> None:
    def script(line: Line) -> None:
        line.event_stream()
        line.chunk(recorded("chat_completions").events[0])
        line.close()

    lab.openrouter.script = script
    reply = lab.ask(stream=True)
    assert is_error_event("chat_completions", events_in(reply.content)[-1])
    assert not lab.vercel.requests


@pytest.mark.parametrize("status", ["502 Bad Gateway", "503 Busy", "529 Overloaded"])
def test_never_for_a_provider_of_the_organization(lab: Lab, status: str) -> None:
    lab.provider.script = answers_status(status, {"error": {"message": "theirs"}})
    reply = lab.ask(mode="neuralwatt")
    assert (reply.status, reply.json()["error"]["message"]) == (int(status[:3]), "theirs")
    assert (len(lab.provider.requests), lab.asked) == (1, 1)


def test_never_for_a_provider_of_the_organization_that_is_not_there(lab: Lab) -> None:
    lab.provider.stop()
    try:
        reply = lab.ask(mode="neuralwatt")
    finally:
        lab.provider.start()
    assert reply.status == 503
    assert lab.asked == 0


class TestConfined:
    """Only OpenRouter is told, in words that it obeys, who may serve a request: then nobody else may."""

    @pytest.fixture(
        params=[
            {"provider_allow_list": ["anthropic", "amazon-bedrock"]},
            {"data_collection": "deny"},
            {"data_collection": "deny", "provider_allow_list": ["anthropic"]},
        ],
        ids=["providers", "data collection", "both"],
    )
    def policy(self, lab: Lab, request: pytest.FixtureRequest) -> Any:
        change = (
            "UPDATE organizations_organization SET settings = {}, routing_version = routing_version + 1 WHERE id = %s"
        )
        acme = lab.tenants["acme"].organization_id
        (row,) = lab.gateway.sql("SELECT settings FROM organizations_organization WHERE id = %s", acme)
        lab.gateway.sql(change.format("settings || %s::jsonb"), _json(request.param), acme)
        yield request.param
        lab.gateway.sql(change.format("%s::jsonb"), _json(row["settings"]), acme)

    def test_by_the_policy(self, lab: Lab, policy: dict[str, Any]) -> None:
        lab.openrouter.script = answers_status("503 Busy", {"error": {"message": "busy"}})
        lab.vercel.script = answers_whole("chat_completions")
        reply = lab.ask()
        assert (reply.status, reply.json()["error"]["message"]) == (503, "busy")
        assert not lab.vercel.requests
        sent = lab.openrouter.requests[0].json()["provider"]
        assert sent.get("data_collection") == policy.get("data_collection")
        assert ("only" in sent) == ("provider_allow_list" in policy)

    def test_by_the_policy_while_openrouter_is_not_there(self, lab: Lab, policy: dict[str, Any]) -> None:
        lab.openrouter.stop()
        try:
            assert lab.ask().status == 503
        finally:
            lab.openrouter.start()
        assert lab.asked == 0

    @pytest.mark.parametrize(
        "provider",
        [
            {"only": ["anthropic"]},
            {"data_collection": "deny"},
            {"ignore": ["openai"]},
            {"zdr": True},
            {"order": ["anthropic"], "allow_fallbacks": False},
        ],
        ids=str,
    )
    def test_by_the_client(self, lab: Lab, provider: dict[str, Any]) -> None:
        lab.openrouter.script = answers_status("503 Busy")
        assert lab.ask(provider=provider).status == 503
        assert lab.openrouter.requests[0].json()["provider"] == provider
        assert not lab.vercel.requests

    def test_a_mere_preference_confines_nothing(self, lab: Lab) -> None:
        lab.openrouter.script = answers_status("503 Busy")
        lab.vercel.script = answers_whole("chat_completions")
        assert lab.ask(provider={"sort": "price"}).status == 200


def _json(value: Any) -> Any:
    from psycopg.types.json import Jsonb

    return Jsonb(value)


class TestOurAccount:
    """What an upstream thinks of the installation's key is the operator's business, not the client's."""

    @pytest.mark.parametrize("kind", ["chat_completions", "messages"])
    @pytest.mark.parametrize("status", ["401 Unauthorized", "402 Payment Required"])
    def test_a_refused_key_or_an_unpaid_bill(self, lab: Lab, kind: str, status: str) -> None:
        told = {"error": {"message": f"Invalid key {HOSTED_KEY}, account acct-77"}}
        lab.openrouter.script = answers_status(status, told)
        reply = lab.ask(kind, stream=True)
        assert (reply.status, reply.error_type) == (503, "temporarily_unavailable")
        assert int(reply["retry-after"]) > 0
        assert HOSTED_KEY.encode() not in reply.content
        assert b"acct-77" not in reply.content
        assert not lab.vercel.requests
        row = lab.usage(reply)
        assert (row["status"], row["error_type"]) == (503, "temporarily_unavailable")

    def test_the_second_upstream_s_refusal_too(self, lab: Lab) -> None:
        lab.openrouter.script = answers_status("503 Busy")
        lab.vercel.script = answers_status("401 Unauthorized", {"error": {"message": VERCEL_KEY}})
        reply = lab.ask()
        assert (reply.status, reply.error_type) == (503, "temporarily_unavailable")
        assert VERCEL_KEY.encode() not in reply.content

    @pytest.mark.parametrize("status", ["400 Bad Request", "403 Forbidden", "500 Oops"])
    def test_an_error_that_repeats_the_key_is_masked(self, lab: Lab, status: str) -> None:
        lab.openrouter.script = answers_status(status, {"error": {"message": f"key {HOSTED_KEY} may not"}})
        reply = lab.ask()
        assert reply.status == int(status[:3])
        assert reply.json()["error"]["message"] == f"key {MASK} may not"

    def test_the_log_has_no_key(self, lab: Lab) -> None:
        assert HOSTED_KEY not in lab.gateway.log()
        assert VERCEL_KEY not in lab.gateway.log()


class TestNotConfigured:
    """In this process, because the laboratory has both."""

    @pytest.fixture
    def ask(self, committed_db: None, settings: Any) -> Any:
        settings.OPENROUTER_API_KEY = settings.VERCEL_AI_GATEWAY_API_KEY = ""

        def ask(key: str, **fields: Any) -> inprocess.Answer:
            return inprocess.call(inprocess.CHAT, inprocess.chat(**fields), key)

        return ask

    def test_no_upstream_at_all(self, ask: Any) -> None:
        answer = ask(make_tenant().key)
        assert (answer.status, answer.error_type) == (503, "temporarily_unavailable")
        assert "no hosted upstream" in answer.json()["message"]
        assert answer.json()["error"]["code"] == "no_hosted_upstream"
        assert "retry-after" in answer.headers

    def test_only_vercel(self, ask: Any, settings: Any) -> None:
        with DemoUpstream() as vercel:
            settings.VERCEL_AI_GATEWAY_API_KEY = VERCEL_KEY
            settings.VERCEL_AI_GATEWAY_BASE_URL = f"{vercel.base_url}/v1"
            assert ask(make_tenant().key).status == 200
            assert len(vercel.completions()) == 1

    def test_only_vercel_and_a_policy_that_it_would_not_obey(self, ask: Any, settings: Any) -> None:
        with DemoUpstream() as vercel:
            settings.VERCEL_AI_GATEWAY_API_KEY = VERCEL_KEY
            settings.VERCEL_AI_GATEWAY_BASE_URL = f"{vercel.base_url}/v1"
            answer = ask(make_tenant(settings={**auto_settings(), "data_collection": "deny"}).key)
            assert (answer.status, answer.json()["error"]["code"]) == (503, "policy_upstream_missing")
            assert not vercel.requests()
