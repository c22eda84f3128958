"""Route health: which stored routes would be refused today."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from django.db import transaction
from django.db.models import QuerySet

from byok.providers import Provider
from byok.selectors import StoredCredential, enabled_credentials
from kilo_gateway.api_kinds import ApiKind
from organizations import audit
from organizations.models import AuditAction, Organization
from organizations.services import lock_organization
from routing.direct import Unusable, direct_providers, unusable, without_secrets
from routing.domain.settings import MalformedSettings, OrganizationAuto, RoutingSettings, parse_settings, state_of
from routing.domain.targets import Owner, ValidTarget, validate_target
from routing.domain.types import (
    AUTO_PREFIX,
    CUSTOM_PREFIX,
    CatalogModel,
    NoTrace,
    Refusal,
    TargetKind,
    TierTable,
    World,
)
from routing.models import BrokenRoute
from routing.selectors import Offer, routing_inputs

FALLBACK = "fallback"


class RouteHealth(NamedTuple):
    """One stored route or, with a blank slug, the fallback; `reason` is blank while it validates."""

    slug: str
    target: str
    reason: str = ""
    code: str = ""

    @property
    def status(self) -> str:
        return "broken" if self.code else "ok"


def route_health(organization: Organization) -> list[RouteHealth]:
    """The health of every stored route, by slug, and of the fallback last. One query, three when the organization has
    providers of its own.

    Raises:
        CatalogUnreadable: the catalog cannot be read, so nobody knows.
    """
    try:
        settings = parse_settings(organization.settings)
    except MalformedSettings as error:
        return [RouteHealth("", "", f"The stored settings are malformed: {error}.", "malformed_settings")]
    if settings.organization_auto is None:
        return []
    found = routing_inputs(organization.pk)
    checker = _Checker(
        organization.plan,
        settings,
        found.credentials,
        found.providers,
        catalog=found.index.models,
        tiers=found.tiers,
    )
    return [checker.check(slug, target) for slug, target in _targets(settings.organization_auto)]


def offered_health(offer: Offer) -> list[RouteHealth]:
    """The same for an organization whose offer has been read already: no query."""
    if offer.settings.organization_auto is None:
        return []
    checker = _Checker(
        offer.plan, offer.settings, offer.credentials, offer.providers, catalog=offer.index.models, tiers=offer.tiers
    )
    return [checker.check(slug, target) for slug, target in _targets(offer.settings.organization_auto)]


def _targets(auto: OrganizationAuto) -> list[tuple[str, str]]:
    """The stored routes by slug, and the fallback last, with a blank one."""
    return [*sorted(auto.routes.items()), ("", auto.fallback_model or "")]


class _Checker:
    """Validates the targets of one organization as its requests will, and opens each credential once."""

    def __init__(
        self,
        plan: str,
        settings: RoutingSettings,
        credentials: Mapping[str, StoredCredential],
        providers: Mapping[str, Provider],
        *,
        catalog: Mapping[str, CatalogModel] | None,
        tiers: TierTable,
    ) -> None:
        self._owner = Owner(plan, settings, without_secrets(credentials, providers))
        self._world = World(catalog, providers, tiers)
        self._credentials, self._providers = credentials, providers
        self._opened: dict[str, Unusable | None] = {}
        self._trace = NoTrace()

    def check(self, slug: str, target: str) -> RouteHealth:
        """What a request in this mode would be told; a tier is asked for in every API, as it may differ."""
        is_tier = target.strip().lower().startswith(AUTO_PREFIX)
        for kind in ApiKind if is_tier else (None,):
            result = validate_target(target, self._owner, self._world, mode=slug, api_kind=kind, trace=self._trace)
            if isinstance(result, Refusal):
                return RouteHealth(slug, target, result.message, result.code.value)
            if (found := self._unusable(result)) is not None:
                return RouteHealth(slug, target, found.message, found.code)
        return RouteHealth(slug, target)

    def _unusable(self, target: ValidTarget) -> Unusable | None:
        if target.kind is not TargetKind.DIRECT:
            return None
        name = target.provider_id
        if name not in self._opened:
            self._opened[name] = unusable(self._credentials[name], self._providers[name])
        return self._opened[name]


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
    _remember(organization, broken, BrokenRoute.objects.filter(organization=organization))
    return broken


def direct_routes_check(organization: Organization) -> None:
    """The same for what leads to direct models only, after a change of keys. Caller holds the lock on the row.

    Needs no catalog: to take a key out of use works while that cannot be read.
    """
    try:
        settings = parse_settings(organization.settings)
    except MalformedSettings:
        return
    if settings.organization_auto is None or not state_of(organization.plan, settings).enabled:
        return
    providers = direct_providers(organization)
    checker = _Checker(
        organization.plan, settings, enabled_credentials(organization.pk), providers, catalog=None, tiers=TierTable()
    )
    targets = [
        (slug, target)
        for slug, target in _targets(settings.organization_auto)
        if (prefix := target.partition("/")[0]) in providers or prefix.startswith(CUSTOM_PREFIX)
    ]
    checked = [checker.check(slug, target) for slug, target in targets]
    rows = BrokenRoute.objects.filter(organization=organization, target__in=[target for _, target in targets])
    _remember(organization, [health for health in checked if health.code], rows)


def _remember(organization: Organization, broken: list[RouteHealth], rows: QuerySet[BrokenRoute]) -> None:
    """Note what is broken and not among the known rows; forget those of them that are not broken any more."""
    known = {(row.slug, row.target): row for row in rows}
    for health in broken:
        if known.pop((health.slug, health.target), None) is None:
            BrokenRoute.objects.create(organization=organization, slug=health.slug, target=health.target)
            _note_broken(organization, health)
    BrokenRoute.objects.filter(pk__in=[row.pk for row in known.values()]).delete()


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
