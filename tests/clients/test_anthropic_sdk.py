"""The official Anthropic SDK, unmodified: messages through Organization Auto, and every refusal in its own shape."""

from __future__ import annotations

from collections.abc import Iterator

import anthropic
import pytest
from anthropic import Anthropic, Omit

from tests.clients.expected import (
    FALLBACK_TARGET,
    HELLO,
    ORGANIZATION_AUTO,
    ROUTED,
    Expected,
    assert_error_body,
    assert_no_completion,
    assert_receipt,
    by_mode,
    only_completion,
)
from tests.support.live import Gateway

pytestmark = pytest.mark.usefixtures("quiet_upstream")


def connect(gateway: Gateway, key: str, mode: str | None = None) -> Anthropic:
    """A client as the documentation tells people to make it; without retries, so that a test sees each answer."""
    headers = {"x-kilocode-mode": mode} if mode else None
    return Anthropic(base_url=f"{gateway.base_url}/api/gateway", api_key=key, default_headers=headers, max_retries=0)


@pytest.fixture
def alice(gateway: Gateway) -> Iterator[Anthropic]:
    with connect(gateway, gateway.user("alice")["api_key"]) as client:
        yield client


@pytest.fixture
def mallory(gateway: Gateway) -> Iterator[Anthropic]:
    """Of Globex, which is on the teams plan and has no credential of its own."""
    with connect(gateway, gateway.user("mallory")["api_key"]) as client:
        yield client


def text_of(message: anthropic.types.Message) -> str:
    return "".join(block.text for block in message.content if block.type == "text")


# --- answers


@pytest.mark.parametrize("expected", ROUTED, ids=by_mode)
def test_messages_go_where_the_mode_leads(gateway: Gateway, expected: Expected) -> None:
    with connect(gateway, gateway.user("alice")["api_key"], expected.mode) as client:
        raw = client.messages.with_raw_response.create(model=ORGANIZATION_AUTO, max_tokens=64, messages=HELLO)
    message = raw.parse()
    assert f"model {expected.model}," in text_of(message)
    assert message.stop_reason == "end_turn"
    assert message.usage.input_tokens > 0
    assert message.usage.output_tokens > 0
    assert_receipt(raw.headers, mode=expected.mode, route=expected.route, target=expected.model, model=expected.model)
    sent = only_completion(gateway)
    assert sent["path"].endswith("/messages")
    assert sent["body"] == {"model": expected.model, "max_tokens": 64, "messages": HELLO}


def test_messages_streamed(gateway: Gateway) -> None:
    expected = ROUTED[0]
    with connect(gateway, gateway.user("alice")["api_key"], expected.mode) as client:
        raw = client.messages.with_raw_response.create(
            model=ORGANIZATION_AUTO, max_tokens=64, messages=HELLO, stream=True
        )
        with raw.parse() as stream:
            events = list(stream)
    text = "".join(
        event.delta.text for event in events if event.type == "content_block_delta" and event.delta.type == "text_delta"
    )
    assert f"model {expected.model}," in text
    (end,) = [event for event in events if event.type == "message_delta"]
    assert end.usage.output_tokens > 0
    assert events[-1].type == "message_stop"
    assert_receipt(raw.headers, mode=expected.mode, route=expected.route, target=expected.model, model=expected.model)


def test_the_stream_helper_puts_the_message_together(alice: Anthropic) -> None:
    with alice.messages.stream(model=f"{ORGANIZATION_AUTO}:plan", max_tokens=64, messages=HELLO) as stream:
        message = stream.get_final_message()
        headers = stream.response.headers
    plan = ROUTED[1]
    assert f"model {plan.model}," in text_of(message)
    assert message.usage.output_tokens > 0
    assert_receipt(headers, mode="plan", route=plan.route, target=plan.model, model=plan.model)


def test_mode_as_suffix_of_the_model(alice: Anthropic) -> None:
    raw = alice.messages.with_raw_response.create(model=f"{ORGANIZATION_AUTO}:plan", max_tokens=64, messages=HELLO)
    plan = ROUTED[1]
    assert f"model {plan.model}," in text_of(raw.parse())
    assert_receipt(raw.headers, mode="plan", route=plan.route, target=plan.model, model=plan.model)


def test_no_mode_gets_the_fallback(gateway: Gateway, alice: Anthropic) -> None:
    raw = alice.messages.with_raw_response.create(model=ORGANIZATION_AUTO, max_tokens=64, messages=HELLO)
    model = only_completion(gateway)["model"]
    assert_receipt(raw.headers, mode="", route="fallback", target=FALLBACK_TARGET, model=model)


def test_the_key_may_come_as_x_api_key(gateway: Gateway, alice: Anthropic) -> None:
    """Which header carries the key differs between releases of the SDK: here `x-api-key` alone, as most send it."""
    headers = {"x-api-key": gateway.user("alice")["api_key"], "Authorization": Omit()}
    message = alice.messages.create(
        model=f"{ORGANIZATION_AUTO}:code", max_tokens=64, messages=HELLO, extra_headers=headers
    )
    assert "model anthropic/claude-sonnet-5," in text_of(message)
    sent = only_completion(gateway)
    assert sent["key_last_four"] != gateway.user("alice")["api_key"][-4:]


def test_the_api_s_version_and_betas_arrive_upstream(gateway: Gateway, alice: Anthropic) -> None:
    headers = {"anthropic-beta": "context-1m-2025-08-07", "anthropic-version": "2023-06-01"}
    alice.messages.create(model=f"{ORGANIZATION_AUTO}:code", max_tokens=64, messages=HELLO, extra_headers=headers)
    sent = only_completion(gateway)["headers"]
    assert {name: sent[name] for name in headers} == headers
    assert not [name for name in sent if name.startswith(("x-kilo", "x-stainless"))]


# --- refusals


def refused(error: anthropic.APIStatusError, error_type: str, anthropic_type: str, code: str | None = None) -> None:
    """The SDK found our error where it looks for one, in Anthropic's own words; our keys stand beside them."""
    assert_error_body(error.body, error_type, code=code)
    assert isinstance(error.body, dict)
    assert error.body["type"] == "error"
    assert error.type == anthropic_type
    assert error.body["message"] in str(error)
    assert error.response.headers["x-request-id"]


@pytest.mark.parametrize("header", ["Authorization", "x-api-key"])
def test_a_wrong_key_is_refused(gateway: Gateway, alice: Anthropic, header: str) -> None:
    key = "kilo_not-a-key-of-anyone"
    headers: dict[str, str | Omit] = {"Authorization": f"Bearer {key}"}
    if header == "x-api-key":
        headers = {"Authorization": Omit(), "x-api-key": key}
    with pytest.raises(anthropic.AuthenticationError) as caught:
        alice.messages.create(model=ORGANIZATION_AUTO, max_tokens=64, messages=HELLO, extra_headers=headers)
    refused(caught.value, "invalid_token", "authentication_error", "INVALID_TOKEN")
    assert_no_completion(gateway)


def test_an_unknown_model_is_not_found(gateway: Gateway, alice: Anthropic) -> None:
    with pytest.raises(anthropic.NotFoundError) as caught:
        alice.messages.create(model="claude-no-such-model", max_tokens=64, messages=HELLO)
    refused(caught.value, "model_not_found", "not_found_error")
    assert_no_completion(gateway)


def test_provider_options_are_refused(gateway: Gateway, alice: Anthropic) -> None:
    with pytest.raises(anthropic.BadRequestError) as caught:
        alice.messages.create(
            model=ORGANIZATION_AUTO, max_tokens=64, messages=HELLO, extra_body={"providerOptions": {"only": ["x"]}}
        )
    refused(caught.value, "unsupported_field", "invalid_request_error", "unsupported_field")
    assert_no_completion(gateway)


def test_no_messages_are_refused(gateway: Gateway, alice: Anthropic) -> None:
    with pytest.raises(anthropic.BadRequestError) as caught:
        alice.messages.create(model=ORGANIZATION_AUTO, max_tokens=64, messages=[])
    refused(caught.value, "invalid_request", "invalid_request_error")
    assert_no_completion(gateway)


@pytest.mark.parametrize("stream", [False, True])
def test_organization_auto_needs_the_enterprise_plan(gateway: Gateway, mallory: Anthropic, stream: bool) -> None:
    with pytest.raises(anthropic.BadRequestError) as caught:
        mallory.messages.create(model=ORGANIZATION_AUTO, max_tokens=64, messages=HELLO, stream=stream)
    refused(caught.value, "organization_auto_configuration", "invalid_request_error")
    assert_no_completion(gateway)


def test_a_direct_model_needs_the_organization_s_credential(gateway: Gateway, mallory: Anthropic) -> None:
    with pytest.raises(anthropic.BadRequestError) as caught:
        mallory.messages.create(model="opencode-go/kimi-k2", max_tokens=64, messages=HELLO)
    refused(caught.value, "byok_key_required", "invalid_request_error")
    assert_no_completion(gateway)


def test_a_direct_provider_without_this_api_is_refused(gateway: Gateway, alice: Anthropic) -> None:
    """Acme has a credential for this provider, which speaks chat completions only."""
    with pytest.raises(anthropic.BadRequestError) as caught:
        alice.messages.create(model="neuralwatt/demo-model", max_tokens=64, messages=HELLO)
    refused(caught.value, "api_kind_not_supported", "invalid_request_error")
    assert_no_completion(gateway)


# --- an upstream in trouble


def test_the_upstream_s_own_error_passes_through(gateway: Gateway, alice: Anthropic) -> None:
    error = {"type": "error", "error": {"type": "invalid_request_error", "message": "max_tokens is too large"}}
    gateway.upstream.behave("status", status=400, body=error, times=1)
    with pytest.raises(anthropic.BadRequestError) as caught:
        alice.messages.create(model=f"{ORGANIZATION_AUTO}:code", max_tokens=64, messages=HELLO)
    assert caught.value.body == error
    assert caught.value.response.headers["x-kilo-route"] == "exact:code"


def test_an_upstream_that_hangs_up_is_unavailable(gateway: Gateway, alice: Anthropic) -> None:
    gateway.upstream.behave("break_before_headers", times=1)
    with pytest.raises(anthropic.InternalServerError) as caught:
        alice.messages.create(model=f"{ORGANIZATION_AUTO}:code", max_tokens=64, messages=HELLO)
    assert caught.value.status_code == 503
    refused(caught.value, "temporarily_unavailable", "overloaded_error")


def test_a_stream_that_breaks_ends_in_an_error(gateway: Gateway, alice: Anthropic) -> None:
    gateway.upstream.behave("break_mid_stream", after_events=4, times=1)
    stream = alice.messages.create(model=f"{ORGANIZATION_AUTO}:code", max_tokens=64, messages=HELLO, stream=True)
    with stream, pytest.raises(anthropic.APIStatusError, match="upstream") as caught:
        list(stream)
    assert caught.value.type == "api_error"
