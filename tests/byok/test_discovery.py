"""Reading the list of a provider's models: every shape that providers answer with, and every way to fail."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from byok import discovery
from byok.discovery import DiscoveryFailed, discover
from byok.providers import PROVIDERS
from kilo_gateway.secret import Secret
from tests.e2e.scripted import Line, ScriptedUpstream

pytestmark = pytest.mark.django_db
SECRET = Secret("sk-canary-of-discovery-1234")


def found(provider_id: str) -> list[str] | None:
    return discover(PROVIDERS[provider_id], SECRET)


def lists(*ids: Any) -> dict[str, Any]:
    return {"object": "list", "data": [{"id": each, "object": "model"} for each in ids]}


@pytest.fixture(autouse=True)
def everywhere(provider: ScriptedUpstream, settings: Any) -> None:
    settings.PROVIDER_BASE_URLS = dict.fromkeys(PROVIDERS, f"{provider.base_url}/v1")


MANY = [f"author/model-{number}" for number in range(1200)]


@pytest.mark.parametrize(
    ("provider_id", "answer", "expected"),
    [
        ("openai-byok", lists("GPT-5", "gpt-5-mini"), ["GPT-5", "gpt-5-mini"]),
        ("together-byok", [{"id": "meta/Llama"}, {"id": "b"}], ["meta/Llama", "b"]),
        ("google-byok", lists("models/gemini-3-pro", "gemini-3-flash"), ["gemini-3-pro", "gemini-3-flash"]),
        ("openai-byok", lists(), []),
        ("together-byok", [], []),
        ("openai-byok", lists(*MANY), MANY),
        ("openai-byok", lists("Same", "same", "Same"), ["Same"]),
        ("openai-byok", lists("ok", "", 7, None, "two words", "line\nbreak", "x" * 201), ["ok"]),
        ("openai-byok", {**lists("a"), "has_more": False, "last_id": "a"}, ["a"]),
    ],
    ids=["openai", "bare array", "prefix", "none", "bare none", "many", "twice", "odd ids", "one page"],
)
def test_shapes(provider: ScriptedUpstream, provider_id: str, answer: Any, expected: list[str]) -> None:
    provider.script = lambda line: line.answer_json(answer)
    assert found(provider_id) == expected
    (seen,) = provider.requests
    assert seen.path.startswith("/v1/models")


def test_anthropic_s_pages(provider: ScriptedUpstream) -> None:
    def script(line: Line) -> None:
        asked = parse_qs(urlsplit(line.request.path).query)
        first = 0 if "after_id" not in asked else int(asked["after_id"][0].removeprefix("claude/")) + 1
        ids = [f"claude/{number}" for number in range(first, min(first + 1000, 2500))]
        line.answer_json({**lists(*ids), "has_more": first + 1000 < 2500, "last_id": ids[-1]})

    provider.script = script
    assert found("anthropic-byok") == [f"claude/{number}" for number in range(2500)]
    assert [seen.path for seen in provider.requests] == [
        "/v1/models?limit=1000",
        "/v1/models?limit=1000&after_id=claude%2F999",
        "/v1/models?limit=1000&after_id=claude%2F1999",
    ]
    assert {seen.header("x-api-key") for seen in provider.requests} == {SECRET.reveal()}
    assert {seen.header("anthropic-version") for seen in provider.requests} == {"2023-06-01"}


def test_pages_without_an_end(provider: ScriptedUpstream) -> None:
    numbers = iter(range(1000))

    def script(line: Line) -> None:
        number = next(numbers)
        line.answer_json({**lists(f"m{number}"), "has_more": True, "last_id": f"m{number}"})

    provider.script = script
    with pytest.raises(DiscoveryFailed, match="pages"):
        found("anthropic-byok")
    assert len(provider.requests) == discovery.MAX_PAGES


def test_a_page_that_leads_to_itself_is_the_last(provider: ScriptedUpstream) -> None:
    provider.script = lambda line: line.answer_json({**lists("a"), "has_more": True, "last_id": "a"})
    assert found("anthropic-byok") == ["a"]
    assert len(provider.requests) == 2


def raw(body: bytes) -> Callable[[Line], None]:
    return lambda line: line.answer("200 OK", body)


@pytest.mark.parametrize(
    ("script", "told"),
    [
        (raw(b"<html>"), "not JSON"),
        (raw(b""), "not JSON"),
        (raw(b"{" * 5000), "not JSON"),
        (raw(b'"text"'), "unknown shape"),
        (raw(b"{}"), "unknown shape"),
        (raw(b'{"data": {"id": "a"}}'), "unknown shape"),
        (raw(b'{"data": [1, "a", null]}'), "unknown shape"),
        (raw(json.dumps(lists(*range(3))).encode()), "unknown shape"),
        (raw(json.dumps(lists(*map(str, range(10_001)))).encode()), "more than 10000"),
        (lambda line: line.answer_json({"error": {"message": "no"}}, "401 Unauthorized"), "answered 401"),
        (lambda line: line.answer("302 Found", b"", location="http://127.0.0.1:9/"), "answered 302"),
        (lambda line: line.answer_json({}, "500 Oops"), "answered 500"),
        (lambda line: line.close(), "broke off"),
    ],
)
def test_failures(provider: ScriptedUpstream, script: Callable[[Line], None], told: str) -> None:
    provider.script = script
    with pytest.raises(DiscoveryFailed, match=told) as raised:
        found("openai-byok")
    assert "canary" not in str(raised.value)


def test_huge(provider: ScriptedUpstream) -> None:
    def script(line: Line) -> None:
        with suppress(OSError):
            line.answer("200 OK", b" " * (discovery.LIMIT_BYTES + 100_000))

    provider.script = script
    with pytest.raises(DiscoveryFailed, match="too large"):
        found("openai-byok")


def test_slow_over_all_pages(provider: ScriptedUpstream, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(discovery, "DEADLINE_SECONDS", 0.3)
    numbers = iter(range(1000))

    def script(line: Line) -> None:
        number = next(numbers)
        line.wait_for_peer_to_leave(0.12)
        with suppress(OSError):
            line.answer_json({**lists(f"m{number}"), "has_more": True, "last_id": f"m{number}"})

    provider.script = script
    with pytest.raises(DiscoveryFailed, match="in time"):
        found("anthropic-byok")
    assert len(provider.requests) <= 5


def test_a_provider_without_a_list(provider: ScriptedUpstream) -> None:
    assert discover(replace(PROVIDERS["openai-byok"], model_list=None), SECRET) is None
    assert provider.accepted == 0
