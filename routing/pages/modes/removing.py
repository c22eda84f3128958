"""Deleting a custom mode, and reverting an override to its built-in mode."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

from django.http import HttpResponse

from organizations.modes.config import BUILT_IN_MODES
from organizations.modes.models import CustomMode
from organizations.modes.selectors import mode_or_404
from organizations.pages.frame import Page, PageRequest, organization_page
from organizations.permissions import Ability
from routing.mode_selectors import ModeRoute, ModeRoutes
from routing.pages.modes.common import SEEN, may_take_route, target_groups
from routing.pages.modes.forms import KEEP, REMOVE, REPLACE, RevertForm
from routing.services.modes import AS_IT_IS, mode_delete


@organization_page("modes", requires=Ability.EDIT_MODES)
def mode_remove(request: PageRequest, page: Page, mode_id: UUID) -> HttpResponse:
    """Delete or revert a mode, after a confirmation that says what becomes of its route."""
    row = mode_or_404(page.organization.pk, mode_id)
    route = ModeRoutes(page.organization).of(row.slug)
    if row.slug in BUILT_IN_MODES:
        return _revert(page, row, route)
    return _delete(page, row, route)


def _delete(page: Page, row: CustomMode, route: ModeRoute) -> HttpResponse:
    if page.request.method == "POST":
        with page.refusals():
            mode_delete(
                organization_id=page.organization.pk, mode_id=row.pk, acting=page.acting(), seen_at=_seen_at(page)
            )
            return page.done(f"{row.name} was deleted.", to=page.url("modes"))
    context = {
        "row": row,
        "seen": row.updated_at.isoformat(),
        "route": route,
        "permit": may_take_route(page, has_route=route.is_own),
    }
    return page.render("modes/delete.html", context)


def _revert(page: Page, row: CustomMode, route: ModeRoute) -> HttpResponse:
    notes = _revert_notes(page, route)
    form = RevertForm(page.request.POST or None, notes=notes, initial={"route": KEEP}) if notes else None
    if page.request.method == "POST" and (form is None or form.is_valid()):
        choice = form.cleaned_data["route"] if form else KEEP
        with page.refusals(form):
            mode_delete(
                organization_id=page.organization.pk,
                mode_id=row.pk,
                acting=page.acting(),
                preserve_route=choice == KEEP,
                route_model=form.cleaned_data["route_model"] if form and choice == REPLACE else AS_IT_IS,
                seen_at=_seen_at(page),
            )
            return page.done(f"{BUILT_IN_MODES[row.slug].name} is the built-in mode again.", to=page.url("modes"))
    groups = target_groups(page) if REPLACE in notes else []
    context = {
        "row": row,
        "seen": row.updated_at.isoformat(),
        "built_in": BUILT_IN_MODES[row.slug],
        "route": route,
        "form": form,
        "groups": groups,
    }
    return page.render("modes/revert.html", context)


def _revert_notes(page: Page, route: ModeRoute) -> dict[str, str]:
    """What may become of the route, where there is one and this person may decide."""
    if not route.is_own or not page.can[Ability.CONFIGURE_ROUTING]:
        return {}
    notes = {
        KEEP: f"The built-in mode is served by {route.target}, too.",
        REMOVE: "The built-in mode uses the fallback.",
    }
    return {**notes, REPLACE: "Another target, in the same change."} if page.setup else notes


def _seen_at(page: Page) -> datetime | None:
    """The state of the mode that the confirmation spoke of; None from a form that does not say."""
    try:
        return datetime.fromisoformat(page.request.POST.get(SEEN, ""))
    except ValueError:
        return None
