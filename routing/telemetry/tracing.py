"""Traces of requests over OTLP, in the words of OpenTelemetry's conventions for HTTP and for generative AI.

Two spans for a request: what the gateway served, and in it what it asked of an upstream. Both are made of the usage
record when that has been written, so a request does not wait for its own trace, and nothing that a record does not hold
(a prompt, an answer, a key) can get into one. A trace has the request's id for its id, unless the client came with a
trace of its own; that one is not passed on to upstreams.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta
from functools import cache
from multiprocessing.util import Finalize
from os import environ
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import unquote
from uuid import UUID

from django.conf import settings
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.id_generator import RandomIdGenerator
from opentelemetry.trace import SpanKind, Status, StatusCode, Tracer, set_span_in_context
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from kilo_gateway.api_kinds import ApiKind

if TYPE_CHECKING:
    from routing.proxy.usage_writer import Usage

LAST_SPANS_MS: Final = 2000
_NS: Final = 1_000_000_000
_PATHS: Final = {kind.value: f"/api/gateway/v1/{kind.value.replace('_', '/')}" for kind in ApiKind}
# Where OpenTelemetry has another name for a provider.
_NAMES: Final = {"google-byok": "gcp.gemini", "mistral-byok": "mistral_ai", "xai-byok": "x_ai"}


class _Ids(RandomIdGenerator):
    """Gives the next trace the id of a request. One thread makes all spans."""

    def __init__(self) -> None:
        self.next_trace_id = 0

    def generate_trace_id(self) -> int:
        return self.next_trace_id


class _Tracing:
    def __init__(self) -> None:
        self._ids = _Ids()
        self._provider = TracerProvider(
            resource=Resource.create({"service.name": "kilo-gateway"} if not _is_named() else {}),
            id_generator=self._ids,
            shutdown_on_exit=False,
        )
        headers = _parsed_headers(settings.OTEL_EXPORTER_OTLP_HEADERS)
        endpoint = f"{settings.OTEL_EXPORTER_OTLP_ENDPOINT}/v1/traces"
        self._provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(endpoint, headers=headers)))
        self._tracer: Tracer = self._provider.get_tracer("kilo_gateway")
        self._propagator = TraceContextTextMapPropagator()
        # After the usage writer's own, which makes the last spans. Not `atexit`: a worker process ends without it.
        Finalize(None, self._finish, exitpriority=0)

    def trace(self, usage: Usage) -> None:
        start = int(usage.created_at.timestamp() * _NS)
        end = int((usage.created_at + timedelta(milliseconds=usage.duration_ms)).timestamp() * _NS)
        self._ids.next_trace_id = usage.request_id.int
        parent = self._propagator.extract({"traceparent": usage.traceparent}) if usage.traceparent else None
        path = _PATHS.get(usage.api_kind, "")
        served = self._tracer.start_span(
            f"POST {path}", parent, SpanKind.SERVER, attributes=_served(usage, path), start_time=start
        )
        _mark_failure(served, usage)
        if usage.provider:
            asked = self._tracer.start_span(
                f"chat {usage.resolved_model}",
                set_span_in_context(served),
                SpanKind.CLIENT,
                attributes=_asked(usage),
                start_time=start,
            )
            _mark_failure(asked, usage)
            asked.end(end)
        served.end(end)

    def _finish(self) -> None:
        self._provider.force_flush(LAST_SPANS_MS)


@cache
def _tracing() -> _Tracing:
    return _Tracing()


def trace_requests(written: Sequence[Usage]) -> None:
    """Make the spans of a batch; another thread sends them, and drops some when the receiver is too slow."""
    tracing = _tracing()
    for usage in written:
        tracing.trace(usage)


def _served(usage: Usage, path: str) -> dict[str, Any]:
    return _present(
        {
            "http.request.method": "POST",
            "http.route": path,
            "http.response.status_code": usage.status,
            "kilo.request.id": usage.request_id,
            "kilo.organization.id": usage.organization_id,
            "kilo.mode": usage.mode,
            "kilo.route.kind": usage.route_kind,
            "kilo.route": usage.route,
            "kilo.target": usage.target,
            "kilo.routing_version": usage.routing_version,
            "kilo.byok": usage.is_byok,
            "kilo.cancelled": usage.cancelled,
        }
    )


def _asked(usage: Usage) -> dict[str, Any]:
    return _present(
        {
            "gen_ai.operation.name": "chat",
            "gen_ai.provider.name": _NAMES.get(usage.provider, usage.provider.removesuffix("-byok")),
            "gen_ai.request.model": usage.resolved_model,
            "gen_ai.request.stream": usage.streamed,
            "gen_ai.usage.input_tokens": usage.input_tokens,
            "gen_ai.usage.output_tokens": usage.output_tokens,
            "gen_ai.usage.cache_read.input_tokens": usage.cache_read_tokens,
            "gen_ai.usage.cache_creation.input_tokens": usage.cache_write_tokens,
            "gen_ai.response.time_to_first_chunk": _seconds(usage.time_to_first_byte_ms),
        }
    )


def _seconds(milliseconds: int | None) -> float | None:
    return None if milliseconds is None else milliseconds / 1000


def _present(attributes: Mapping[str, Any]) -> dict[str, Any]:
    """Those that have a value, in types that OTLP knows."""
    return {
        name: str(value) if isinstance(value, UUID) else value
        for name, value in attributes.items()
        if value is not None and value != ""
    }


def _mark_failure(span: Any, usage: Usage) -> None:
    if usage.error_type:
        span.set_attribute("error.type", usage.error_type)
        # A client's mistake is no failure of the server that says so.
        if usage.status >= 500 or usage.status < 400 or span.kind is SpanKind.CLIENT:
            span.set_status(Status(StatusCode.ERROR))


def _is_named() -> bool:
    return "OTEL_SERVICE_NAME" in environ or "service.name" in environ.get("OTEL_RESOURCE_ATTRIBUTES", "")


def _parsed_headers(text: str) -> dict[str, str]:
    """`name=value` pairs, comma-separated, as OpenTelemetry defines them; what is none is left out."""
    pairs = (pair.partition("=") for pair in text.split(","))
    return {name.strip().lower(): unquote(value.strip()) for name, separator, value in pairs if separator}
