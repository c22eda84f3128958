"""Testing a key: what is asked of each kind of provider, and what its answers mean."""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import replace
from typing import Any

import pytest

from byok import key_check
from byok.key_check import KeyCheck, KeyResult, check_key, provider_words
from byok.providers import PROVIDERS
from kilo_gateway.api_kinds import ApiKind
from kilo_gateway.secret import MASK, Secret
from tests.e2e.scripted import Line, ScriptedUpstream

pytestmark = pytest.mark.django_db
SECRET = Secret("sk-proj-canaryofcheck-wxyz")


@pytest.fixture(autouse=True)
def everywhere(provider: ScriptedUpstream, settings: Any) -> None:
    settings.PROVIDER_BASE_URLS = dict.fromkeys(PROVIDERS, f"{provider.base_url}/v1")


def check(provider_id: str, *models: str) -> KeyCheck:
    outcome = check_key(PROVIDERS[provider_id], SECRET, models=models)
    assert "canary" not in outcome.message
    assert len(outcome.message) <= 200
    return outcome


@pytest.mark.parametrize(
    ("provider_id", "models", "line", "header"),
    [
        ("openai-byok", ("gpt",), "GET /v1/models", "authorization"),
        ("anthropic-byok", (), "GET /v1/models?limit=1000", "x-api-key"),
        ("openrouter-byok", ("a/b",), "GET /v1/key", "authorization"),
        ("nvidia-byok", ("first",), "POST /v1/chat/completions", "authorization"),
        ("neuralwatt", ("text-embedding-3", "whisper-1", "Kimi-K2"), "POST /v1/chat/completions", "authorization"),
        ("opencode-go", ("m",), "POST /v1/chat/completions", "authorization"),
    ],
)
def test_what_is_asked(
    provider: ScriptedUpstream, provider_id: str, models: tuple[str, ...], line: str, header: str
) -> None:
    provider.script = lambda line: line.answer_json({"data": []})
    assert check(provider_id, *models).result is KeyResult.WORKS
    (seen,) = provider.requests
    assert seen.line == f"{line} HTTP/1.1"
    assert SECRET.reveal() in (seen.header(header) or "")
    if line.startswith("POST"):
        model = {"nvidia-byok": "meta/llama-3.1-8b-instruct", "neuralwatt": "Kimi-K2", "opencode-go": "m"}[provider_id]
        assert seen.json() == {"model": model, "messages": [{"role": "user", "content": "Hi"}], "max_tokens": 1}
    assert (seen.header("x-opencode-session") is not None) == (provider_id == "opencode-go")


def test_a_list_for_everybody_proves_nothing(provider: ScriptedUpstream) -> None:
    """Without a model to try there is no answer, and no request either."""
    for models in ((), ("text-embedding-3",)):
        assert check("neuralwatt", *models).result is KeyResult.NOT_CHECKED
    assert provider.accepted == 0


def test_a_provider_that_speaks_one_other_format(provider: ScriptedUpstream) -> None:
    provider.script = lambda line: line.answer_json({})
    base = PROVIDERS["opencode-go"]
    for kind, path in ((ApiKind.RESPONSES, "/v1/responses"), (ApiKind.MESSAGES, "/v1/messages")):
        one = replace(base, endpoints={kind: base.endpoints[kind]})
        assert check_key(one, SECRET, models=["m"]).result is KeyResult.WORKS
        assert provider.requests[-1].path == path


@pytest.mark.parametrize(
    ("status", "result"),
    [
        ("200 OK", KeyResult.WORKS),
        ("401 Unauthorized", KeyResult.REFUSED),
        ("402 Payment Required", KeyResult.NO_CREDIT),
        ("403 Forbidden", KeyResult.REFUSED),
        ("404 Not Found", KeyResult.NOT_CHECKED),
        ("302 Found", KeyResult.NOT_CHECKED),
        ("429 Too Many", KeyResult.RATE_LIMITED),
        ("500 Oops", KeyResult.UNAVAILABLE),
        ("529 Overloaded", KeyResult.UNAVAILABLE),
    ],
)
@pytest.mark.parametrize("provider_id", ["openai-byok", "neuralwatt"])
def test_what_a_status_means(provider: ScriptedUpstream, provider_id: str, status: str, result: KeyResult) -> None:
    provider.script = lambda line: line.answer_json({"error": {"message": "So it is."}}, status, location="/elsewhere")
    outcome = check(provider_id, "m")
    assert (outcome.result, outcome.status) == (result, int(status[:3]))
    assert outcome.message.endswith("So it is.") == (status != "200 OK")
    assert len(provider.requests) == 1


def test_slow(provider: ScriptedUpstream, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(key_check, "DEADLINE_SECONDS", 0.2)

    def script(line: Line) -> None:
        with suppress(OSError):
            line.wait_for_peer_to_leave()

    provider.script = script
    assert check("openai-byok") == KeyCheck(KeyResult.TIMED_OUT, None, "The provider did not answer in time.")


def test_away(provider: ScriptedUpstream) -> None:
    provider.stop()
    assert check("openai-byok") == KeyCheck(KeyResult.UNAVAILABLE, None, "The provider cannot be reached.")


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        (f"Incorrect API key provided: {SECRET.reveal()}.", f"Incorrect API key provided: {MASK}"),
        ("Incorrect API key provided: sk-proj-********wxyz.", f"Incorrect API key provided: {MASK}"),
        ("The key that ends in wxyz is gone", "The key that ends in wxyz is gone"),
        ("a\r\n b\x00c  d", "a d"),
        ("", ""),
    ],
)
def test_a_provider_that_repeats_the_key(said: str, shown: str) -> None:

    assert provider_words(json.dumps({"error": {"message": said}}).encode(), SECRET) == (
        "" if "\x00" in said else shown
    )


def test_a_provider_that_repeats_its_own_headers(provider: ScriptedUpstream) -> None:
    """Their values are as secret as the key; one that is as short as a word of the message is left alone."""
    said = {"error": {"message": "No access for canary of the tenant-wxyz to this, sorry"}}
    provider.script = lambda line: line.answer_json(said, "403 Forbidden")
    headers = (("x-tenant", "canary of the tenant-wxyz"), ("x-stage", "to"))
    outcome = check_key(PROVIDERS["openai-byok"], SECRET, headers=headers)
    assert outcome.message == f"The provider does not let this key in. No access for {MASK} to this, sorry"


@pytest.mark.parametrize("body", [b"", b"<html>", b"[]", b"{}", b'{"error": {"message": 7}}', b"\xff"])
def test_a_refusal_without_words(body: bytes) -> None:
    assert provider_words(body, SECRET) == ""
