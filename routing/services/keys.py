"""What routing tells the apps below it about the keys of providers; see `byok.dependents`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from byok.dependents import Dependent, DependentKind
from byok.selectors import enabled_credentials
from organizations.models import Organization
from routing.direct import direct_providers, without_secrets
from routing.domain.settings import MalformedSettings, RoutingSettings, parse_settings
from routing.domain.targets import Owner, validate_target
from routing.domain.types import Refusal, TierTable, Trace, World
from routing.services.health import direct_routes_check


class RoutesAndKeys:
    """Routing as `byok.dependents.Routing` has it."""

    def dependents(self, organization: Organization) -> Mapping[str, Sequence[Dependent]]:
        """By the prefix of the target; nothing for settings that cannot be read, which serve no request anyhow."""
        try:
            settings = parse_settings(organization.settings)
        except MalformedSettings:
            return {}
        found: dict[str, list[Dependent]] = {}
        for dependent in _named(settings):
            found.setdefault(dependent.target.partition("/")[0].strip().lower(), []).append(dependent)
        return found

    def broken(self, organization: Organization, provider_id: str) -> Sequence[Dependent]:
        """Each judged by what is stored now, for an API that its provider has."""
        dependents = self.dependents(organization).get(provider_id, ())
        if not dependents:
            return []
        providers = direct_providers(organization)
        credentials = without_secrets(enabled_credentials(organization.pk), providers)
        owner = Owner(organization.plan, parse_settings(organization.settings), credentials)
        world = World(None, providers, TierTable())
        return [dependent for dependent in dependents if _is_refused(dependent.target, owner, world)]

    def note_broken(self, organization: Organization) -> None:
        """See `direct_routes_check`."""
        direct_routes_check(organization)


def _is_refused(target: str, owner: Owner, world: World) -> bool:
    return isinstance(validate_target(target, owner, world, mode="", api_kind=None, trace=Trace()), Refusal)


def _named(settings: RoutingSettings) -> list[Dependent]:
    auto, found = settings.organization_auto, []
    if auto is not None:
        found += [Dependent(DependentKind.ROUTE, slug, target) for slug, target in sorted(auto.routes.items())]
        if auto.fallback_model:
            found.append(Dependent(DependentKind.FALLBACK, "", auto.fallback_model))
    if settings.default_model:
        found.append(Dependent(DependentKind.DEFAULT_MODEL, "", settings.default_model))
    return found
