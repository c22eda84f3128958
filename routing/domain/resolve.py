"""Resolution: which model serves this request, or why none does. Pure: the same input gives the same trace."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

from kilo_gateway.api_kinds import ApiKind
from routing.domain.settings import OrganizationAuto, RoutingSettings, state_of
from routing.domain.targets import (
    ModelChoice,
    Owner,
    ValidTarget,
    resolve_tier,
    tier_of,
    validate_direct,
    validate_hosted,
    validate_target,
)
from routing.domain.types import (
    INTERNAL_PREFIX,
    ORGANIZATION_AUTO,
    Refusal,
    RefusalCode,
    RouteKind,
    Step,
    Trace,
    World,
)

MAX_MODE_LENGTH = 500
# One way only: the agent's `build` follows the route of `code`, and `plan` that of `architect`.
ROUTE_ALIASES: Mapping[str, str] = {"build": "code", "plan": "architect"}


@dataclass(frozen=True, slots=True)
class Asked:
    """What a request asks for, as far as routing is concerned: the model id and the mode, both normalized.

    `written` is the model id as the client spelled it, where that matters: before a provider that lists no models.
    """

    model: str
    mode: str
    mode_source: str
    written: str = ""

    @property
    def is_organization_auto(self) -> bool:
        return self.model == ORGANIZATION_AUTO


def normalized_mode(text: str) -> str:
    """The first 500 characters, trimmed, in lower case."""
    return text[:MAX_MODE_LENGTH].strip().lower()


def read_request(model: str, mode_header: str = "", key_default_mode: str = "") -> Asked:
    """Find the mode: the header is stronger than a suffix of the model id, and that than the key's default mode.

    A blank header counts as absent. Only `kilo-auto/org` has a mode as suffix; elsewhere a suffix is part of the id.
    """
    model_id = model.strip().lower()
    written = "" if model_id == model.strip() else model.strip()
    suffix = ""
    if model_id.startswith(f"{ORGANIZATION_AUTO}:"):
        model_id, _, suffix = model_id.partition(":")
    if model_id == ORGANIZATION_AUTO:
        written = ""
    for source, text in (("header", mode_header), ("model suffix", suffix), ("api key", key_default_mode)):
        if mode := normalized_mode(text):
            return Asked(model_id, mode, source, written)
    return Asked(model_id, "", "none", written)


@dataclass(frozen=True, slots=True)
class Route:
    """A route that was found: its target, and by which rule."""

    target: str
    kind: RouteKind
    label: str


def find_route(auto: OrganizationAuto, mode: str) -> Route | None:
    """Exact match, else the alias of `build` and `plan`, else the fallback; None when there is no fallback either."""
    if mode and mode in auto.routes:
        return Route(auto.routes[mode], RouteKind.EXACT, f"exact:{mode}")
    alias = ROUTE_ALIASES.get(mode)
    if alias is not None and alias in auto.routes:
        return Route(auto.routes[alias], RouteKind.ALIAS, f"alias:{mode}->{alias}")
    if auto.fallback_model:
        return Route(auto.fallback_model, RouteKind.FALLBACK, "fallback")
    return None


@dataclass(frozen=True, slots=True)
class Decision:
    """What was decided, with the steps that led there. Either `target` or `refusal` is set."""

    asked: Asked
    route: Route | None
    target: ValidTarget | None
    refusal: Refusal | None
    steps: tuple[Step, ...]

    @property
    def route_label(self) -> str:
        return self.route.label if self.route else ""

    @property
    def auto_model(self) -> str:
        """The auto model that was asked for, if one was."""
        asked = self.asked.model
        return asked if asked == ORGANIZATION_AUTO or tier_of(asked) else ""


def resolve(asked: Asked, owner: Owner | None, world: World, *, api_kind: ApiKind | None) -> Decision:
    """Resolve one request.

    Args:
        owner: The organization, or None for a person who acts for none.
        api_kind: None when explaining without one.
    """
    trace = Trace()
    trace.add("model", asked.model, "Organization Auto" if asked.is_organization_auto else "asked for directly")
    trace.add("mode", asked.mode, f"from {asked.mode_source}" if asked.mode else "none")
    route: Route | None
    result: ValidTarget | Refusal
    if asked.is_organization_auto:
        route, result = _resolve_organization_auto(asked, owner, world, api_kind, trace)
    else:
        route = Route(asked.model, RouteKind.DIRECT, RouteKind.DIRECT.value)
        nobody = Owner(plan="", settings=RoutingSettings(), credentials={})
        result = _resolve_asked_for(asked, owner or nobody, world, api_kind, trace)
    if isinstance(result, Refusal):
        return Decision(asked, route, None, result, trace.steps())
    return Decision(asked, route, result, None, trace.steps())


def _resolve_organization_auto(
    asked: Asked, owner: Owner | None, world: World, api_kind: ApiKind | None, trace: Trace
) -> tuple[Route | None, ValidTarget | Refusal]:
    if owner is None or not (state := state_of(owner.plan, owner.settings)).eligible:
        refusal = Refusal(RefusalCode.NOT_AVAILABLE, "Organization Auto is not available for this account.")
        return None, trace.refuse("eligible", owner.plan if owner else "no organization", refusal)
    trace.add("eligible", owner.plan, "yes")
    auto = owner.settings.organization_auto
    if not state.configured or auto is None:
        refusal = Refusal(RefusalCode.NOT_CONFIGURED, "Organization Auto is not configured for this organization.")
        return None, trace.refuse("configured", "org_auto_model", refusal)
    trace.add("configured", "org_auto_model", "yes")
    if not state.enabled:
        refusal = Refusal(RefusalCode.NOT_ENABLED, "Organization Auto is not enabled for this organization.")
        return None, trace.refuse("enabled", owner.settings.default_model or "no default model", refusal)
    trace.add("enabled", ORGANIZATION_AUTO, "yes")
    route = find_route(auto, asked.mode)
    if route is None:
        refusal = Refusal(RefusalCode.NO_FALLBACK, "Organization Auto has no fallback configured.")
        return None, trace.refuse("route", asked.mode, refusal)
    trace.add("route", asked.mode, route.label, f"target {route.target}")
    return route, validate_target(route.target, owner, world, mode=asked.mode, api_kind=api_kind, trace=trace)


def _resolve_asked_for(
    asked: Asked, owner: Owner, world: World, api_kind: ApiKind | None, trace: Trace
) -> ValidTarget | Refusal:
    """A model that the client named itself: a direct one, an auto tier, or a hosted one of the catalog."""
    if asked.model.startswith(INTERNAL_PREFIX):
        refusal = Refusal(RefusalCode.INTERNAL_MODEL, f'"{asked.model}" is an internal model and cannot be used.')
        return trace.refuse("model", asked.model, refusal)
    direct = validate_direct(asked.model, owner, world, api_kind=api_kind, trace=trace, written=asked.written)
    if direct is not None:
        return direct
    if (tier := tier_of(asked.model)) is not None:
        return resolve_tier(tier, owner, world, mode=asked.mode, api_kind=api_kind, trace=trace)
    return validate_hosted(asked.model, owner, world, trace=trace)


def choose_model(target: ValidTarget, *, session: str, has_hosted_balance: bool) -> ModelChoice:
    """The concrete model for this request: of several, the same one for the whole session.

    Args:
        session: What identifies the session: the task id, else the user's id.
    """
    models = target.models
    if not has_hosted_balance and target.free_models:
        models = target.free_models
    if len(models) == 1:
        return models[0]
    digest = hashlib.sha256(session.encode("utf-8", "surrogatepass")).digest()
    return models[int.from_bytes(digest[:8], "big") % len(models)]
