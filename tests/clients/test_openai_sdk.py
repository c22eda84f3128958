"""The official OpenAI SDK, unmodified: chat completions and responses through Organization Auto, and every refusal."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import openai
import pytest
from openai import OpenAI

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


def connect(gateway: Gateway, key: str, mode: str | None = None) -> OpenAI:
    """A client as the documentation tells people to make it; without retries, so that a test sees each answer."""
    headers = {"x-kilocode-mode": mode} if mode else None
    return OpenAI(base_url=f"{gateway.base_url}/api/gateway/v1", api_key=key, default_headers=headers, max_retries=0)


@pytest.fixture
def alice(gateway: Gateway) -> Iterator[OpenAI]:
    with connect(gateway, gateway.user("alice")["api_key"]) as client:
        yield client


@pytest.fixture
def mallory(gateway: Gateway) -> Iterator[OpenAI]:
    """Of Globex, which is on the teams plan and has no credential of its own."""
    with connect(gateway, gateway.user("mallory")["api_key"]) as client:
        yield client


# --- answers


@pytest.mark.parametrize("expected", ROUTED, ids=by_mode)
def test_chat_goes_where_the_mode_leads(gateway: Gateway, expected: Expected) -> None:
    with connect(gateway, gateway.user("alice")["api_key"], expected.mode) as client:
        raw = client.chat.completions.with_raw_response.create(model=ORGANIZATION_AUTO, messages=HELLO)
    completion = raw.parse()
    assert f"model {expected.model}," in (completion.choices[0].message.content or "")
    assert completion.choices[0].finish_reason == "stop"
    assert completion.usage is not None
    assert completion.usage.total_tokens == completion.usage.prompt_tokens + completion.usage.completion_tokens > 0
    assert_receipt(raw.headers, mode=expected.mode, route=expected.route, target=expected.model, model=expected.model)
    assert only_completion(gateway)["model"] == expected.model


def test_chat_streamed(gateway: Gateway) -> None:
    expected = ROUTED[0]
    with connect(gateway, gateway.user("alice")["api_key"], expected.mode) as client:
        raw = client.chat.completions.with_raw_response.create(model=ORGANIZATION_AUTO, messages=HELLO, stream=True)
        with raw.parse() as stream:
            chunks = list(stream)
    text = "".join(choice.delta.content or "" for chunk in chunks for choice in chunk.choices)
    assert f"model {expected.model}," in text
    assert [choice.finish_reason for chunk in chunks for choice in chunk.choices][-1] == "stop"
    # Nobody asked for usage; the gateway did, for its own records, and passes it on.
    assert chunks[-1].usage is not None
    assert chunks[-1].usage.total_tokens > 0
    assert_receipt(raw.headers, mode=expected.mode, route=expected.route, target=expected.model, model=expected.model)
    sent = only_completion(gateway)["body"]
    assert (sent["stream"], sent["stream_options"]) == (True, {"include_usage": True})


@pytest.mark.parametrize("expected", ROUTED, ids=by_mode)
def test_responses_go_where_the_mode_leads(gateway: Gateway, expected: Expected) -> None:
    with connect(gateway, gateway.user("alice")["api_key"], expected.mode) as client:
        raw = client.responses.with_raw_response.create(model=ORGANIZATION_AUTO, input="say hello")
    response = raw.parse()
    assert f"model {expected.model}," in response.output_text
    assert response.usage is not None
    assert response.usage.total_tokens == response.usage.input_tokens + response.usage.output_tokens > 0
    assert_receipt(raw.headers, mode=expected.mode, route=expected.route, target=expected.model, model=expected.model)
    assert only_completion(gateway)["path"].endswith("/responses")


def test_responses_streamed(gateway: Gateway) -> None:
    expected = ROUTED[1]
    with connect(gateway, gateway.user("alice")["api_key"], expected.mode) as client:
        raw = client.responses.with_raw_response.create(model=ORGANIZATION_AUTO, input="say hello", stream=True)
        with raw.parse() as stream:
            events = list(stream)
    text = "".join(event.delta for event in events if event.type == "response.output_text.delta")
    assert f"model {expected.model}," in text
    last = events[-1]
    assert last.type == "response.completed"
    assert last.response.usage is not None
    assert last.response.usage.total_tokens > 0
    assert_receipt(raw.headers, mode=expected.mode, route=expected.route, target=expected.model, model=expected.model)


def test_mode_as_suffix_of_the_model(gateway: Gateway, alice: OpenAI) -> None:
    chat = alice.chat.completions.with_raw_response.create(model=f"{ORGANIZATION_AUTO}:plan", messages=HELLO)
    responses = alice.responses.with_raw_response.create(model=f"{ORGANIZATION_AUTO}:plan", input="say hello")
    plan = ROUTED[1]
    for raw in (chat, responses):
        assert_receipt(raw.headers, mode="plan", route=plan.route, target=plan.model, model=plan.model)
    assert {request["model"] for request in gateway.upstream.completions()} == {plan.model}


def test_header_is_stronger_than_the_suffix(gateway: Gateway) -> None:
    with connect(gateway, gateway.user("alice")["api_key"], "ask") as client:
        completion = client.chat.completions.create(model=f"{ORGANIZATION_AUTO}:plan", messages=HELLO)
    assert "model openai/gpt-5-mini," in (completion.choices[0].message.content or "")


@pytest.mark.parametrize("mode", [None, "security-review", "no-such-mode"])
def test_a_mode_without_a_route_gets_the_fallback(gateway: Gateway, mode: str | None) -> None:
    with connect(gateway, gateway.user("alice")["api_key"], mode) as client:
        raw = client.chat.completions.with_raw_response.create(model=ORGANIZATION_AUTO, messages=HELLO)
    model = only_completion(gateway)["model"]
    assert not model.startswith("kilo-auto/")
    assert f"model {model}," in (raw.parse().choices[0].message.content or "")
    assert_receipt(raw.headers, mode=mode or "", route="fallback", target=FALLBACK_TARGET, model=model)


def test_a_model_asked_for_by_name(gateway: Gateway, alice: OpenAI) -> None:
    raw = alice.chat.completions.with_raw_response.create(model="openai/gpt-5-mini", messages=HELLO)
    assert "model openai/gpt-5-mini," in (raw.parse().choices[0].message.content or "")
    assert_receipt(raw.headers, mode="", route="direct", target="openai/gpt-5-mini", model="openai/gpt-5-mini")


def test_unknown_fields_arrive_upstream_and_the_client_s_key_does_not(gateway: Gateway, alice: OpenAI) -> None:
    alice.chat.completions.create(
        model=f"{ORGANIZATION_AUTO}:code", messages=HELLO, temperature=0.25, extra_body={"top_a": 0.5}
    )
    sent = only_completion(gateway)
    assert sent["body"] == {"model": "anthropic/claude-sonnet-5", "messages": HELLO, "temperature": 0.25, "top_a": 0.5}
    assert sent["key_last_four"] != gateway.user("alice")["api_key"][-4:]
    assert not [name for name in sent["headers"] if name.startswith(("x-kilo", "x-stainless", "openai-"))]


def test_models_are_listed(alice: OpenAI) -> None:
    listed = {model.id for model in alice.models.list()}
    assert {expected.model for expected in ROUTED} <= listed
    assert FALLBACK_TARGET in listed


# --- refusals


def refused(error: openai.APIStatusError, error_type: str, code: str | None = None) -> None:
    """The SDK found our error where it looks for one; the whole body has the other keys too."""
    assert_error_body(error.response.json(), error_type, code=code)
    assert isinstance(error.body, dict)
    assert error.type == error_type
    assert error.code == error.body["code"]
    assert error.body["message"] in str(error)
    assert error.request_id


def test_a_wrong_key_is_refused(gateway: Gateway) -> None:
    with connect(gateway, "kilo_not-a-key-of-anyone") as client, pytest.raises(openai.AuthenticationError) as caught:
        client.chat.completions.create(model=ORGANIZATION_AUTO, messages=HELLO)
    refused(caught.value, "invalid_token", "INVALID_TOKEN")
    assert caught.value.response.headers["www-authenticate"] == 'Bearer error="invalid_token"'
    assert_no_completion(gateway)


@pytest.mark.parametrize("model", ["openai/no-such-model", "nobody/nothing:free", "kilo-auto/no-such-tier"])
def test_an_unknown_model_is_not_found(gateway: Gateway, alice: OpenAI, model: str) -> None:
    with pytest.raises(openai.NotFoundError) as caught:
        alice.chat.completions.create(model=model, messages=HELLO)
    refused(caught.value, "model_not_found")
    assert_no_completion(gateway)


@pytest.mark.parametrize("field", [{"store": True}, {"previous_response_id": "resp_1"}])
def test_responses_keep_no_state(gateway: Gateway, alice: OpenAI, field: dict[str, Any]) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        alice.responses.create(model=ORGANIZATION_AUTO, input="say hello", **field)
    refused(caught.value, "unsupported_field", "unsupported_field")
    assert_no_completion(gateway)


def test_responses_take_store_false(alice: OpenAI) -> None:
    """Agents send it to say that they need no memory, which is what they get."""
    assert alice.responses.create(model=f"{ORGANIZATION_AUTO}:code", input="say hello", store=False).output_text


def test_provider_options_are_refused(gateway: Gateway, alice: OpenAI) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        alice.chat.completions.create(
            model=ORGANIZATION_AUTO, messages=HELLO, extra_body={"providerOptions": {"gateway": {"only": ["x"]}}}
        )
    refused(caught.value, "unsupported_field", "unsupported_field")
    assert_no_completion(gateway)


def test_messages_of_the_wrong_shape_are_refused(gateway: Gateway, alice: OpenAI) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        alice.chat.completions.create(model=ORGANIZATION_AUTO, messages="say hello")  # type: ignore[call-overload]
    refused(caught.value, "invalid_request")
    assert_no_completion(gateway)


def test_organization_auto_needs_the_enterprise_plan(gateway: Gateway, mallory: OpenAI) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        mallory.chat.completions.create(model=ORGANIZATION_AUTO, messages=HELLO)
    refused(caught.value, "organization_auto_configuration")
    with pytest.raises(openai.BadRequestError) as caught:
        mallory.responses.create(model=f"{ORGANIZATION_AUTO}:plan", input="say hello", stream=True)
    refused(caught.value, "organization_auto_configuration")
    assert_no_completion(gateway)


def test_a_direct_model_needs_the_organization_s_credential(gateway: Gateway, mallory: OpenAI) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        mallory.chat.completions.create(model="neuralwatt/kimi-k2", messages=HELLO)
    refused(caught.value, "byok_key_required")
    assert_no_completion(gateway)


def test_a_foreign_organization_is_refused(gateway: Gateway, mallory: OpenAI) -> None:
    """The key's own organization decides; the header cannot lead elsewhere."""
    acme = {"X-KiloCode-OrganizationId": gateway.organization("Acme")["id"], "x-kilocode-mode": "code"}
    with pytest.raises((openai.BadRequestError, openai.PermissionDeniedError)):
        mallory.chat.completions.create(model=ORGANIZATION_AUTO, messages=HELLO, extra_headers=acme)
    assert_no_completion(gateway)


# --- an upstream in trouble


def test_the_upstream_s_own_error_passes_through(gateway: Gateway, alice: OpenAI) -> None:
    error = {
        "error": {"message": "Too many tools.", "type": "invalid_request_error", "param": "tools", "code": "tools"}
    }
    gateway.upstream.behave("status", status=422, body=error, times=1)
    with pytest.raises(openai.UnprocessableEntityError) as caught:
        alice.chat.completions.create(model=f"{ORGANIZATION_AUTO}:code", messages=HELLO)
    assert caught.value.body == error["error"]
    assert caught.value.response.headers["x-kilo-route"] == "exact:code"


def test_an_upstream_that_hangs_up_is_unavailable(gateway: Gateway, alice: OpenAI) -> None:
    gateway.upstream.behave("break_before_headers", times=1)
    with pytest.raises(openai.InternalServerError) as caught:
        alice.chat.completions.create(model=f"{ORGANIZATION_AUTO}:code", messages=HELLO)
    assert caught.value.status_code == 503
    refused(caught.value, "temporarily_unavailable")


def test_a_chat_stream_that_breaks_ends_in_an_error(gateway: Gateway, alice: OpenAI) -> None:
    gateway.upstream.behave("break_mid_stream", after_events=3, times=1)
    stream = alice.chat.completions.create(model=f"{ORGANIZATION_AUTO}:code", messages=HELLO, stream=True)
    with stream, pytest.raises(openai.APIError, match="upstream") as caught:
        list(stream)
    assert caught.value.code


def test_a_responses_stream_that_breaks_ends_in_an_error(gateway: Gateway, alice: OpenAI) -> None:
    gateway.upstream.behave("break_mid_stream", after_events=3, times=1)
    with alice.responses.create(model=f"{ORGANIZATION_AUTO}:code", input="say hello", stream=True) as stream:
        last = list(stream)[-1]
    assert last.type == "error"
    assert "upstream" in last.message
    assert last.code
