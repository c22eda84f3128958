"""A small installation and organizations in it, by value: what the tests of resolution are told about."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from kilo_gateway.api_kinds import ApiKind
from routing.domain.resolve import Decision, read_request, resolve
from routing.domain.settings import parse_settings
from routing.domain.targets import Owner, ValidTarget, validate_target
from routing.domain.types import (
    CatalogModel,
    DirectCredential,
    Pricing,
    Refusal,
    Tier,
    TierChoice,
    TierTable,
    Trace,
    World,
)

CHAT, RESPONSES, MESSAGES = ApiKind.CHAT_COMPLETIONS, ApiKind.RESPONSES, ApiKind.MESSAGES

SONNET = "anthropic/claude-sonnet-5"
OPUS = "anthropic/claude-opus-5"
MINI = "openai/gpt-5-mini"
PRO = "openai/gpt-5-pro"
KIMI = "moonshotai/kimi-k3"
KIMI_FREE = f"{KIMI}:free"
GLM_FREE = "z-ai/glm-5:free"
QWEN_FREE = "qwen/qwen-4:free"

NEURALWATT = "neuralwatt"
NEURALWATT_KIMI = f"{NEURALWATT}/kimi-k3"
OPENAI_BYOK = "openai-byok"

PAID = Pricing(prompt=Decimal("0.000003"), completion=Decimal("0.000015"))
GRATIS = Pricing(prompt=Decimal(0), completion=Decimal(0))


@dataclass(frozen=True, slots=True)
class Provider:
    """A direct provider as resolution knows it."""

    id: str
    name: str
    api_kinds: frozenset[ApiKind]


def _model(model_id: str, *providers: str, pricing: Pricing = PAID) -> CatalogModel:
    return CatalogModel(model_id, model_id.upper(), pricing, providers)


MODELS = (
    _model(SONNET, "anthropic", "amazon-bedrock", "google-vertex"),
    _model(OPUS),
    _model(MINI, "azure", "openai"),
    _model(PRO),
    _model(KIMI, "deepinfra", "moonshotai"),
    _model(KIMI_FREE, "chutes", pricing=GRATIS),
    _model(GLM_FREE, "chutes", "z-ai", pricing=GRATIS),
    _model(QWEN_FREE, pricing=GRATIS),
)
CATALOG: Mapping[str, CatalogModel] = {model.id: model for model in MODELS}

PROVIDERS: Mapping[str, Provider] = {
    provider.id: provider
    for provider in (
        Provider(NEURALWATT, "Neuralwatt", frozenset({CHAT})),
        Provider(OPENAI_BYOK, "OpenAI", frozenset({CHAT, RESPONSES})),
        Provider("anthropic-byok", "Anthropic", frozenset({CHAT, MESSAGES})),
    )
}

RULES: Mapping[tuple[str, str, str], TierChoice] = {
    (Tier.FRONTIER, "", ""): TierChoice((SONNET,), reasoning_effort="medium", verbosity="medium"),
    (Tier.FRONTIER, "architect", ""): TierChoice((OPUS,), reasoning_effort="high", verbosity="low"),
    (Tier.BALANCED, "", ""): TierChoice((KIMI,)),
    (Tier.BALANCED, "", RESPONSES): TierChoice((MINI,)),
    (Tier.BALANCED, "", MESSAGES): TierChoice((SONNET,)),
    (Tier.SMALL, "", ""): TierChoice((KIMI,), free_models=(KIMI_FREE,)),
    (Tier.FREE, "", ""): TierChoice((KIMI_FREE, GLM_FREE, QWEN_FREE)),
    (Tier.EFFICIENT, "", ""): TierChoice((MINI,)),
}


def world(
    *,
    catalog: Mapping[str, CatalogModel] | None = CATALOG,
    rules: Mapping[tuple[str, str, str], TierChoice] = RULES,
    providers: Mapping[str, Provider] = PROVIDERS,
) -> World:
    return World(catalog=catalog, direct_providers=providers, tiers=TierTable(rules))


WORLD = world()


def credential(provider_id: str, *models: str, any_model: bool = False) -> DirectCredential:
    """An enabled credential for these models, in the provider's own spelling."""
    offered = None if any_model else {model.lower(): model for model in models}
    return DirectCredential(provider_id, f"credential-of-{provider_id}", offered)


NEURALWATT_CREDENTIAL = credential(NEURALWATT, "Kimi-K3", "GLM-5:Fast")


def organization(
    stored: Mapping[str, Any] | None = None, *, plan: str = "enterprise", credentials: Iterable[DirectCredential] = ()
) -> Owner:
    """An organization with these settings, as they are stored."""
    return Owner(plan, parse_settings(stored or {}), {entry.provider_id: entry for entry in credentials})


def auto_settings(
    routes: Mapping[str, str] | None = None, fallback: str | None = "kilo-auto/balanced", **others: Any
) -> dict[str, Any]:
    """Stored settings with Organization Auto configured and enabled."""
    auto: dict[str, Any] = {"routes": dict(routes or {})}
    if fallback is not None:
        auto["fallback_model"] = fallback
    return {"default_model": "kilo-auto/org", "org_auto_model": auto, **others}


def decide(
    owner: Owner | None,
    mode: str = "",
    *,
    model: str = "kilo-auto/org",
    api_kind: ApiKind | None = CHAT,
    at: World = WORLD,
) -> Decision:
    """Resolve a request that names its mode in the header."""
    return resolve(read_request(model, mode), owner, at, api_kind=api_kind)


def validate(
    target: str, owner: Owner | None = None, *, mode: str = "", api_kind: ApiKind | None = CHAT, at: World = WORLD
) -> ValidTarget | Refusal:
    """Validate a target for an organization, by default one without a policy and without credentials."""
    return validate_target(target, owner or organization(), at, mode=mode, api_kind=api_kind, trace=Trace())


def valid(result: ValidTarget | Refusal | None) -> ValidTarget:
    assert isinstance(result, ValidTarget), result
    return result


def refused(result: ValidTarget | Refusal | None) -> Refusal:
    assert isinstance(result, Refusal), result
    return result


def model_ids(result: ValidTarget | Refusal | None) -> list[str]:
    """The concrete models that a valid target means."""
    return [choice.id for choice in valid(result).models]
