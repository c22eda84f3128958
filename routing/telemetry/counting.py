"""Metrics of requests, from their usage records."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from functools import cache
from typing import TYPE_CHECKING, Final

from byok.providers import PROVIDERS
from kilo_gateway import instruments
from kilo_gateway.api_errors import ErrorType

if TYPE_CHECKING:
    from prometheus_client import Histogram

    from routing.proxy.usage_writer import Usage

_UPSTREAM_ERRORS: Final = frozenset({ErrorType.UPSTREAM_ERROR, ErrorType.UPSTREAM_BROKE, ErrorType.UPSTREAM_TIMEOUT})
_HOSTED: Final = frozenset({"openrouter", "vercel-ai-gateway"})
_TOKENS: Final = ("input", "output", "cache_read", "cache_write", "reasoning")
_MS_PER_SECOND: Final = 1000


def count_requests(written: Sequence[Usage]) -> None:
    """Add a batch to the metrics; what is alike is added once."""
    ends: Counter[tuple[str, ...]] = Counter()
    tokens: Counter[tuple[str, str]] = Counter()
    cost = 0
    for usage in written:
        ends[usage.api_kind, str(usage.status), usage.error_type, usage.route_kind or "none", _upstream(usage)] += 1
        _count_failure(usage)
        _time(usage)
        for kind in _TOKENS:
            tokens[_upstream(usage), kind] += getattr(usage, f"{kind}_tokens") or 0
        cost += usage.hosted_cost_microdollars or 0
    for labels, number in ends.items():
        instruments.REQUESTS.labels(*labels).inc(number)
    for (upstream, kind), number in tokens.items():
        if number:
            instruments.TOKENS.labels(upstream, kind).inc(number)
    if cost > 0:
        instruments.HOSTED_COST.inc(cost)


def _upstream(usage: Usage) -> str:
    if not usage.resolved_model:
        return "none"
    return "byok" if usage.is_byok else "hosted"


def _count_failure(usage: Usage) -> None:
    if usage.error_type == ErrorType.BYOK_ERROR:
        instruments.CREDENTIAL_REFUSALS.labels(_provider(usage.provider)).inc()
    elif usage.error_type in _UPSTREAM_ERRORS or (usage.provider and usage.error_type and usage.status >= 500):
        instruments.UPSTREAM_ERRORS.labels(_provider(usage.provider), usage.error_type).inc()


def _provider(provider_id: str) -> str:
    """A provider that the installation knows by itself; those that organizations add share one word."""
    return provider_id if provider_id in PROVIDERS or provider_id in _HOSTED else "custom"


def _time(usage: Usage) -> None:
    _histogram(instruments.DURATION, usage.api_kind, usage.streamed).observe(usage.duration_ms / _MS_PER_SECOND)
    if usage.time_to_first_byte_ms is not None:
        _histogram(instruments.FIRST_BYTE, usage.api_kind, usage.streamed).observe(
            usage.time_to_first_byte_ms / _MS_PER_SECOND
        )


@cache
def _histogram(of: Histogram, api_kind: str, streamed: bool) -> Histogram:  # noqa: FBT001 - a label like the others
    return of.labels(api_kind, "true" if streamed else "false")
