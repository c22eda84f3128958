"""All metrics by name, with their labels. Loaded only where metrics are on.

Every label is one of a set that the installation bounds: an API kind, a status, an error type of ours, a provider of
the registry. None is what a client sent, and none names an organization, a person or a model.
"""

from __future__ import annotations

from functools import cache
from typing import Final

from prometheus_client import Counter, Gauge, Histogram

from kilo_gateway.metrics import Event

_BUCKETS: Final = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0)

REQUESTS: Final = Counter(
    "kilo_gateway_requests",
    "Requests that reached resolution, by how they ended.",
    ["api_kind", "status", "error_type", "route_kind", "upstream"],
)
DURATION: Final = Histogram(
    "kilo_gateway_request_duration_seconds",
    "From the first byte of a request to the last byte of its answer.",
    ["api_kind", "streamed"],
    buckets=_BUCKETS,
)
FIRST_BYTE: Final = Histogram(
    "kilo_gateway_time_to_first_byte_seconds",
    "From the first byte of a request to the first byte of the upstream's answer.",
    ["api_kind", "streamed"],
    buckets=_BUCKETS,
)
UPSTREAM_ERRORS: Final = Counter(
    "kilo_gateway_upstream_errors",
    "Requests that an upstream failed: refused, broken off or too late.",
    ["provider", "error_type"],
)
CREDENTIAL_REFUSALS: Final = Counter(
    "kilo_gateway_credential_refusals", "Requests for which a provider refused an organization's own key.", ["provider"]
)
TOKENS: Final = Counter("kilo_gateway_tokens", "Tokens as upstreams counted them.", ["upstream", "kind"])
HOSTED_COST: Final = Counter("kilo_gateway_hosted_cost_microdollars", "What hosted requests cost the installation.")

QUEUE_DEPTH: Final = Gauge(
    "kilo_gateway_usage_queue_depth", "Usage records that wait to be written.", multiprocess_mode="livesum"
)
DROPPED: Final = Counter("kilo_gateway_usage_dropped", "Usage records that were lost.")
POOL: Final = Gauge(
    "kilo_gateway_database_connections",
    "Connections of the pools: open, idle, and requests that wait for one.",
    ["state"],
    multiprocess_mode="livesum",
)
CATALOG_CHECKED: Final = Gauge(
    "kilo_gateway_catalog_checked_timestamp_seconds",
    "When a sync last found the catalog good.",
    multiprocess_mode="livemax",
)
WORKERS: Final = Gauge("kilo_gateway_workers", "Worker processes that run.", multiprocess_mode="livesum")

_HELP: Final = {
    Event.REFUSALS: "Requests refused before they were resolved.",
    Event.LOCKED_RESOLUTIONS: "Requests that were resolved under the lock of the organization's row.",
    Event.TOGGLE_FAILURES: "Times that the release toggle could not be asked, and counted as off.",
    Event.RATE_LIMIT_FALLBACKS: "Times that the shared rate limit could not be asked.",
}
_COUNTERS: Final = {
    event: Counter(f"kilo_gateway_{event}", text, ["error_type"] if event is Event.REFUSALS else [])
    for event, text in _HELP.items()
}


@cache
def event_counter(event: Event, label: str) -> Counter:
    """The counter of an event, or of one label of it."""
    counter = _COUNTERS[event]
    return counter.labels(label) if event is Event.REFUSALS else counter
