"""Setting and clearing a route without its mode's form, for slugs without a mode, too."""

from __future__ import annotations

from django.http import HttpResponse

from organizations.modes.config import BUILT_IN_MODES
from organizations.modes.selectors import modes_of
from organizations.pages.frame import Page, PageRequest, organization_page
from organizations.permissions import Ability
from routing.domain.resolve import ROUTE_ALIASES
from routing.mode_selectors import ModeRoutes
from routing.pages.modes.common import target_groups
from routing.pages.modes.forms import NewRouteForm, RouteForm
from routing.services.organization_auto import route_clear, route_set
from routing.settings_selectors import route_of

CLEAR = "clear"


@organization_page("modes", requires=Ability.CONFIGURE_ROUTING)
def mode_route_edit(request: PageRequest, page: Page, slug: str) -> HttpResponse:
    """Set the route of a slug; without a target, or by the button that says so, it is cleared."""
    routes = ModeRoutes(page.organization)
    route = routes.of(slug)
    target = route.target if route.is_own else ""
    form = RouteForm(request.POST or None, initial={"model": target})
    if request.method == "POST" and form.is_valid():
        chosen = "" if CLEAR in request.POST else form.cleaned_data["model"]
        with page.refusals(form, now=lambda: {"model": route_of(page.organization.pk, slug)[1] or ""}):
            return page.done(_save(page, slug, target, chosen), to=page.url("modes"))
    if page.conflict:
        routes = ModeRoutes(route_of(page.organization.pk, slug)[0])
    context = {
        "form": form,
        "slug": slug,
        "name": _name_of(page, slug),
        "route": routes.of(slug),
        "follows": ROUTE_ALIASES.get(slug, ""),
    }
    return _rendered(page, "modes/route.html", routes, context)


def _save(page: Page, slug: str, target: str, chosen: str) -> str:
    """Ask the service for what is chosen; returns what to tell the person."""
    if chosen and chosen == target:
        return f'The route for "{slug}" stays as it is.'
    if chosen:
        route_set(organization_id=page.organization.pk, acting=page.acting(), slug=slug, target=chosen)
        return f'The route for "{slug}" was saved.'
    route_clear(organization_id=page.organization.pk, acting=page.acting(), slug=slug)
    return f'"{slug}" has no route of its own now.'


@organization_page("modes", requires=Ability.CONFIGURE_ROUTING)
def mode_route_new(request: PageRequest, page: Page) -> HttpResponse:
    """Set a route for a slug that need not be a mode's."""
    routes = ModeRoutes(page.organization)
    form = NewRouteForm(request.POST or None)
    if request.method == "POST" and form.is_valid():
        slug = form.cleaned_data["slug"].lower()
        if routes.of(slug).is_own:
            form.add_error("slug", f'"{slug}" has a route already: change that one.')
            return _rendered(page, "modes/route_new.html", routes, {"form": form})
        with page.refusals(form):
            route_set(
                organization_id=page.organization.pk,
                acting=page.acting(),
                slug=slug,
                target=form.cleaned_data["model"],
            )
            return page.done(f'The route for "{slug}" was saved.', to=page.url("modes"))
    return _rendered(page, "modes/route_new.html", routes, {"form": form})


def _rendered(page: Page, template: str, routes: ModeRoutes, context: dict[str, object]) -> HttpResponse:
    return page.render(
        template,
        {
            **context,
            "fallback": routes.fallback,
            "groups": target_groups(page),
            "is_fresh": page.request.method != "POST",
        },
    )


def _name_of(page: Page, slug: str) -> str:
    """What people call the mode; blank when there is none by this slug."""
    row = next((one for one in modes_of(page.organization.pk) if one.slug == slug), None)
    if row is not None:
        return row.name
    return BUILT_IN_MODES[slug].name if slug in BUILT_IN_MODES else ""
