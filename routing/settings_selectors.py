"""Reading what an organization's routing is set to, and how it came to be so: for the API and the pages alike."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final
from uuid import UUID

from django.http import Http404

from kilo_gateway.api_errors import ErrorType, GatewayError
from organizations.models import Organization, SettingsVersion
from organizations.selectors import routing_settings
from routing.catalog.cache import CatalogUnreadable
from routing.catalog.index import load_current_index
from routing.domain.diff import Difference, settings_difference
from routing.domain.policy import policy_in_force
from routing.domain.settings import MalformedSettings, RoutingSettings, parse_settings, state_of
from routing.domain.types import RefusalCode
from routing.services.health import RouteHealth, route_health

HISTORY_PAGE: Final = 100


def readable_settings(organization: Organization) -> RoutingSettings:
    """The parsed settings.

    Raises:
        GatewayError: 409 when they are malformed: a policy that cannot be read is not "no policy".
    """
    try:
        return parse_settings(organization.settings)
    except MalformedSettings as error:
        raise GatewayError(
            ErrorType.CONFLICT,
            409,
            f"The organization's routing settings are malformed: {error}.",
            code=RefusalCode.MALFORMED_SETTINGS.value,
        ) from error


def organization_auto_state(organization: Organization) -> dict[str, Any]:
    """The derived states, and all stored targets with their health, in force or not."""
    settings = readable_settings(organization)
    state = state_of(organization.plan, settings)
    health = route_health(organization)
    return {
        "eligible": state.eligible,
        "configured": state.configured,
        "enabled": state.enabled,
        "default_model": settings.default_model,
        "routes": [{"slug": route.slug, **_health(route)} for route in health if route.slug],
        "fallback": next((_health(route) for route in health if not route.slug), None),
    }


def _health(route: RouteHealth) -> dict[str, str | None]:
    return {
        "target": route.target or None,
        "status": route.status,
        "reason": route.reason or None,
        "code": route.code or None,
    }


def route_of(organization_id: UUID, slug: str) -> tuple[Organization, str | None]:
    """The organization as it is now, and the target that is stored for a mode. One query."""
    organization = Organization.objects.get(pk=organization_id)
    auto = readable_settings(organization).organization_auto
    return organization, auto.routes.get(slug) if auto else None


def model_policy_state(organization: Organization) -> dict[str, Any]:
    """The model policy as stored, and whether it is in force."""
    settings = readable_settings(organization)
    allowed, denied = settings.provider_allow_list, organization.settings.get("model_deny_list")
    return {
        "provider_allow_list": None if allowed is None else list(allowed),
        "model_deny_list": list(denied or ()),
        "enforced": policy_in_force(organization.plan, settings),
        "default_model": settings.default_model,
    }


def unknown_providers(organization: Organization) -> list[str] | None:
    """What the provider allow list names and the catalog does not know, so that it allows nothing today.

    One query. None while the catalog cannot be read.
    """
    allowed = readable_settings(organization).provider_allow_list or ()
    try:
        known = {provider.slug for provider in load_current_index().providers()}
    except CatalogUnreadable:
        return None
    return [slug for slug in allowed if slug not in known]


def settings_versions(organization_id: UUID, *, before: int | None = None) -> list[SettingsVersion]:
    """A page of the kept versions with their audit rows, newest first; with `before` only older ones. One query."""
    versions = SettingsVersion.objects.filter(organization_id=organization_id).select_related("audit_log")
    if before is not None:
        versions = versions.filter(routing_version__lt=before)
    return list(versions.order_by("-routing_version")[:HISTORY_PAGE])


@dataclass(frozen=True, slots=True)
class Comparison:
    """A kept version, the one that it is compared with (None: with nothing), and what differs between them."""

    version: SettingsVersion
    against: SettingsVersion | None
    differences: list[Difference]

    @property
    def settings(self) -> dict[str, Any]:
        return routing_settings(self.version)


def settings_comparison(organization_id: UUID, version: int, *, against: int | None = None) -> Comparison:
    """A version compared with another one, or with the one before it. Two queries.

    Raises:
        Http404: one of them was not kept.
    """
    versions = SettingsVersion.objects.filter(organization_id=organization_id).select_related("audit_log")
    found = versions.filter(routing_version=version).first()
    others = (
        versions.filter(routing_version__lt=version) if against is None else versions.filter(routing_version=against)
    )
    other = others.order_by("-routing_version").first()
    if found is None or (against is not None and other is None):
        raise Http404
    differences = settings_difference(routing_settings(other) if other else {}, routing_settings(found))
    return Comparison(found, other, differences)
