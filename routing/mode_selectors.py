"""Reading the modes of an organization, each with the route that serves it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
from typing import Any, Final

from organizations.models import Organization
from organizations.modes.config import BUILT_IN_MODES, GROUPS, LIMITABLE, BuiltInMode
from organizations.modes.selectors import ListedMode
from routing.catalog.cache import CatalogUnreadable
from routing.domain.resolve import ROUTE_ALIASES, find_route
from routing.domain.settings import OrganizationAuto, State, state_of
from routing.domain.types import RouteKind
from routing.services.health import RouteHealth, route_health
from routing.settings_selectors import readable_settings

TOOL_NAMES: Final[Mapping[str, str]] = {
    "read": "Read",
    "edit": "Edit",
    "browser": "Browser",
    "command": "Commands",
    "mcp": "MCP",
}


class RouteStatus(StrEnum):
    """What a stored target is worth at the moment."""

    ACTIVE = "active"
    # Kept, while Organization Auto is off or the plan is another.
    INACTIVE = "inactive"
    BROKEN = "broken"
    # The catalog cannot be read, so nobody knows.
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class ModeRoute:
    """By what a mode is served.

    Attributes:
        target: Blank when nothing is set up.
        kind: By which rule; None when nothing is set up.
        origin: The slug whose route it is; blank for the fallback.
        reason: Why it is broken.
    """

    slug: str
    target: str
    kind: RouteKind | None
    origin: str
    status: RouteStatus
    reason: str = ""

    @property
    def is_own(self) -> bool:
        return self.kind is RouteKind.EXACT

    @property
    def is_inherited(self) -> bool:
        return self.kind is RouteKind.ALIAS

    @property
    def is_fallback(self) -> bool:
        return self.kind is RouteKind.FALLBACK


@dataclass(frozen=True, slots=True)
class Tool:
    """A kind of tools that a mode may use; `edit` may be limited to files."""

    name: str
    label: str
    file_regex: str = ""
    limit: str = ""


@dataclass(frozen=True, slots=True)
class ModeEntry:
    """A built-in or a custom mode as it is in force, with its route.

    Attributes:
        row: The custom mode or the override, of `modes_listed`; None for a built-in mode as it comes.
        followers: The routes of the slugs that follow this mode's unless they have their own: `build` follows `code`.
    """

    slug: str
    name: str
    config: Mapping[str, Any]
    row: ListedMode | None
    built_in: BuiltInMode | None
    route: ModeRoute
    followers: tuple[ModeRoute, ...] = ()

    @property
    def is_override(self) -> bool:
        return self.row is not None and self.built_in is not None

    @property
    def description(self) -> str:
        return str(self.config.get("description") or self.config.get("whenToUse") or "")

    @property
    def tools(self) -> tuple[Tool, ...]:
        return tools_of(self.config)


@dataclass(frozen=True, slots=True)
class ModesOverview:
    """All modes, and the routes that belong to none of them.

    Attributes:
        others: Routes by slugs without a mode, on the enterprise plan with those that follow a built-in mode's.
        fallback: What serves every mode without a route.
        is_catalog_readable: Otherwise no route's health is known.
    """

    state: State
    built_in: list[ModeEntry]
    custom: list[ModeEntry]
    others: list[ModeRoute]
    fallback: ModeRoute
    is_catalog_readable: bool

    @property
    def broken(self) -> list[ModeRoute]:
        """The stored routes that are broken, and the fallback if it is."""
        entries = [entry.route for entry in (*self.built_in, *self.custom)]
        own = [route for route in (*entries, *self.others) if route.is_own]
        return [route for route in (*own, self.fallback) if route.status is RouteStatus.BROKEN]


class ModeRoutes:
    """The stored routes with their health, read once: one query, or three. Equal ones say the same of every mode.

    Attributes:
        health: By slug, the fallback's under a blank one; None while the catalog cannot be read.
    """

    def __init__(self, organization: Organization) -> None:
        """Raises `GatewayError` 409 when the stored settings are malformed."""
        settings = readable_settings(organization)
        self.state = state_of(organization.plan, settings)
        self._auto = settings.organization_auto or OrganizationAuto({}, None)
        self.health: dict[str, RouteHealth] | None
        try:
            self.health = {health.slug: health for health in route_health(organization)}
        except CatalogUnreadable:
            self.health = None
        health = None if self.health is None else (*self.health.values(),)
        self._all = (self.state, (*self._auto.routes.items(),), self._auto.fallback_model, health)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ModeRoutes) and self._all == other._all

    def __hash__(self) -> int:
        return hash(self._all)

    @property
    def stored(self) -> Mapping[str, str]:
        return self._auto.routes

    @property
    def fallback(self) -> ModeRoute:
        if not self._auto.fallback_model:
            return ModeRoute("", "", None, "", RouteStatus.INACTIVE)
        return self._route("", self._auto.fallback_model, RouteKind.FALLBACK, "")

    def of(self, slug: str) -> ModeRoute:
        """What serves a mode, by the rule that resolution uses."""
        found = find_route(self._auto, slug)
        if found is None:
            return ModeRoute(slug, "", None, "", RouteStatus.INACTIVE)
        origin = {RouteKind.EXACT: slug, RouteKind.ALIAS: ROUTE_ALIASES.get(slug, "")}.get(found.kind, "")
        return self._route(slug, found.target, found.kind, origin)

    def _route(self, slug: str, target: str, kind: RouteKind, origin: str) -> ModeRoute:
        if self.health is None:
            return ModeRoute(slug, target, kind, origin, RouteStatus.UNKNOWN)
        health = self.health[origin]
        if health.code:
            return ModeRoute(slug, target, kind, origin, RouteStatus.BROKEN, health.reason)
        status = RouteStatus.ACTIVE if self.state.enabled else RouteStatus.INACTIVE
        return ModeRoute(slug, target, kind, origin, status)


def tools_of(config: Mapping[str, Any]) -> tuple[Tool, ...]:
    """The tools of a config, in the order in which they are always shown."""
    groups = tuple(config.get("groups") or ())
    # Most modes have no limits, and the same few tools.
    return _tools(groups) if all(isinstance(group, str) for group in groups) else _tools.__wrapped__(groups)


@lru_cache(maxsize=256)
def _tools(groups: tuple[Any, ...]) -> tuple[Tool, ...]:
    found: dict[str, Tool] = {}
    for group in groups:
        name, limit = (group, {}) if isinstance(group, str) else (group[0], group[1])
        regex = str(limit.get("fileRegex", "")) if name == LIMITABLE else ""
        found[name] = Tool(name, TOOL_NAMES.get(name, name), regex, str(limit.get("description", "")))
    order = {name: position for position, name in enumerate(GROUPS)}
    return tuple(sorted(found.values(), key=lambda tool: order.get(tool.name, len(order))))


def modes_overview(routes: ModeRoutes, rows: Sequence[ListedMode]) -> ModesOverview:
    """Every mode and every route, by what was read of them with `modes_listed`. No query."""
    overrides = {row.slug: row for row in rows if row.slug in BUILT_IN_MODES}
    built_in = [_built_in_entry(mode, overrides.get(mode.slug), routes) for mode in BUILT_IN_MODES.values()]
    custom = [_custom_entry(row, routes) for row in rows if row.slug not in BUILT_IN_MODES]
    known = {entry.slug for entry in (*built_in, *custom)}
    followers = ROUTE_ALIASES if routes.state.eligible else {}
    others = sorted({*routes.stored, *followers} - known)
    return ModesOverview(
        state=routes.state,
        built_in=built_in,
        custom=sorted(custom, key=lambda entry: entry.name.casefold()),
        others=[routes.of(slug) for slug in others],
        fallback=routes.fallback,
        is_catalog_readable=routes.health is not None,
    )


def _built_in_entry(mode: BuiltInMode, row: ListedMode | None, routes: ModeRoutes) -> ModeEntry:
    name, config = (row.name, row.config) if row else (mode.name, mode.config)
    followers = tuple(routes.of(slug) for slug, followed in ROUTE_ALIASES.items() if followed == mode.slug)
    return ModeEntry(mode.slug, name, config, row, mode, routes.of(mode.slug), followers)


def _custom_entry(row: ListedMode, routes: ModeRoutes) -> ModeEntry:
    return ModeEntry(row.slug, row.name, row.config, row, None, routes.of(row.slug))
