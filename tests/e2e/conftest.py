"""A laboratory: the production server between raw sockets and upstreams that do what each test says."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from byok.providers import PROVIDERS, override_variable
from tests.e2e.keys import KEY_TENANTS
from tests.e2e.lab import CREDENTIALS, FIRST_BYTE_SECONDS, HOSTED_KEY, IDLE_SECONDS, VERCEL_KEY, Lab, self_signed
from tests.e2e.scripted import ScriptedUpstream
from tests.e2e.tenants import make_tenants
from tests.support.live import live_gateway
from tests.support.tenants import auto_settings

ROUTES = {
    "code": "anthropic/claude-sonnet-5",
    "neuralwatt": "neuralwatt/kimi-k2.6",
    "anthropic": "anthropic-byok/claude-x",
    "openai": "openai-byok/gpt-x",
    "secure": "xai-byok/grok-x",
}
# Those that have a place of their own below.
MOVED = {"neuralwatt", "anthropic-byok", "openai-byok", "opencode-go", "xai-byok"}


@pytest.fixture(scope="session")
def running_lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    folder = tmp_path_factory.mktemp("lab")
    tls, certificate = self_signed(folder)
    with ExitStack() as stack:
        openrouter, vercel, provider = (stack.enter_context(ScriptedUpstream()) for _ in range(3))
        secure = stack.enter_context(ScriptedUpstream(tls))
        gateway = stack.enter_context(
            live_gateway(
                folder,
                seeded=False,
                OPENROUTER_API_KEY=HOSTED_KEY,
                OPENROUTER_BASE_URL=f"{openrouter.base_url}/api/v1",
                VERCEL_AI_GATEWAY_API_KEY=VERCEL_KEY,
                VERCEL_AI_GATEWAY_BASE_URL=f"{vercel.base_url}/v1",
                **{override_variable(each): f"{provider.base_url}/{each}/v1" for each in PROVIDERS.keys() - MOVED},
                PROVIDER_BASE_URL_NEURALWATT=f"{provider.base_url}/neuralwatt/v1",
                PROVIDER_BASE_URL_ANTHROPIC_BYOK=f"{provider.base_url}/anthropic/v1",
                PROVIDER_BASE_URL_OPENAI_BYOK=f"{provider.base_url}/openai/v1",
                PROVIDER_BASE_URL_OPENCODE_GO=f"{provider.base_url}/opencode/v1",
                PROVIDER_BASE_URL_XAI_BYOK=f"{secure.base_url}/v1",
                REQUESTS_CA_BUNDLE=str(certificate),
                UPSTREAM_CONNECT_TIMEOUT="2",
                UPSTREAM_FIRST_BYTE_TIMEOUT=str(FIRST_BYTE_SECONDS),
                UPSTREAM_IDLE_TIMEOUT=str(IDLE_SECONDS),
            )
        )
        settings = auto_settings(ROUTES)
        tenants = make_tenants(
            gateway,
            {
                "acme": {"settings": settings, "credentials": CREDENTIALS},
                # The same routes, with credentials that must not be used.
                "other": {
                    "settings": settings,
                    "credentials": {"openai-byok": {"secret": "sk-other-organization-0003"}},
                },
                "personal": {
                    "settings": settings,
                    "personal_credentials": {"neuralwatt": {"secret": "sk-personal-0004"}},
                },
                "without": {"settings": settings},
                **KEY_TENANTS,
                "key deleted meanwhile": KEY_TENANTS["key enabled"],
            },
        )
        yield Lab(gateway, openrouter, vercel, provider, secure, tenants)


@pytest.fixture
def lab(running_lab: Lab) -> Iterator[Lab]:
    """The laboratory with upstreams that were told nothing yet; a script that failed fails its test."""
    for upstream in running_lab.upstreams:
        upstream.reset()
    yield running_lab
    failures = [failure for upstream in running_lab.upstreams for failure in upstream.failures]
    assert not failures, failures
