"""Real clients on an organization's own keys: a provider that it has registered, set up over the API, and Anthropic."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack
from typing import Any

import pytest
from anthropic import Anthropic
from openai import OpenAI

from tests.clients.conftest import SignIn
from tests.clients.expected import ORGANIZATION_AUTO, only_completion
from tests.clients.test_kilo_cli import manage
from tests.support.live import Gateway

PROVIDER = "custom-workshop"
MODEL = "Workshop-1"
TARGET = f"{PROVIDER}/{MODEL.lower()}"
HEADER = "workshop-team-value-0042"
KEY, ANTHROPIC_KEY = "workshop-key-9921", "anthropic-key-3317"
HELLO: Any = [{"role": "user", "content": "say hello"}]


@pytest.fixture
def own_keys(gateway: Gateway) -> Iterator[Gateway]:
    """A provider on loopback with its key, and a key for Anthropic; routes of two modes lead there."""
    provider = {
        "id": PROVIDER,
        "name": "Workshop",
        "base_url": f"{gateway.upstream.base_url}/workshop/v1",
        "api_kinds": ["chat_completions", "responses"],
        "headers": [{"name": "x-team", "value": HEADER}],
        "models": [{"id": MODEL, "name": "Workshop 1", "context_length": 64_000, "max_output_tokens": 8_000}],
    }
    with ExitStack() as undo:
        manage(gateway, "POST", "custom-providers", provider)
        undo.callback(manage, gateway, "DELETE", f"custom-providers/{PROVIDER}?confirm_broken_routes=true")
        manage(gateway, "POST", "byok", {"provider": PROVIDER, "api_key": KEY})
        stored = manage(gateway, "POST", "byok", {"provider": "anthropic-byok", "api_key": ANTHROPIC_KEY})
        path = f"byok/{stored['credential']['id']}?confirm_broken_routes=true"
        undo.callback(manage, gateway, "DELETE", path)
        for mode, target in (("workshop", TARGET), ("claude", "anthropic-byok/anthropic/claude-sonnet-5")):
            manage(gateway, "PUT", f"organization-auto/routes/{mode}", {"model": target})
            undo.callback(manage, gateway, "DELETE", f"organization-auto/routes/{mode}")
        gateway.upstream.clear()
        yield gateway


def assert_reached(gateway: Gateway, path: str) -> None:
    """One request, to the provider's own address, with its own key and header."""
    sent = only_completion(gateway)
    assert sent["path"] == f"/workshop/v1{path}"
    assert sent["model"] == MODEL
    assert sent["key_last_four"] == KEY[-4:]
    assert sent["headers"]["x-team"] == HEADER
    assert not [name for name in sent["headers"] if name.startswith(("x-kilo", "x-stainless", "openai-"))]
    assert HEADER not in gateway.log()


def assert_own_key(headers: Any, provider: str) -> None:
    assert (headers["x-kilo-provider"], headers["x-kilo-byok"]) == (provider, "true")


@pytest.mark.parametrize("model", [ORGANIZATION_AUTO, TARGET])
def test_the_openai_sdk(own_keys: Gateway, model: str) -> None:
    key = own_keys.user("alice")["api_key"]
    headers = {"x-kilocode-mode": "workshop"}
    url = f"{own_keys.base_url}/api/gateway/v1"
    with OpenAI(base_url=url, api_key=key, default_headers=headers, max_retries=0) as client:
        chat = client.chat.completions.with_raw_response.create(model=model, messages=HELLO)
        assert f"model {MODEL}," in (chat.parse().choices[0].message.content or "")
        assert_own_key(chat.headers, PROVIDER)
        assert_reached(own_keys, "/chat/completions")
        own_keys.upstream.clear()
        response = client.responses.with_raw_response.create(model=model, input="say hello")
        assert f"model {MODEL}," in response.parse().output_text
        assert_own_key(response.headers, PROVIDER)
        assert_reached(own_keys, "/responses")
        assert TARGET in {listed.id for listed in client.models.list()}


def test_the_anthropic_sdk_reaches_anthropic_as_it_wants_to_be_asked(own_keys: Gateway) -> None:
    key = own_keys.user("alice")["api_key"]
    headers = {"x-kilocode-mode": "claude"}
    with Anthropic(
        base_url=f"{own_keys.base_url}/api/gateway", api_key=key, default_headers=headers, max_retries=0
    ) as client:
        raw = client.messages.with_raw_response.create(
            model=ORGANIZATION_AUTO, max_tokens=100, messages=HELLO, extra_headers={"anthropic-beta": "one-beta"}
        )
    assert "model anthropic/claude-sonnet-5," in "".join(
        block.text for block in raw.parse().content if block.type == "text"
    )
    assert_own_key(raw.headers, "anthropic-byok")
    sent = only_completion(own_keys)
    assert sent["path"] == "/v1/messages"
    assert sent["key_last_four"] == ANTHROPIC_KEY[-4:]
    assert "x-api-key" in sent["headers"]
    assert "authorization" not in sent["headers"]
    version = client.default_headers["anthropic-version"]
    assert (sent["headers"]["anthropic-version"], sent["headers"]["anthropic-beta"]) == (version, "one-beta")


def test_the_kilo_cli(own_keys: Gateway, stored_login: SignIn) -> None:
    """A mode of the organization, routed to its own provider, asked as a developer asks."""
    config = {"roleDefinition": "You build things.", "description": "Builds", "groups": ["read"]}
    made = manage(own_keys, "POST", "modes", {"name": "Workshop", "slug": "workshop", "config": config})
    try:
        finished = stored_login("alice").ask("workshop")
    finally:
        manage(own_keys, "DELETE", f"modes/{made['mode']['id']}")
    assert finished.code == 0, finished.errors
    assert f"model {MODEL}," in finished.output
    assert_reached(own_keys, "/chat/completions")
    assert json.dumps(only_completion(own_keys)["body"]).count(HEADER) == 0
