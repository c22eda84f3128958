"""The words of routing as types. Nothing here knows Django, a database or the network."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from enum import StrEnum
from types import MappingProxyType
from typing import Protocol

from kilo_gateway.api_kinds import ApiKind

ORGANIZATION_AUTO = "kilo-auto/org"
AUTO_PREFIX = "kilo-auto/"
INTERNAL_PREFIX = "kilo-internal/"
# Of the ids of providers that organizations register themselves.
CUSTOM_PREFIX = "custom-"
ENTERPRISE = "enterprise"
DEFAULT_FALLBACK = "kilo-auto/balanced"
MAX_ROUTES = 100
MAX_TARGET_LENGTH = 200


class Tier(StrEnum):
    """The auto tiers, by the part of the model id after `kilo-auto/`."""

    FRONTIER = "frontier"
    BALANCED = "balanced"
    SMALL = "small"
    FREE = "free"
    EFFICIENT = "efficient"

    @property
    def model_id(self) -> str:
        return f"{AUTO_PREFIX}{self.value}"


TARGET_TIERS = frozenset({Tier.FRONTIER, Tier.BALANCED, Tier.SMALL, Tier.FREE})


class RouteKind(StrEnum):
    """By which rule a target was found; `direct` when the client named the model itself."""

    EXACT = "exact"
    ALIAS = "alias"
    FALLBACK = "fallback"
    DIRECT = "direct"


class TargetKind(StrEnum):
    """What a target is."""

    HOSTED = "hosted"
    TIER = "tier"
    DIRECT = "direct"


class RefusalCode(StrEnum):
    """Why a request or a target is refused. Stable: clients and tests may rely on the text."""

    NOT_AVAILABLE = "organization_auto_not_available"
    NOT_CONFIGURED = "organization_auto_not_configured"
    NOT_ENABLED = "organization_auto_not_enabled"
    NO_FALLBACK = "no_fallback"
    MALFORMED_SETTINGS = "malformed_settings"
    TARGET_REQUIRED = "target_required"
    TARGET_TOO_LONG = "target_too_long"
    NOT_CONCRETE = "not_a_concrete_model"
    SELF_TARGET = "targets_itself"
    INTERNAL_MODEL = "internal_model"
    NO_CREDENTIAL = "no_enabled_credential"
    API_KIND_NOT_SUPPORTED = "api_kind_not_supported"
    NOT_A_TARGET_TIER = "not_a_target_tier"
    TIER_UNDER_POLICY = "tier_under_model_policy"
    TIER_UNDEFINED = "tier_undefined"
    MODEL_UNAVAILABLE = "model_unavailable"
    CATALOG_UNAVAILABLE = "catalog_unavailable"
    MODEL_DENIED = "model_denied"
    ROUTER_UNDER_POLICY = "router_under_model_policy"
    PROVIDER_NOT_ALLOWED = "provider_not_allowed"
    NO_FREE_MODELS = "no_free_models_available"


@dataclass(frozen=True, slots=True)
class Refusal:
    """A stable code and a sentence for a person."""

    code: RefusalCode
    message: str


@dataclass(frozen=True, slots=True)
class Pricing:
    """US dollars per token; None where unknown."""

    prompt: Decimal | None = None
    completion: Decimal | None = None
    cache_read: Decimal | None = None
    cache_write: Decimal | None = None

    @property
    def is_free(self) -> bool:
        return self.prompt == 0 and self.completion == 0


@dataclass(frozen=True, slots=True)
class CatalogModel:
    """A hosted model as the current catalog snapshot describes it.

    `is_router` marks an id that the upstream leads to a model of its own choice: a router, or an alias for the newest.
    `context_length` and `max_output_tokens` are the largest of all providers that serve it; None where unknown.
    """

    id: str
    name: str
    pricing: Pricing = field(default_factory=Pricing)
    serving_providers: tuple[str, ...] = ()
    is_router: bool = False
    context_length: int | None = None
    max_output_tokens: int | None = None

    @property
    def providers(self) -> tuple[str, ...]:
        """Slugs of the providers that serve it; its author's where none is known."""
        return self.serving_providers or (self.id.partition("/")[0],)


class DirectProvider(Protocol):
    """What resolution needs to know of a provider that an organization can reach with a credential of its own."""

    @property
    def id(self) -> str: ...
    @property
    def name(self) -> str: ...
    @property
    def api_kinds(self) -> frozenset[ApiKind]: ...


@dataclass(frozen=True, slots=True)
class DirectCredential:
    """An enabled credential of the organization, without its secret.

    `models` maps the lower-cased id of each model that the key can use to the provider's own spelling; None when the
    provider has no model list, and then any id is taken as it is. With `takes_others` the provider is known to serve
    more than it lists, and other ids are taken as well.
    """

    provider_id: str
    public_id: str
    models: Mapping[str, str] | None = None
    takes_others: bool = False

    def spelling(self, model_id: str, written: str) -> str | None:
        """What the provider is asked for: its spelling of a listed model, else what was written, where that goes."""
        listed = (self.models or {}).get(model_id)
        if listed is not None:
            return listed
        return written if self.models is None or self.takes_others else None


@dataclass(frozen=True, slots=True)
class TierChoice:
    """What a tier means for one mode and API kind."""

    models: tuple[str, ...]
    free_models: tuple[str, ...] = ()
    reasoning_effort: str = ""
    verbosity: str = ""


@dataclass(frozen=True, slots=True)
class TierTable:
    """The installation's rules, keyed by (tier, mode or "", API kind or "")."""

    rules: Mapping[tuple[str, str, str], TierChoice] = field(default_factory=lambda: MappingProxyType({}))

    def choice(self, tier: Tier, mode: str, api_kind: ApiKind | None) -> TierChoice | None:
        """The most specific rule; one that names the mode is more specific than one that names the API kind."""
        kind = api_kind.value if api_kind else ""
        for key in ((tier.value, mode, kind), (tier.value, mode, ""), (tier.value, "", kind), (tier.value, "", "")):
            if (found := self.rules.get(key)) is not None:
                return found
        return None


@dataclass(frozen=True, slots=True)
class World:
    """What the installation offers. `catalog` is None when it could not be read."""

    catalog: Mapping[str, CatalogModel] | None
    direct_providers: Mapping[str, DirectProvider]
    tiers: TierTable


@dataclass(frozen=True, slots=True)
class Step:
    """One line of a trace: what was looked at, what came out, and why."""

    name: str
    looked_at: str
    outcome: str
    reason: str = ""


class Trace:
    """Collects the steps of one resolution in the order in which they were taken."""

    __slots__ = ("_steps",)

    def __init__(self) -> None:
        self._steps: list[Step] = []

    def add(self, name: str, looked_at: str, outcome: str, reason: str = "") -> None:
        self._steps.append(Step(name, looked_at, outcome, reason))

    def refuse(self, name: str, looked_at: str, refusal: Refusal) -> Refusal:
        """Note a step that ends the resolution, and hand its refusal on."""
        self.add(name, looked_at, "refused", refusal.message)
        return refusal

    def __iter__(self) -> Iterator[Step]:
        return iter(self._steps)

    def steps(self) -> tuple[Step, ...]:
        return tuple(self._steps)


class NoTrace(Trace):
    """For whoever reads no steps: most of the time that a resolution takes goes into them."""

    __slots__ = ()

    def add(self, name: str, looked_at: str, outcome: str, reason: str = "") -> None:
        """Nothing is collected."""
