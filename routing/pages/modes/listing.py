"""The list of modes."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from uuid import UUID

from django.http import HttpResponse

from organizations.pages.frame import Page, PageRequest, organization_page
from organizations.pages.navigation import organization_path
from routing.mode_selectors import ModeEntry, ModeRoute, Tool, modes_overview
from routing.pages.modes.common import may_take_route


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


@organization_page("modes", methods=("GET",))
def modes(request: PageRequest, page: Page) -> HttpResponse:
    """All modes with what serves them. Two queries, or four."""
    overview = modes_overview(page.organization)
    context = {
        "overview": overview,
        "built_in": _cards(page, overview.built_in),
        "custom": _cards(page, overview.custom),
        "default_model_page": f"{organization_path(page.organization.pk)}providers-and-models",
        "broken_title": _broken_title(len(overview.broken)),
        "count": len(overview.built_in) + len(overview.custom) + len(overview.others),
    }
    return page.render("modes/page.html", context)


def _cards(page: Page, entries: Iterable[ModeEntry]) -> list[Card]:
    refused = {has_route: may_take_route(page, has_route=has_route).reason for has_route in (True, False)}
    return [_card(entry, refused[entry.route.is_own]) for entry in entries]


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
