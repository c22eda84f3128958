"""Route health: which stored routes would be refused today."""

from __future__ import annotations

from dataclasses import dataclass

from django.db import transaction

from byok.selectors import enabled_credentials
from organizations import audit
from organizations.models import AuditAction, Organization
from organizations.services import lock_organization
from routing.catalog.index import load_current_index
from routing.catalog.tiers import load_tier_table
from routing.direct import direct_providers, without_secret
from routing.domain.settings import MalformedSettings, parse_settings, state_of
from routing.domain.targets import Owner, validate_target
from routing.domain.types import Refusal, Trace, World
from routing.models import BrokenRoute

FALLBACK = "fallback"


@dataclass(frozen=True, slots=True)
class RouteHealth:
    """One stored route or, with a blank slug, the fallback; `reason` is blank while it validates."""

    slug: str
    target: str
    reason: str = ""
    code: str = ""

    @property
    def status(self) -> str:
        return "broken" if self.code else "ok"


def route_health(organization: Organization) -> list[RouteHealth]:
    """The health of every stored route, by slug, and of the fallback last. One query beside the catalog's."""
    try:
        settings = parse_settings(organization.settings)
    except MalformedSettings as error:
        return [RouteHealth("", "", f"The stored settings are malformed: {error}.", "malformed_settings")]
    if settings.organization_auto is None:
        return []
    credentials = enabled_credentials(organization.pk)
    owner = Owner(organization.plan, settings, {key: without_secret(value) for key, value in credentials.items()})
    world = World(load_current_index().models, direct_providers(organization), load_tier_table())
    targets = [
        *sorted(settings.organization_auto.routes.items()),
        ("", settings.organization_auto.fallback_model or ""),
    ]
    return [_health(slug, target, owner, world) for slug, target in targets]


def _health(slug: str, target: str, owner: Owner, world: World) -> RouteHealth:
    result = validate_target(target, owner, world, mode=slug, api_kind=None, trace=Trace())
    if isinstance(result, Refusal):
        return RouteHealth(slug, target, result.message, result.code.value)
    return RouteHealth(slug, target)


def routes_check() -> list[tuple[Organization, RouteHealth]]:
    """Check every organization with Organization Auto on; a route that broke since the last check is noted once.

    Each organization is its own short transaction. Returns all routes that are broken now.
    """
    broken: list[tuple[Organization, RouteHealth]] = []
    enabled = Organization.objects.filter(settings__default_model="kilo-auto/org").values_list("pk", flat=True)
    for organization_id in list(enabled):
        with transaction.atomic():
            organization = lock_organization(organization_id)
            broken += [(organization, health) for health in _check(organization)]
    return broken


def _check(organization: Organization) -> list[RouteHealth]:
    """Caller holds the lock on the row."""
    try:
        is_enabled = state_of(organization.plan, parse_settings(organization.settings)).enabled
    except MalformedSettings:
        is_enabled = True
    broken = [health for health in route_health(organization) if health.code] if is_enabled else []
    known = {(row.slug, row.target): row for row in BrokenRoute.objects.filter(organization=organization)}
    for health in broken:
        if known.pop((health.slug, health.target), None) is None:
            BrokenRoute.objects.create(organization=organization, slug=health.slug, target=health.target)
            _note_broken(organization, health)
    BrokenRoute.objects.filter(pk__in=[row.pk for row in known.values()]).delete()
    return broken


def _note_broken(organization: Organization, health: RouteHealth) -> None:
    name = f'route for "{health.slug}"' if health.slug else FALLBACK
    audit.record(
        AuditAction.ROUTE_BROKEN,
        organization=organization,
        actor=audit.SYSTEM,
        message=f'Organization Auto {name} ("{health.target}") broke: {health.reason}',
        changes={"status": ("ok", "broken")},
        target_kind="route" if health.slug else FALLBACK,
        target_id=health.slug,
    )
