"""May this target be used? The same answer for every write and every request."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from kilo_gateway.api_kinds import ApiKind
from routing.domain.policy import denied_directly, judge, policy_in_force
from routing.domain.settings import RoutingSettings
from routing.domain.types import (
    AUTO_PREFIX,
    CUSTOM_PREFIX,
    INTERNAL_PREFIX,
    MAX_TARGET_LENGTH,
    ORGANIZATION_AUTO,
    TARGET_TIERS,
    DirectCredential,
    Refusal,
    RefusalCode,
    TargetKind,
    Tier,
    TierChoice,
    Trace,
    World,
)

_OF_THE_POLICY = frozenset(
    {RefusalCode.MODEL_DENIED, RefusalCode.PROVIDER_NOT_ALLOWED, RefusalCode.ROUTER_UNDER_POLICY}
)


@dataclass(frozen=True, slots=True)
class Owner:
    """Whose request or setting it is: the plan, the settings and the enabled credentials of one organization.

    `credentials` is keyed by provider id and holds the organization's own only; a person's never count.
    """

    plan: str
    settings: RoutingSettings
    credentials: Mapping[str, DirectCredential]


@dataclass(frozen=True, slots=True)
class ModelChoice:
    """A concrete model: its canonical id, what is sent upstream, and to which providers it is confined (None: any)."""

    id: str
    upstream_id: str
    only_providers: tuple[str, ...] | None = None
    is_free: bool = False


@dataclass(frozen=True, slots=True)
class ValidTarget:
    """A target that may be used, with the concrete models that it means for this mode and API kind.

    A hosted or direct target means one model. A tier may mean several (`free`), of which a session is given one, and
    has `free_models` for an organization without a hosted balance.
    """

    id: str
    kind: TargetKind
    models: tuple[ModelChoice, ...]
    free_models: tuple[ModelChoice, ...] = ()
    provider_id: str = ""
    credential_id: str = ""
    reasoning_effort: str = ""
    verbosity: str = ""


def validate_target(
    target: str, owner: Owner, world: World, *, mode: str, api_kind: ApiKind | None, trace: Trace
) -> ValidTarget | Refusal:
    """Validate a target of a route or a fallback, in the order of the rules; the first that fails refuses.

    Args:
        target: A model id as typed or stored.
        mode: The mode for which a tier is resolved; blank for any.
        api_kind: How the model will be asked, or None when that is not known yet (writes).
        trace: Receives one step for each rule that was looked at.
    """
    model_id = target.strip().lower()
    if (refusal := _malformed(model_id)) is not None:
        return trace.refuse("target", target.strip()[:MAX_TARGET_LENGTH], refusal)
    trace.add("target", model_id, "well formed")
    direct = validate_direct(model_id, owner, world, api_kind=api_kind, trace=trace)
    if direct is not None:
        return direct
    if model_id.startswith(AUTO_PREFIX):
        return _validate_tier_target(model_id, owner, world, mode=mode, api_kind=api_kind, trace=trace)
    return validate_hosted(model_id, owner, world, trace=trace)


def _malformed(model_id: str) -> Refusal | None:
    if not model_id:
        return Refusal(RefusalCode.TARGET_REQUIRED, "A target model is required.")
    if len(model_id) > MAX_TARGET_LENGTH:
        return Refusal(RefusalCode.TARGET_TOO_LONG, f"A target has at most {MAX_TARGET_LENGTH} characters.")
    if model_id.endswith("/*"):
        return Refusal(RefusalCode.NOT_CONCRETE, f'"{model_id}" is not a concrete model.')
    if model_id == ORGANIZATION_AUTO:
        return Refusal(RefusalCode.SELF_TARGET, "Organization Auto cannot target itself.")
    if model_id.startswith(INTERNAL_PREFIX):
        return Refusal(RefusalCode.INTERNAL_MODEL, f'"{model_id}" is an internal model and cannot be used.')
    return None


def validate_direct(
    model_id: str, owner: Owner, world: World, *, api_kind: ApiKind | None, trace: Trace, written: str = ""
) -> ValidTarget | Refusal | None:
    """Validate a model behind a direct provider; None when the id belongs to no direct provider.

    An id with a direct provider's prefix never falls through to a hosted model of the same name: without the
    credential it is refused.

    Args:
        written: The same id as a client spelled it. A provider that takes any id is asked for it in that spelling.
    """
    provider_id, _, rest = model_id.partition("/")
    provider = world.direct_providers.get(provider_id)
    if not rest:
        return None
    if provider is None:
        return _no_such_provider(model_id, provider_id, trace)
    credential = owner.credentials.get(provider.id)
    if credential is None:
        message = f'"{model_id}" is unavailable: no enabled credential for {provider.name}.'
        return trace.refuse("credential", provider.id, Refusal(RefusalCode.NO_CREDENTIAL, message))
    trace.add("credential", provider.id, credential.public_id)
    upstream_id = credential.spelling(rest, written.partition("/")[2] or rest)
    if upstream_id is None:
        message = f'"{model_id}" is unavailable: the credential for {provider.name} offers no such model.'
        return trace.refuse("offer", model_id, Refusal(RefusalCode.MODEL_UNAVAILABLE, message))
    if api_kind is not None and api_kind not in provider.api_kinds:
        message = f'{provider.name} does not support the API "{api_kind}" that "{model_id}" was asked with.'
        return trace.refuse("api kind", api_kind, Refusal(RefusalCode.API_KIND_NOT_SUPPORTED, message))
    if (refusal := denied_directly(model_id, owner.plan, owner.settings)) is not None:
        return trace.refuse("model policy", model_id, refusal)
    trace.add("model policy", model_id, "allowed", "direct models are exempt from the provider allow list")
    return ValidTarget(
        id=model_id,
        kind=TargetKind.DIRECT,
        models=(ModelChoice(model_id, upstream_id),),
        provider_id=provider.id,
        credential_id=credential.public_id,
    )


def _no_such_provider(model_id: str, provider_id: str, trace: Trace) -> Refusal | None:
    """The refusal for a provider that the organization does not have, or has no more; None for all other ids."""
    if not provider_id.startswith(CUSTOM_PREFIX):
        return None
    message = f'"{model_id}" is unavailable: the organization has no provider "{provider_id}".'
    return trace.refuse("provider", provider_id, Refusal(RefusalCode.MODEL_UNAVAILABLE, message))


def _validate_tier_target(
    model_id: str, owner: Owner, world: World, *, mode: str, api_kind: ApiKind | None, trace: Trace
) -> ValidTarget | Refusal:
    tier = tier_of(model_id)
    if tier is None or tier not in TARGET_TIERS:
        refusal = Refusal(RefusalCode.NOT_A_TARGET_TIER, f'"{model_id}" is not an auto tier that can be a target.')
        return trace.refuse("tier", model_id, refusal)
    if policy_in_force(owner.plan, owner.settings):
        message = (
            f'"{model_id}" cannot be a target while a model policy is active: it can move to a model that the policy '
            "refuses. Choose a concrete model."
        )
        return trace.refuse("tier", model_id, Refusal(RefusalCode.TIER_UNDER_POLICY, message))
    return resolve_tier(tier, owner, world, mode=mode, api_kind=api_kind, trace=trace)


def tier_of(model_id: str) -> Tier | None:
    """The auto tier that a model id names, if it names one."""
    return next((tier for tier in Tier if tier.model_id == model_id), None)


def resolve_tier(
    tier: Tier, owner: Owner, world: World, *, mode: str, api_kind: ApiKind | None, trace: Trace
) -> ValidTarget | Refusal:
    """What a tier means for this mode and API kind, each of its models checked like a hosted one.

    This is the recursion boundary: whatever the installation's table says, a tier never leads back to an auto model.
    A tier of several models keeps those that pass; it is refused when none does.
    """
    choice = world.tiers.choice(tier, mode, api_kind)
    if choice is None or not choice.models:
        message = f'The installation has not said what "{tier.model_id}" means. Ask its operator to add a rule.'
        return trace.refuse("tier", tier.model_id, Refusal(RefusalCode.TIER_UNDEFINED, message))
    trace.add("tier", tier.model_id, ", ".join(choice.models))
    models = [_tier_model(model, owner, world, trace) for model in choice.models]
    usable = tuple(model for model in models if isinstance(model, ModelChoice))
    if not usable:
        return _no_usable_model(tier, models, trace)
    return ValidTarget(
        id=tier.model_id,
        kind=TargetKind.TIER,
        models=usable,
        free_models=_free_variants(choice, owner, world),
        reasoning_effort=choice.reasoning_effort,
        verbosity=choice.verbosity,
    )


def _free_variants(choice: TierChoice, owner: Owner, world: World) -> tuple[ModelChoice, ...]:
    """The usable ones; they matter to no one but an organization without a balance, so the trace leaves them out."""
    variants = (_tier_model(model, owner, world, Trace()) for model in choice.free_models)
    return tuple(model for model in variants if isinstance(model, ModelChoice))


def _no_usable_model(tier: Tier, results: list[ModelChoice | Refusal], trace: Trace) -> Refusal:
    first = next(result for result in results if isinstance(result, Refusal))
    # Without a catalog nobody knows which models there are, and that is what has to be said.
    if tier is Tier.FREE and first.code is not RefusalCode.CATALOG_UNAVAILABLE:
        codes = {result.code for result in results if isinstance(result, Refusal)}
        message = "No free model is available at the moment."
        if codes & _OF_THE_POLICY:
            message = "The model policy of the organization allows none of the free models that are available."
        refusal = Refusal(RefusalCode.NO_FREE_MODELS, message)
        return trace.refuse("tier", tier.model_id, refusal)
    return first


def _tier_model(model_id: str, owner: Owner, world: World, trace: Trace) -> ModelChoice | Refusal:
    if model_id.startswith((AUTO_PREFIX, INTERNAL_PREFIX)):
        refusal = Refusal(RefusalCode.SELF_TARGET, f'An auto tier cannot lead to "{model_id}".')
        return trace.refuse("tier", model_id, refusal)
    target = validate_hosted(model_id, owner, world, trace=trace)
    return target if isinstance(target, Refusal) else target.models[0]


def validate_hosted(model_id: str, owner: Owner, world: World, *, trace: Trace) -> ValidTarget | Refusal:
    """Validate a concrete hosted model: in the catalog, suffix included, and passed by the model policy."""
    if world.catalog is None:
        refusal = Refusal(RefusalCode.CATALOG_UNAVAILABLE, "The model catalog cannot be read at the moment.")
        return trace.refuse("catalog", model_id, refusal)
    model = world.catalog.get(model_id)
    if model is None:
        refusal = Refusal(RefusalCode.MODEL_UNAVAILABLE, f'"{model_id}" is unavailable: it is not in the catalog.')
        return trace.refuse("catalog", model_id, refusal)
    trace.add("catalog", model_id, "found")
    verdict = judge(model, owner.plan, owner.settings)
    if isinstance(verdict, Refusal):
        return trace.refuse("model policy", model_id, verdict)
    trace.add("model policy", model_id, "allowed", f"providers: {', '.join(verdict)}" if verdict else "any provider")
    choice = ModelChoice(model.id, model.id, verdict, model.pricing.is_free)
    return ValidTarget(id=model.id, kind=TargetKind.HOSTED, models=(choice,))
