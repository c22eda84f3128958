"""The list of modes."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import Final
from uuid import UUID

from django.http import HttpResponse
from django.template.loader import render_to_string

from kilo_gateway.ui.drawn import Drawn
from organizations.modes.selectors import ListedMode, modes_listed
from organizations.pages.frame import Page, PageRequest, organization_page
from organizations.pages.navigation import organization_path
from routing.mode_selectors import ModeEntry, ModeRoute, ModeRoutes, Tool, modes_overview
from routing.pages.modes.common import may_take_route

# The middle of the page with a hundred modes is a third of a megabyte.
KEPT: Final = 8
# What people write into modes may be a hundred times as much as is usual: such lists are drawn each time.
KEPT_CHARACTERS: Final = 250_000


@dataclass(frozen=True, slots=True)
class Card:
    """A mode as the list shows it.

    Attributes:
        mode_id: Of a custom mode or an override; None for a built-in mode as it comes.
        delete_refused: Why this person may not delete it.
    """

    slug: str
    name: str
    description: str
    is_built_in: bool
    mode_id: UUID | None
    tools: tuple[Tool, ...]
    route: ModeRoute
    followers: tuple[ModeRoute, ...]
    delete_refused: str

    @property
    def is_override(self) -> bool:
        return self.is_built_in and self.mode_id is not None


@dataclass(frozen=True, slots=True)
class Viewer:
    """What the list depends on beside what is stored.

    Attributes:
        is_released: Whether routes can be set here at all.
        route_refused: Why this person may not set one.
        move_refused: Why this person may not delete a mode that has one.
    """

    organization_id: UUID
    is_released: bool
    route_refused: str
    move_refused: str


@organization_page("modes", methods=("GET",))
def modes(request: PageRequest, page: Page) -> HttpResponse:
    """All modes with what serves them. Two queries, four with providers of the organization's own."""
    routes, rows = ModeRoutes(page.organization), modes_listed(page.organization.pk)
    viewer = Viewer(
        organization_id=page.organization.pk,
        is_released=page.is_released,
        route_refused=page.setup.reason,
        move_refused=may_take_route(page, has_route=True).reason,
    )
    is_kept = sum(len(row.config_text) for row in rows) <= KEPT_CHARACTERS
    drawn = (_kept if is_kept else _list)(routes, rows, viewer)
    return page.render("modes/page.html", {"list": drawn, "new_page": page.url("mode-new")})


@lru_cache(maxsize=KEPT)
def _kept(routes: ModeRoutes, rows: tuple[ListedMode, ...], viewer: Viewer) -> Drawn:
    return _list(routes, rows, viewer)


def _list(routes: ModeRoutes, rows: tuple[ListedMode, ...], viewer: Viewer) -> Drawn:
    overview = modes_overview(routes, rows)
    context = {
        "overview": overview,
        "viewer": viewer,
        "built_in": _cards(overview.built_in, viewer),
        "custom": _cards(overview.custom, viewer),
        "default_model_page": f"{organization_path(viewer.organization_id)}providers-and-models",
        "broken_title": _broken_title(len(overview.broken)),
        "count": len(overview.built_in) + len(overview.custom) + len(overview.others),
    }
    return Drawn.of(render_to_string("modes/list.html", context))


def _cards(entries: Iterable[ModeEntry], viewer: Viewer) -> list[Card]:
    return [_card(entry, viewer.move_refused if entry.route.is_own else "") for entry in entries]


def _card(entry: ModeEntry, delete_refused: str) -> Card:
    return Card(
        slug=entry.slug,
        name=entry.name,
        description=entry.description,
        is_built_in=entry.built_in is not None,
        mode_id=entry.row.pk if entry.row else None,
        tools=entry.tools,
        route=entry.route,
        followers=entry.followers,
        delete_refused=delete_refused,
    )


def _broken_title(count: int) -> str:
    return "1 route is broken" if count == 1 else f"{count} routes are broken"
