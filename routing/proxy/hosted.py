"""The hosted upstreams: reached with the installation's own keys, in the order in which they are tried."""

from __future__ import annotations

from dataclasses import dataclass

from django.conf import settings

from kilo_gateway.secret import Secret


@dataclass(frozen=True, slots=True)
class HostedUpstream:
    """One of them, with the key that pays."""

    id: str
    base_url: str
    key: Secret


def hosted_upstreams() -> list[HostedUpstream]:
    """Those that this installation has a key for: OpenRouter, then Vercel AI Gateway."""
    known = (
        ("openrouter", settings.OPENROUTER_BASE_URL, settings.OPENROUTER_API_KEY),
        ("vercel-ai-gateway", settings.VERCEL_AI_GATEWAY_BASE_URL, settings.VERCEL_AI_GATEWAY_API_KEY),
    )
    return [HostedUpstream(name, base_url, Secret(key)) for name, base_url, key in known if key]
