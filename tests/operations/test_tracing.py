"""Traces over OTLP, to a real receiver."""

from __future__ import annotations

import uuid
from typing import Any

from tests.e2e.lab import PROMPT
from tests.operations.receiver import TraceReceiver, value_of
from tests.operations.test_metrics import send
from tests.support.live import Gateway

SERVER, CLIENT = 2, 3
ERROR = 2


def attributes(span: Any) -> dict[str, Any]:
    return {entry.key: value_of(entry.value) for entry in span.attributes}


def spans_of(receiver: TraceReceiver, trace_id: str, number: int = 2) -> list[Any]:
    return sorted(receiver.wait_for(lambda span: span.trace_id.hex() == trace_id, number), key=lambda span: span.kind)


class TestTraces:
    def test_two_spans_in_a_trace_of_the_requests_id(self, watched: Gateway, receiver: TraceReceiver) -> None:
        reply = send(watched, stream=True)
        served, asked = spans_of(receiver, uuid.UUID(reply.request_id).hex)
        assert (served.kind, asked.kind) == (SERVER, CLIENT)
        assert (served.name, asked.parent_span_id) == ("POST /api/gateway/v1/chat/completions", served.span_id)
        assert not served.parent_span_id
        row = watched.usage(reply.request_id)
        assert attributes(served) == {
            "http.request.method": "POST",
            "http.route": "/api/gateway/v1/chat/completions",
            "http.response.status_code": 200,
            "kilo.request.id": reply.request_id,
            "kilo.organization.id": watched.organization("Acme")["id"],
            "kilo.mode": "code",
            "kilo.route.kind": "exact",
            "kilo.route": row["route"],
            "kilo.target": row["target"],
            "kilo.routing_version": row["routing_version"],
            "kilo.byok": False,
            "kilo.cancelled": False,
        }
        told = attributes(asked)
        assert asked.name == f"chat {row['resolved_model']}"
        assert told["gen_ai.operation.name"] == "chat"
        assert told["gen_ai.provider.name"] == "openrouter"
        assert told["gen_ai.request.model"] == row["resolved_model"]
        assert told["gen_ai.request.stream"] is True
        assert told["gen_ai.usage.input_tokens"] == row["input_tokens"]
        assert told["gen_ai.usage.output_tokens"] == row["output_tokens"]
        lasted_ms = (served.end_time_unix_nano - served.start_time_unix_nano) / 1_000_000
        assert round(lasted_ms) == row["duration_ms"]

    def test_a_clients_own_trace_goes_on(self, watched: Gateway, receiver: TraceReceiver) -> None:
        trace, parent = uuid.uuid4().hex, "00f067aa0ba902b7"
        watched.upstream.clear()
        assert send(watched, headers={"traceparent": f"00-{trace}-{parent}-01"}).status == 200
        served, _ = spans_of(receiver, trace)
        assert served.parent_span_id.hex() == parent
        (asked,) = watched.upstream.requests()
        assert "traceparent" not in {name.lower() for name in asked["headers"]}

    def test_one_that_is_no_trace_is_ignored(self, watched: Gateway, receiver: TraceReceiver) -> None:
        reply = send(watched, headers={"traceparent": "00-zz-zz-01"})
        assert len(spans_of(receiver, uuid.UUID(reply.request_id).hex)) == 2

    def test_one_that_the_client_does_not_record_is_not_sent(self, watched: Gateway, receiver: TraceReceiver) -> None:
        trace = uuid.uuid4().hex
        assert send(watched, headers={"traceparent": f"00-{trace}-00f067aa0ba902b7-00"}).status == 200
        after = send(watched)
        spans_of(receiver, uuid.UUID(after.request_id).hex)
        assert trace not in {span.trace_id.hex() for span in receiver.spans}

    def test_failures_are_marked(self, watched: Gateway, receiver: TraceReceiver) -> None:
        watched.upstream.behave("status", status=500)
        try:
            reply = send(watched)
        finally:
            watched.upstream.reset_behaviour()
        served, asked = spans_of(receiver, uuid.UUID(reply.request_id).hex)
        assert served.status.code == asked.status.code == ERROR
        assert attributes(asked)["error.type"] == "upstream_error"

    def test_a_request_that_reached_no_upstream_has_one_span(self, watched: Gateway, receiver: TraceReceiver) -> None:
        reply = send(watched, model="no/such-model")
        (served,) = spans_of(receiver, uuid.UUID(reply.request_id).hex, 1)
        assert served.status.code == 0
        assert attributes(served)["error.type"] == "model_not_found"

    def test_nothing_secret_is_sent(self, watched: Gateway, receiver: TraceReceiver) -> None:
        reply = send(watched, mode="local-docs")
        spans_of(receiver, uuid.UUID(reply.request_id).hex)
        sent = b"".join(receiver.bodies)
        secrets = [PROMPT, watched.user("alice")["api_key"], "demo-hosted-key-0001", "collector-token"]
        assert not [secret for secret in secrets if secret.encode() in sent]
        assert {headers["authorization"] for headers in receiver.headers} == {"Bearer collector-token"}
        assert {resource["service.name"] for resource in receiver.resources} == {"kilo-gateway"}
        assert "collector-token" not in watched.log()
