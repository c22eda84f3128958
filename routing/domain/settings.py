"""The routing part of an organization's settings, read from its JSON."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from routing.domain.types import ENTERPRISE, ORGANIZATION_AUTO


class MalformedSettings(ValueError):
    """The stored settings do not have their shape; the message names the key."""


@dataclass(frozen=True, slots=True)
class OrganizationAuto:
    """Routes by mode slug, and the target for every mode without one."""

    routes: Mapping[str, str]
    fallback_model: str | None


@dataclass(frozen=True, slots=True)
class RoutingSettings:
    """What is stored; what of it is in force depends on the plan too.

    `model_deny_list` has normalized ids, as hosted models are compared. In `exact_deny_list` they have kept what is
    behind the colon: of a direct provider's models, `gpt-oss:20b` and `gpt-oss:120b` are two.
    """

    default_model: str | None = None
    organization_auto: OrganizationAuto | None = None
    provider_allow_list: tuple[str, ...] | None = None
    model_deny_list: frozenset[str] = frozenset()
    exact_deny_list: frozenset[str] = frozenset()
    data_collection: str | None = None

    @property
    def has_model_policy(self) -> bool:
        """A provider allow list, even an empty one, or an entry in the deny list."""
        return self.provider_allow_list is not None or bool(self.model_deny_list)


def normalized_model_id(model_id: str) -> str:
    """The id as the model policy compares it: lower case, cut at the first colon, so `x:free` and `x` are one."""
    return model_id.strip().lower().partition(":")[0]


def parse_settings(stored: Mapping[str, Any]) -> RoutingSettings:
    """Read the settings of an organization; every key is optional and unknown ones are none of our business.

    Raises:
        MalformedSettings: a known key has another shape. Callers refuse: a policy that cannot be read is not "no
            policy".
    """
    denied = _text_list(stored, "model_deny_list") or ()
    return RoutingSettings(
        default_model=_optional_text(stored, "default_model"),
        organization_auto=_organization_auto(stored),
        provider_allow_list=_text_list(stored, "provider_allow_list"),
        model_deny_list=frozenset(map(normalized_model_id, denied)),
        exact_deny_list=frozenset(entry.strip().lower() for entry in denied),
        data_collection=_optional_text(stored, "data_collection"),
    )


def _optional_text(stored: Mapping[str, Any], key: str) -> str | None:
    value = stored.get(key)
    if value is None or isinstance(value, str):
        return value
    raise MalformedSettings(f"{key} must be text")


def _text_list(stored: Mapping[str, Any], key: str) -> tuple[str, ...] | None:
    value = stored.get(key)
    if value is None:
        return None
    if isinstance(value, list) and all(isinstance(entry, str) for entry in value):
        return tuple(value)
    raise MalformedSettings(f"{key} must be a list of texts")


def _organization_auto(stored: Mapping[str, Any]) -> OrganizationAuto | None:
    value = stored.get("org_auto_model")
    if value is None:
        return None
    if not isinstance(value, dict):
        raise MalformedSettings("org_auto_model must be an object")
    routes = value.get("routes", {})
    if not isinstance(routes, dict) or not all(isinstance(target, str) for target in routes.values()):
        raise MalformedSettings("org_auto_model.routes must map slugs to model ids")
    try:
        fallback = _optional_text(value, "fallback_model")
    except MalformedSettings:
        raise MalformedSettings("org_auto_model.fallback_model must be text") from None
    return OrganizationAuto(MappingProxyType(dict(routes)), fallback)


@dataclass(frozen=True, slots=True)
class State:
    """The derived states of Organization Auto; never stored."""

    eligible: bool
    configured: bool
    enabled: bool


def state_of(plan: str, settings: RoutingSettings) -> State:
    """Whether Organization Auto may be, is, and is in force set up."""
    eligible = plan == ENTERPRISE
    configured = eligible and settings.organization_auto is not None
    return State(eligible, configured, configured and settings.default_model == ORGANIZATION_AUTO)
