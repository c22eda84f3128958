"""What all pages of an organization have in common: who looks at it, what he may do, and how forms answer.

A page is a function that `organization_page` wraps. It gets the request and a `Page`, and renders one template: as a
whole page, as the main part of one, or as an overlay above one, as the browser asks. `docs/pages.md` shows how.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property, lru_cache, wraps
from typing import Any, Concatenate, Final, ParamSpec, cast
from uuid import UUID

from django import forms
from django.conf import settings
from django.contrib import messages
from django.contrib.auth.views import redirect_to_login
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import resolve_url
from django.urls import reverse
from django_htmx.http import HttpResponseClientRedirect, HttpResponseLocation
from django_htmx.middleware import HtmxDetails

from kilo_gateway.addresses import client_address
from kilo_gateway.api_errors import GatewayError, method_not_allowed
from kilo_gateway.error_pages import error_page
from kilo_gateway.ui.drawn import page_body
from organizations.acting import Acting
from organizations.audit import Actor
from organizations.models import Membership, Organization, Plan, User, Via
from organizations.pages.navigation import Menus
from organizations.permissions import Ability, may, reason
from organizations.refusals import role_required
from organizations.release_toggle import release_toggle
from organizations.selectors import memberships_of

OVERLAY: Final = "overlay"
MAIN: Final = "main"
VERSION_FIELD: Final = "routing_version"
LAST_ORGANIZATION: Final = "last_organization"
LAYOUTS: Final = {OVERLAY: "layouts/overlay.html", MAIN: "layouts/main.html"}
WHOLE_PAGE: Final = "organization.html"
NOT_RELEASED: Final = (
    "Organization Auto cannot be set up by you at the moment: it has not been released to you. "
    "What is set up already keeps working."
)
NEEDS_ENTERPRISE: Final = "This needs the enterprise plan."


class PageRequest(HttpRequest):
    """A request of a signed-in person. For types only."""

    user: User
    htmx: HtmxDetails


@dataclass(frozen=True, slots=True)
class Permit:
    """Whether somebody may do something; if not, `reason` says why. In templates it is true or false."""

    reason: str = ""

    def __bool__(self) -> bool:
        return not self.reason


class Permits(Mapping[str, Permit]):
    """What a role may do, by ability: `page.can.manage_members`."""

    def __init__(self, role: str) -> None:
        self._role = role

    def __getitem__(self, name: str) -> Permit:
        ability = Ability(name)
        return Permit("" if may(self._role, ability) else reason(ability))

    def __iter__(self) -> Iterator[str]:
        return iter(ability.value for ability in Ability)

    def __len__(self) -> int:
        return len(Ability)


@dataclass(frozen=True, slots=True)
class Difference:
    """A field whose value in the form is not what is stored by now."""

    label: str
    yours: str
    now: str


@dataclass(frozen=True, slots=True)
class Conflict:
    """Somebody else saved first."""

    expected: int
    current: int
    differences: tuple[Difference, ...] = ()


@dataclass
class Page:
    """One person before one page of one organization.

    Attributes:
        memberships: Of this person, with their organizations, oldest first.
        refusal: Why what was posted was not done, if it is about no field of the form.
        conflict: What changed since the form was opened.
        status: What a page answers a post with that it renders again.
    """

    request: PageRequest
    membership: Membership
    memberships: list[Membership]
    section: str
    refusal: str = ""
    conflict: Conflict | None = None
    status: int = 422
    can: Permits = field(init=False)

    def __post_init__(self) -> None:
        self.can = Permits(self.membership.role)

    # ------------------------------------------------------------ what templates read

    @property
    def organization(self) -> Organization:
        return self.membership.organization

    @property
    def user(self) -> User:
        return self.request.user

    @property
    def role(self) -> str:
        return self.membership.role

    @property
    def is_enterprise(self) -> bool:
        return self.organization.plan == Plan.ENTERPRISE

    @cached_property
    def setup(self) -> Permit:
        """Whether Organization Auto can be set up by this person here: role, plan, then the release toggle.

        The toggle is asked only when the others allow it; that may wait for PostHog for a second.
        """
        if not self.can[Ability.CONFIGURE_ROUTING]:
            return self.can[Ability.CONFIGURE_ROUTING]
        if not self.is_enterprise:
            return Permit(NEEDS_ENTERPRISE)
        return Permit() if self.is_released else Permit(NOT_RELEASED)

    @cached_property
    def is_released(self) -> bool:
        """The release toggle for this person; controls that set Organization Auto up are hidden while it is off."""
        return release_toggle(self.user, self.organization).on

    @property
    def _target(self) -> str:
        """The id of the element that the answer goes into; blank for a whole page."""
        return (self.request.htmx.target or "") if self.request.htmx else ""

    @property
    def is_overlay(self) -> bool:
        """Whether the page lies above another one."""
        return self._target == OVERLAY

    @property
    def menus(self) -> Menus:
        """What stands beside the page, all of which is known by now."""
        user, organization = self.user, self.organization
        return Menus(
            organization_id=organization.pk,
            organization_name=organization.name,
            plan=organization.plan,
            section=self.section,
            memberships=tuple([(row.organization.name, row.role, row.organization_id) for row in self.memberships]),
            user_id=user.pk,
            user_name=user.name,
            email=user.email,
            role=self.role,
            is_staff=user.is_staff,
        )

    @property
    def seen_version(self) -> int:
        """The routing version for the form's hidden field: what the person decides on."""
        return self.conflict.current if self.conflict else self._posted_version or self.organization.routing_version

    @property
    def _posted_version(self) -> int | None:
        posted = self.request.POST.get(VERSION_FIELD, "")
        return int(posted) if posted.isascii() and posted.isdigit() and len(posted) <= 18 else None

    def url(self, name: str, **arguments: object) -> str:
        """The address of a page of this organization."""
        if not arguments:
            return _address(name, self.organization.pk)
        return reverse(name, kwargs={"organization_id": self.organization.pk, **arguments})

    # ------------------------------------------------------------ doing

    def acting(self) -> Acting:
        """The person, for a service. A posted `routing_version` is what he has seen."""
        actor = Actor.of(self.user, Via.WEB, client_address(self.request.META))
        return Acting(actor, self.user, self._posted_version)

    def require(self, ability: Ability) -> None:
        """Raises 403 `role_required`, which becomes a page that says so."""
        if not self.can[ability]:
            raise role_required(self.can[ability].reason)

    @contextmanager
    def refusals(
        self, form: forms.Form | None = None, *, now: Callable[[], Mapping[str, object]] | None = None
    ) -> Iterator[None]:
        """Around a service: what it refuses goes into the form or `refusal`, and the page is rendered after the block.

        Args:
            now: The stored values of the form's fields, read only for a conflict, to show what differs.
        """
        try:
            yield
        except GatewayError as error:
            if error.status in {401, 404} or error.status >= 500:
                raise
            self.status = error.status if error.status in {403, 412} else 422
            if error.status == 412:
                self._note_conflict(error, form, now)
                return
            left = into_fields(error, form)
            self.refusal = left

    def _note_conflict(
        self, error: GatewayError, form: forms.Form | None, now: Callable[[], Mapping[str, object]] | None
    ) -> None:
        stored = now() if now else {}
        pairs = (
            (form[name], form[name].value(), value) for name, value in stored.items() if form and name in form.fields
        )
        differences = tuple(
            Difference(str(bound.label), _shown(bound, yours), _shown(bound, value))
            for bound, yours, value in pairs
            if _shown(bound, yours) != _shown(bound, value)
        )
        self.conflict = Conflict(self._posted_version or 0, int(error.details["routing_version"]), differences)

    # ------------------------------------------------------------ answering

    def render(
        self,
        template: str,
        context: Mapping[str, Any] | None = None,
        *,
        partials: Mapping[str, str] | None = None,
        status: int | None = None,
    ) -> HttpResponse:
        """The template as the browser wants it; after a post that means: it was refused, with `self.status`.

        Args:
            context: What is `Drawn` in it is put in at the end.
            partials: Templates that stand for a part of this page alone, by the id of the element that they fill.
            status: For a post that was done and shows something instead of leading on.
        """
        chosen = (partials or {}).get(self._target) or template
        given = {"page": self, "layout": LAYOUTS.get(self._target, WHOLE_PAGE), **(context or {})}
        code = status or (self.status if self.request.method == "POST" else 200)
        return HttpResponse(page_body(chosen, given, self.request), status=code)

    def done(self, message: str, *, to: str) -> HttpResponse:
        """After a change: the page `to`, which says the message once. It is a redirect, or replaces the main part."""
        messages.success(self.request, message)
        return self.go(to)

    def go(self, to: str) -> HttpResponse:
        """Lead to another page of this project."""
        if self.request.htmx:
            return HttpResponseLocation(to, target=f"#{MAIN}", swap="outerHTML")
        response = HttpResponseRedirect(to)
        response.status_code = 303
        return response

    def leave(self, message: str, *, to: str = "/") -> HttpResponse:
        """After a change that ends the person's access: a whole new page, which says the message."""
        messages.success(self.request, message)
        return HttpResponseClientRedirect(to) if self.request.htmx else self.go(to)

    def failed(self, message: str, *, to: str) -> HttpResponse:
        """As `done`, for something that was refused where no form is shown again."""
        messages.error(self.request, message)
        return self.go(to)


def into_fields(error: GatewayError, form: forms.Form | None) -> str:
    """Put what a service refuses by field into the form; what is left, as one text."""
    fields: Mapping[str, list[str]] = error.details.get("fields", {})
    if form is None or not fields:
        return error.message
    left = []
    for name, texts in fields.items():
        if name in form.fields and not form.fields[name].widget.is_hidden:
            form.add_error(name, texts)
        else:
            left.extend(texts)
    return " ".join(left)


def _shown(bound: forms.BoundField, value: object) -> str:
    """A value as the form shows it: the label of a choice, yes and no, or text."""
    if isinstance(bound.field, forms.BooleanField):
        return "yes" if value else "no"
    choices = dict(getattr(bound.field, "choices", ()))
    if isinstance(value, (list, tuple, set)):
        return ", ".join(str(choices.get(one, one)) for one in value)
    return str(choices.get(value, "" if value is None else value))


@lru_cache(maxsize=4096)
def _address(name: str, organization_id: UUID) -> str:
    return reverse(name, kwargs={"organization_id": organization_id})


# ---------------------------------------------------------------- the wrapper

P = ParamSpec("P")
View = Callable[Concatenate[PageRequest, Page, P], HttpResponse]


def organization_page(
    section: str, *, methods: tuple[str, ...] = ("GET", "POST"), requires: Ability | None = None
) -> Callable[[View[P]], Callable[..., HttpResponse]]:
    """Make a page below `organizations/<uuid:organization_id>/` of a function `(request, page, **rest of the address)`.

    Whoever is not signed in is led to sign in and back. A stranger gets 404, as if there were no such organization. A
    `GatewayError` becomes an error page. It costs one query beside those of the session.

    Args:
        section: The entry of the navigation that is marked.
        methods: What there is; HEAD goes with GET.
        requires: Who may not gets a page that says why.
    """

    def wrap(view: View[P]) -> Callable[..., HttpResponse]:
        @wraps(view)
        def page_view(asked: HttpRequest, organization_id: UUID, **rest: Any) -> HttpResponse:
            request = cast("PageRequest", asked)
            if request.method not in methods and not (request.method == "HEAD" and "GET" in methods):
                return error_page(request, method_not_allowed(*methods))
            if not asked.user.is_authenticated:
                return sign_in_first(request)
            page = _page(request, organization_id, section)
            try:
                if requires is not None:
                    page.require(requires)
                response = cast("Callable[..., HttpResponse]", view)(request, page, **rest)
            except GatewayError as error:
                response = error_page(request, error, page=page)
            response.headers.setdefault("Cache-Control", "no-store")
            return response

        return page_view

    return wrap


def _page(request: PageRequest, organization_id: UUID, section: str) -> Page:
    memberships = memberships_of(request.user)
    own = next((row for row in memberships if row.organization_id == organization_id), None)
    if own is None:
        raise Http404
    if request.session.get(LAST_ORGANIZATION) != str(organization_id):
        request.session[LAST_ORGANIZATION] = str(organization_id)
    return Page(request, own, memberships, section)


def sign_in_first(request: HttpRequest) -> HttpResponse:
    """Lead to the sign-in page, and from there back to where the browser is."""
    sign_in = resolve_url(settings.LOGIN_URL)
    htmx: HtmxDetails | None = getattr(request, "htmx", None)
    if htmx:
        led = redirect_to_login(htmx.current_url_abs_path or "/", sign_in)
        return HttpResponseClientRedirect(led.url)
    return redirect_to_login(request.get_full_path() if request.method in {"GET", "HEAD"} else "/", sign_in)
