"""API keys that are bound to the organization: one's own, and for owners and admins everybody's."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime, time, timedelta
from typing import Any, Final
from uuid import UUID, uuid4

from django import forms
from django.conf import settings
from django.http import HttpResponse

from kilo_gateway import kilo_cli
from kilo_gateway.ui.forms import NotedCheckboxes
from kilo_gateway.ui.links import uuid_or_none, with_query
from organizations.api_keys import NewApiKey
from organizations.member_keys import member_key_create, member_key_revoke, member_key_update
from organizations.models import ApiKey, Scope, User
from organizations.modes.config import BUILT_IN_MODES
from organizations.modes.selectors import modes_of
from organizations.pages.frame import Page, PageRequest, organization_page
from organizations.people_selectors import key_or_404, keys_of
from organizations.permissions import Ability

SECTION = "api-keys"
SOON: Final = timedelta(days=7)
ON_A_DAY: Final = "day"
NEVER: Final = "never"
EXPIRIES: Final = (
    ("7", "In 7 days"),
    ("30", "In 30 days"),
    ("90", "In 90 days"),
    ("365", "In a year"),
    (ON_A_DAY, "On a day that I choose"),
    (NEVER, "Never"),
)
SCOPE_NOTES: Final = {
    Scope.INFERENCE.value: "Asks for models, as agents and SDKs do.",
    Scope.MANAGEMENT.value: "Reads and changes what you may read and change here, for scripts.",
}


@dataclass(frozen=True, slots=True)
class Use:
    """Something that a key with this scope can be used for at once."""

    scope: Scope
    id: str
    label: str
    text: str


_CLI: Final = """KILO_API_URL={base_url} \\
  KILO_API_KEY={key} \\
  KILO_ORG_ID={organization} \\
  npx {kilo_cli}"""
_MODELS: Final = """curl {base_url}/api/gateway/v1/models \\
  -H 'Authorization: Bearer {key}'"""
_MANAGEMENT: Final = """curl {base_url}/api/organizations/{organization}/organization-auto \\
  -H 'Authorization: Bearer {key}'"""
USES: Final = (
    Use(Scope.INFERENCE, "use-kilo-cli", "Kilo CLI", _CLI),
    Use(Scope.INFERENCE, "use-curl", "curl: the models", _MODELS),
    Use(Scope.MANAGEMENT, "use-management", "curl: the management API", _MANAGEMENT),
)


class KeyForm(forms.Form):
    """What can be changed of a key."""

    name = forms.CharField(label="Name", max_length=100, help_text="Where it is used, to know it again.")
    default_mode = forms.CharField(
        label="Default mode",
        required=False,
        max_length=50,
        widget=forms.TextInput(
            attrs={
                "list": "mode-options",
                "data-combobox": "Modes",
                "autocomplete": "off",
                "autocapitalize": "none",
                "spellcheck": "false",
                "class": "mono",
            }
        ),
        help_text="For clients that cannot say their mode. What a request says itself counts more.",
    )


class NewKeyForm(KeyForm):
    """A key to be made.

    `once` becomes the key's id, so that the same form sent twice, as by loading its answer again, makes one key.
    """

    scopes = forms.MultipleChoiceField(
        label="What it may do", choices=Scope.choices, widget=NotedCheckboxes(notes=SCOPE_NOTES)
    )
    expires = forms.ChoiceField(label="Expires", choices=EXPIRIES)
    expires_at = forms.DateField(
        label="Last day (UTC)", required=False, widget=forms.DateInput(attrs={"type": "date"}, format="%Y-%m-%d")
    )
    once = forms.UUIDField(widget=forms.HiddenInput)

    def clean(self) -> dict[str, Any]:
        """A day is wanted where the key is to end on one; the day before today is none."""
        given = super().clean() or self.cleaned_data
        if given.get("expires") == ON_A_DAY and not given.get("expires_at") and "expires_at" not in self.errors:
            self.add_error("expires_at", "Choose the last day on which it works.")
        return given

    @property
    def end(self) -> datetime | None:
        """When the key ends, by a valid form; None is never."""
        choice, day = self.cleaned_data["expires"], self.cleaned_data["expires_at"]
        if choice == NEVER:
            return None
        if choice == ON_A_DAY:
            return datetime.combine(day, time.min, UTC) + timedelta(days=1)
        return datetime.now(UTC) + timedelta(days=int(choice))


@dataclass(frozen=True, slots=True)
class KeyRow:
    """A key, and how it stands."""

    key: ApiKey
    is_own: bool
    has_expired: bool
    ends_soon: bool

    @property
    def scopes(self) -> list[str]:
        return [Scope(scope).label for scope in self.key.scopes]


@dataclass(frozen=True, slots=True)
class ModeChoice:
    """A mode by its slug."""

    slug: str
    name: str


def _row(page: Page, key: ApiKey) -> KeyRow:
    now = datetime.now(UTC)
    has_expired = key.expires_at is not None and key.expires_at <= now
    ends_soon = key.expires_at is not None and not has_expired and key.expires_at <= now + SOON
    return KeyRow(key, key.user_id == page.user.pk, has_expired, ends_soon)


def _whose(page: Page) -> User | None:
    """Whose keys this person may see: his own, or None for everybody's."""
    return None if page.can[Ability.MANAGE_MEMBERS] else page.user


def _row_or_404(page: Page, key_id: UUID) -> KeyRow:
    return _row(page, key_or_404(page.organization.pk, key_id, user=_whose(page)))


def _modes(page: Page) -> list[ModeChoice]:
    """The built-in modes and the organization's own; a key may name any other as well. One query."""
    own = modes_of(page.organization.pk)
    names = {slug: mode.name for slug, mode in BUILT_IN_MODES.items()} | {mode.slug: mode.name for mode in own}
    return [ModeChoice(slug, name) for slug, name in names.items()]


@organization_page(SECTION, methods=("GET",), requires=Ability.OWN_API_KEYS)
def api_keys(request: PageRequest, page: Page) -> HttpResponse:
    """The keys that were not revoked and that this person may see, a hundred a page. Two queries at most."""
    cursor = uuid_or_none(request.GET.get("cursor", ""))
    found = keys_of(page.organization.pk, user=_whose(page), cursor=cursor)
    here = page.url("api-keys-page")
    context = {
        "rows": [_row(page, key) for key in found.rows],
        "newest": here if cursor is not None else "",
        "older": with_query(here, {}, cursor=found.next_cursor) if found.next_cursor is not None else "",
    }
    return page.render("api_keys/page.html", context)


@organization_page(SECTION, requires=Ability.OWN_API_KEYS)
def create(request: PageRequest, page: Page) -> HttpResponse:
    """Make a key for oneself; the key is in the answer to this one post, and nowhere else."""
    initial = {"scopes": [Scope.INFERENCE.value], "expires": "90", "once": uuid4()}
    form = NewKeyForm(request.POST if request.method == "POST" else None, initial=initial)
    if form.is_bound and form.is_valid():
        given = form.cleaned_data
        with page.refusals(form):
            made = member_key_create(
                organization_id=page.organization.pk,
                acting=page.acting(),
                name=given["name"],
                scopes=[Scope(scope) for scope in given["scopes"]],
                default_mode=given["default_mode"],
                expires_at=form.end,
                key_id=given["once"],
            )
            return page.render("api_keys/created.html", _told_once(page, made), status=201)
    return page.render("api_keys/create.html", {"form": form, "once": uuid4(), "modes": _modes(page)})


def _told_once(page: Page, made: NewApiKey) -> dict[str, Any]:
    secret = made.secret.reveal()
    values = {
        "base_url": settings.BASE_URL,
        "key": secret,
        "organization": page.organization.pk,
        "kilo_cli": kilo_cli.PACKAGE,
    }
    uses = [replace(use, text=use.text.format(**values)) for use in USES if use.scope.value in made.row.scopes]
    return {"key": made.row, "secret": secret, "uses": uses}


@organization_page(SECTION, requires=Ability.OWN_API_KEYS)
def edit(request: PageRequest, page: Page, key_id: UUID) -> HttpResponse:
    """Another name, another default mode."""
    row = _row_or_404(page, key_id)
    initial = {"name": row.key.name, "default_mode": row.key.default_mode}
    form = KeyForm(request.POST if request.method == "POST" else None, initial=initial)
    if form.is_bound and form.is_valid():
        with page.refusals(form):
            key = member_key_update(
                organization_id=page.organization.pk, acting=page.acting(), key_id=key_id, **form.cleaned_data
            )
            return page.done(f"{key.name} was saved.", to=page.url("api-keys-page"))
    return page.render("api_keys/edit.html", {"form": form, "row": row, "modes": _modes(page)})


@organization_page(SECTION, requires=Ability.OWN_API_KEYS)
def revoke(request: PageRequest, page: Page, key_id: UUID) -> HttpResponse:
    """End a key for good, after a confirmation."""
    row = _row_or_404(page, key_id)
    if request.method == "POST":
        with page.refusals():
            member_key_revoke(organization_id=page.organization.pk, acting=page.acting(), key_id=key_id)
            return page.done(f"{row.key.name} was revoked.", to=page.url("api-keys-page"))
    return page.render("api_keys/revoke.html", {"row": row})
