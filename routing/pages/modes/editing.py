"""Defining a mode, changing one, and overriding a built-in one."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from django.http import Http404, HttpResponse

from kilo_gateway.api_errors import GatewayError
from organizations.modes.config import BUILT_IN_MODES, BuiltInMode, readable_config
from organizations.modes.models import CustomMode
from organizations.modes.selectors import mode_or_404, modes_of
from organizations.modes.templates import MODE_TEMPLATES
from organizations.pages.frame import Page, PageRequest, organization_page
from organizations.permissions import Ability
from routing.mode_selectors import ModeRoute, ModeRoutes
from routing.pages.modes.common import SEEN, may_take_route, target_groups
from routing.pages.modes.forms import ModeForm, mode_values
from routing.services.modes import AS_IT_IS, ModeEdit, RouteModel, mode_create, mode_update
from routing.services.organization_auto import route_clear, route_set
from routing.services.refusals import changed_meanwhile, invalid
from routing.settings_selectors import route_of

BLANK: Final = "blank"
SLUG_CODES: Final = frozenset({"slug_in_use", "route_in_use", "invalid_slug", "built_in_slug"})
GONE: Final = "It was deleted while you had it open. What you entered is kept below: save it to define the mode again."


@dataclass(frozen=True, slots=True)
class Subject:
    """What a form is about: a stored mode, a built-in one with or without an override, or (neither) a new one."""

    row: CustomMode | None = None
    built_in: BuiltInMode | None = None

    @property
    def slug(self) -> str:
        return self.row.slug if self.row else self.built_in.slug if self.built_in else ""

    @property
    def name(self) -> str:
        return self.row.name if self.row else self.built_in.name if self.built_in else ""

    @property
    def config(self) -> Mapping[str, Any]:
        if self.row:
            return readable_config(self.row.config)
        return self.built_in.config if self.built_in else {}

    @property
    def seen(self) -> str:
        """Which state of it a form shows, for its hidden field."""
        return self.row.updated_at.isoformat() if self.row else ""


# ---------------------------------------------------------------- addresses


@organization_page("modes", requires=Ability.EDIT_MODES)
def mode_new(request: PageRequest, page: Page) -> HttpResponse:
    """Choose a template, then define a mode."""
    name = request.GET.get("template", "")
    template = MODE_TEMPLATES.get(name) or BUILT_IN_MODES.get(name)
    if request.method != "POST" and template is None and name != BLANK:
        groups = (("Templates", MODE_TEMPLATES.values()), ("Copies of built-in modes", BUILT_IN_MODES.values()))
        return page.render("modes/templates.html", {"groups": groups})
    values: dict[str, Any] = {}
    if template is not None:
        is_free = template.slug in MODE_TEMPLATES
        values = mode_values(template.name if is_free else "", template.slug if is_free else "", template.config, "")
    return _form_page(page, Subject(), values)


@organization_page("modes", requires=Ability.EDIT_MODES)
def mode(request: PageRequest, page: Page, mode_id: UUID) -> HttpResponse:
    """Change a stored mode."""
    try:
        row = mode_or_404(page.organization.pk, mode_id)
    except Http404:
        if SEEN not in request.POST:
            raise
        return _deleted_meanwhile(page)
    return _form_page(page, Subject(row, BUILT_IN_MODES.get(row.slug)))


def _deleted_meanwhile(page: Page) -> HttpResponse:
    """The form for a new mode with what was typed, so that nothing is lost."""
    page.refusal = GONE
    form, routes = _bound_form(page, Subject(), without=()), ModeRoutes(page.organization)
    return _rendered(page, form, Subject(), routes, post_to=page.url("mode-new") + f"?template={BLANK}")


@organization_page("modes", requires=Ability.EDIT_MODES)
def mode_built_in(request: PageRequest, page: Page, slug: str) -> HttpResponse:
    """Change a built-in mode: that defines its override, or changes the one that there is."""
    return _form_page(page, _built_in_or_404(page, slug))


def _built_in_or_404(page: Page, slug: str) -> Subject:
    if slug not in BUILT_IN_MODES:
        raise Http404
    row = next((one for one in modes_of(page.organization.pk) if one.slug == slug), None)
    return Subject(row, BUILT_IN_MODES[slug])


# ---------------------------------------------------------------- the form


def _form_page(page: Page, subject: Subject, values: Mapping[str, Any] | None = None) -> HttpResponse:
    routes = ModeRoutes(page.organization)
    route = routes.of(subject.slug)
    target = route.target if route.is_own else ""
    without = _without(page, subject, route)
    if page.request.method != "POST":
        initial = values if values is not None else mode_values(subject.name, subject.slug, subject.config, target)
        return _rendered(
            page, ModeForm(initial=initial, without=without, is_stored=bool(subject.slug)), subject, routes
        )
    form = _bound_form(page, subject, without)
    if form.is_valid():
        with page.refusals(form, now=lambda: _values_now(page, subject)), _fields_of_form(subject):
            return page.done(_save(page, form, subject, target), to=page.url("modes"))
    if page.conflict:
        subject = _now(page, subject)
        routes = ModeRoutes(route_of(page.organization.pk, subject.slug)[0])
    return _rendered(page, form, subject, routes)


def _without(page: Page, subject: Subject, route: ModeRoute) -> tuple[str, ...]:
    """The fields that this person may not change here."""
    without = []
    if subject.built_in or not may_take_route(page, has_route=route.is_own):
        without.append("slug")
    if not page.setup:
        without.append("model")
    return tuple(without)


def _bound_form(page: Page, subject: Subject, without: tuple[str, ...]) -> ModeForm:
    if not page.setup and "model" not in without:
        without = (*without, "model")
    return ModeForm(page.request.POST, without=without, is_stored=bool(subject.slug))


def _rendered(page: Page, form: ModeForm, subject: Subject, routes: ModeRoutes, *, post_to: str = "") -> HttpResponse:
    route = routes.of(subject.slug)
    context = {
        "form": form,
        "subject": subject,
        "route": route,
        "fallback": routes.fallback,
        "is_fresh": not form.is_bound,
        "slug_reason": may_take_route(page, has_route=route.is_own).reason,
        "groups": target_groups(page),
        "post_to": post_to,
    }
    return page.render("modes/form.html", context)


@contextmanager
def _fields_of_form(subject: Subject) -> Iterator[None]:
    """What is refused because of the slug, or of the route, belongs to the field of the form."""
    try:
        yield
    except GatewayError as error:
        if error.code in SLUG_CODES and subject.built_in is None:
            raise invalid("slug", error.message, code=error.code) from None
        if "route_model" in error.details.get("fields", {}):
            raise invalid("model", error.message, code=error.code or "") from None
        raise


# ---------------------------------------------------------------- saving


def _save(page: Page, form: ModeForm, subject: Subject, target: str) -> str:
    """Ask the service for what is entered; returns what to tell the person."""
    organization_id, acting, cleaned = page.organization.pk, page.acting(), form.cleaned_data
    route_model = _route_model(form, target)
    if subject.slug and page.request.POST.get(SEEN, subject.seen) != subject.seen:
        raise changed_meanwhile(f'The mode "{subject.slug}"', page.organization.routing_version)
    if subject.row is not None:
        edit = ModeEdit(cleaned["name"], cleaned.get("slug"), cleaned["config"], route_model)
        kept = mode_update(
            organization_id=organization_id,
            mode_id=subject.row.pk,
            acting=acting,
            edit=edit,
            seen_at=datetime.fromisoformat(subject.seen),
        )
        return f"{cleaned['name']} was saved." if kept else f"{cleaned['name']} is the built-in mode again."
    built_in = subject.built_in
    if built_in and (cleaned["name"], cleaned["config"]) == (built_in.name, built_in.config):
        return _save_route(page, built_in, route_model)
    made = mode_create(
        organization_id=organization_id,
        acting=acting,
        name=cleaned["name"],
        slug=built_in.slug if built_in else cleaned["slug"],
        config=cleaned["config"],
        route_model=route_model,
    )
    return f"{made.name} was saved." if built_in else f"{made.name} was created."


def _route_model(form: ModeForm, target: str) -> RouteModel:
    """What was chosen; a target that was there before stays as it is, even when it is not valid any more."""
    if "model" not in form.fields:
        return AS_IT_IS
    chosen: str = form.cleaned_data["model"]
    return AS_IT_IS if chosen == target else chosen or None


def _save_route(page: Page, built_in: BuiltInMode, route_model: RouteModel) -> str:
    """A built-in mode as it comes needs no override: at most its route changes."""
    organization_id, acting = page.organization.pk, page.acting()
    if isinstance(route_model, str):
        route_set(organization_id=organization_id, acting=acting, slug=built_in.slug, target=route_model)
        return f"The route of {built_in.name} was saved."
    if route_model is None:
        route_clear(organization_id=organization_id, acting=acting, slug=built_in.slug)
        return f"The route of {built_in.name} was cleared."
    return f"Nothing was changed: {built_in.name} is as it comes."


def _now(page: Page, subject: Subject) -> Subject:
    """The same subject, read again."""
    if subject.built_in is not None:
        return _built_in_or_404(page, subject.built_in.slug)
    return Subject(mode_or_404(page.organization.pk, subject.row.pk)) if subject.row else subject


def _values_now(page: Page, subject: Subject) -> dict[str, Any]:
    """What is stored by now, to be compared with what was typed."""
    if not subject.slug:
        return {}
    now = _now(page, subject)
    _, target = route_of(page.organization.pk, now.slug)
    return mode_values(now.name, now.slug, now.config, target or "")
