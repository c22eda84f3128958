"""What routing tells the apps below it about the keys of providers; see `byok.dependents`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from byok.dependents import Dependent, DependentKind
from organizations.models import Organization
from routing.domain.settings import MalformedSettings, RoutingSettings, parse_settings
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

    def note_broken(self, organization: Organization) -> None:
        """See `direct_routes_check`."""
        direct_routes_check(organization)


def _named(settings: RoutingSettings) -> list[Dependent]:
    auto, found = settings.organization_auto, []
    if auto is not None:
        found += [Dependent(DependentKind.ROUTE, slug, target) for slug, target in sorted(auto.routes.items())]
        if auto.fallback_model:
            found.append(Dependent(DependentKind.FALLBACK, "", auto.fallback_model))
    if settings.default_model:
        found.append(Dependent(DependentKind.DEFAULT_MODEL, "", settings.default_model))
    return found
