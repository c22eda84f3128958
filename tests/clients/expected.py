"""What the demo organization's routing means for a client, said once for all clients."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tests.support.live import Gateway

ORGANIZATION_AUTO = "kilo-auto/org"
FALLBACK_TARGET = "kilo-auto/balanced"
HELLO: Any = [{"role": "user", "content": "say hello"}]


@dataclass(frozen=True, slots=True)
class Expected:
    """A mode as a client says it, the rule that finds its route, and the model that serves it."""

    mode: str
    route: str
    model: str


ROUTED = (
    Expected("code", "exact:code", "anthropic/claude-sonnet-5"),
    Expected("plan", "alias:plan->architect", "anthropic/claude-opus-5"),
    Expected("ask", "exact:ask", "openai/gpt-5-mini"),
    Expected("debug", "exact:debug", "openai/gpt-5.4"),
    Expected("docs-writer", "exact:docs-writer", "moonshotai/kimi-k3"),
)


def by_mode(expected: Expected) -> str:
    """The name of a parametrized test."""
    return expected.mode


def only_completion(gateway: Gateway) -> dict[str, Any]:
    """The one request that asked the upstream's models for an answer since it was cleared."""
    (request,) = gateway.upstream.completions()
    return request


def assert_no_completion(gateway: Gateway) -> None:
    """A refusal costs nothing: no model was asked."""
    assert gateway.upstream.completions() == []


def assert_receipt(headers: Mapping[str, str], *, mode: str, route: str, target: str, model: str) -> None:
    """The response says what was decided, and the request can be found again."""
    receipt = {name: headers.get(f"x-kilo-{name}") for name in ("mode", "route", "target", "model", "byok", "provider")}
    assert receipt == {
        "mode": mode,
        "route": route,
        "target": target,
        "model": model,
        "byok": "false",
        "provider": "openrouter",
    }
    assert int(headers["x-kilo-routing-version"]) >= 0
    assert headers["x-request-id"]


def assert_error_body(body: Any, error_type: str, *, code: str | None = None) -> None:
    """The keys that every error of the gateway has, whichever SDK reads it."""
    assert body["error_type"] == error_type
    assert body["message"]
    assert body["error"]["message"] == body["message"]
    assert body["error"]["type"]
    assert body["error"]["code"] == (code or body["error"]["code"])
    assert body["error"]["code"]
