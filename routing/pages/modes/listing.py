"""The list of modes."""

from __future__ import annotations

from dataclasses import dataclass

from django.http import HttpResponse

from organizations.pages.frame import Page, PageRequest, Permit, organization_page
from organizations.pages.navigation import organization_path
from routing.mode_selectors import ModeEntry, modes_overview
from routing.pages.modes.common import may_take_route


@dataclass(frozen=True, slots=True)
class Card:
    """A mode, and whether this person may delete it."""

    entry: ModeEntry
    delete: Permit


@organization_page("modes", methods=("GET",))
def modes(request: PageRequest, page: Page) -> HttpResponse:
    """All modes with what serves them. Three queries beside the catalog's, or four."""
    overview = modes_overview(page.organization)
    context = {
        "overview": overview,
        "built_in": [_card(page, entry) for entry in overview.built_in],
        "custom": [_card(page, entry) for entry in overview.custom],
        "default_model_page": f"{organization_path(page.organization.pk)}providers-and-models",
        "broken_title": _broken_title(len(overview.broken)),
        "count": len(overview.built_in) + len(overview.custom) + len(overview.others),
    }
    return page.render("modes/page.html", context)


def _card(page: Page, entry: ModeEntry) -> Card:
    return Card(entry, may_take_route(page, has_route=entry.route.is_own))


def _broken_title(count: int) -> str:
    return "1 route is broken" if count == 1 else f"{count} routes are broken"
