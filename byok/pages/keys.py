"""The provider keys of an organization: the list, and what is done with one of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from uuid import UUID

from django.http import HttpResponse
from django_htmx.http import trigger_client_event

from byok.dependents import Dependent, all_byok_dependents, broken_byok_dependents, byok_dependents
from byok.models import Credential
from byok.pages.forms import EnabledForm, NewKeyForm, SecretForm
from byok.pages.rows import CustomRow, KeyRow, host_of, is_confirmed, noting_broken, owner_of_page
from byok.providers import Provider
from byok.selectors import credential_or_404, credentials_of, custom_provider_rows, provider_for, providers_of
from byok.services.checks import credential_discover, credential_test
from byok.services.credentials import credential_create, credential_delete, credential_update
from organizations.pages.frame import Page, PageRequest, organization_page
from organizations.pages.navigation import organization_path
from organizations.permissions import Ability

SECTION = "byok"


@organization_page(SECTION, methods=("GET",))
def keys(request: PageRequest, page: Page) -> HttpResponse:
    """All keys, and the providers that the organization has registered. Five queries at most."""
    providers, dependents = providers_of(page.organization.pk), all_byok_dependents(page.organization)
    rows = [
        KeyRow(row, providers.get(row.provider), dependents.get(row.provider, ()))
        for row in credentials_of(owner_of_page(page))
    ]
    keyed = {row.credential.provider: row for row in rows}
    context = {
        "rows": sorted(rows, key=lambda row: row.name.casefold()),
        "custom_rows": [
            CustomRow(row, keyed.get(row.provider_id)) for row in custom_provider_rows(page.organization.pk)
        ],
        "keyless": _keyless(providers, dependents, set(keyed)),
    }
    return page.render("byok/page.html", context)


def _keyless(
    providers: Mapping[str, Provider], dependents: Mapping[str, Sequence[Dependent]], keyed: set[str]
) -> list[tuple[Provider, Sequence[Dependent]]]:
    """The direct providers that something leads to although there is no key for them."""
    return [(providers[name], dependents[name]) for name in sorted(dependents) if name in providers.keys() - keyed]


def _modes_page(page: Page) -> str:
    return f"{organization_path(page.organization.pk)}modes"


@organization_page(SECTION, requires=Ability.MANAGE_CREDENTIALS)
def key_add(request: PageRequest, page: Page) -> HttpResponse:
    """Store a key; the provider is asked for its models meanwhile, ten seconds at most."""
    providers = providers_of(page.organization.pk)
    stored = {row.provider for row in credentials_of(owner_of_page(page))}
    free = sorted((one for one in providers.values() if one.id not in stored), key=lambda one: one.name.casefold())
    data = request.POST if request.method == "POST" else None
    form = NewKeyForm(free, data, initial={"provider": request.GET.get("provider", "")})
    if form.is_bound and form.is_valid():
        with page.refusals(form):
            row = credential_create(
                owner=owner_of_page(page),
                acting=page.acting(),
                provider_id=form.cleaned_data["provider"],
                api_key=form.cleaned_data["api_key"],
            )
            return _stored(page, _judged(page, row), "is stored")
    form.ask_again()
    groups = [
        (title, [(one, host_of(one)) for one in free if one.is_custom is is_custom])
        for title, is_custom in (("Custom providers", True), ("Providers", False))
    ]
    return page.render("byok/add.html", {"form": form, "groups": groups})


@organization_page(SECTION, requires=Ability.MANAGE_CREDENTIALS)
def key_replace(request: PageRequest, page: Page, credential_id: UUID) -> HttpResponse:
    """Put another secret in the place of the stored one."""
    row = _row(page, credential_or_404(owner_of_page(page), credential_id))
    form = SecretForm(request.POST if request.method == "POST" else None)
    if form.is_bound and form.is_valid():
        with page.refusals(form):
            changed = credential_update(
                owner=owner_of_page(page),
                acting=page.acting(),
                credential_id=credential_id,
                api_key=form.cleaned_data["api_key"],
            )
            return _stored(page, _judged(page, changed), "was replaced")
    form.ask_again()
    return page.render("byok/replace.html", {"form": form, "row": row})


def _stored(page: Page, row: KeyRow, done: str) -> HttpResponse:
    lead = page.failed if row.credential.discovery_error or row.broken else page.done
    return lead(row.told_stored(done), to=page.url("provider-keys"))


@organization_page(SECTION, methods=("GET",))
def key(request: PageRequest, page: Page, credential_id: UUID) -> HttpResponse:
    """One key with all its models. Three queries, six at most where something leads to it."""
    return _key_page(page, _judged(page, credential_or_404(owner_of_page(page), credential_id)))


def _key_page(page: Page, row: KeyRow) -> HttpResponse:
    """One key, or where the browser wants that alone, its row of the list."""
    credential = row.credential
    context = {"row": row, "models": sorted(credential.offered_models or (), key=str.casefold)}
    context["modes_page"] = _modes_page(page)
    return page.render("byok/key.html", context, partials={f"key-{credential.pk}": "byok/key_row.html"}, status=200)


@organization_page(SECTION, methods=("POST",), requires=Ability.MANAGE_CREDENTIALS)
def key_test(request: PageRequest, page: Page, credential_id: UUID) -> HttpResponse:
    """Try a key with one cheap request, ten seconds at most; the result comes in its place."""
    with page.refusals():
        tested = credential_test(owner=owner_of_page(page), acting=page.acting(), credential_id=credential_id)
    if page.refusal or page.conflict:
        return _not_checked(page)
    row = _judged(page, tested)
    return _checked(page, row, row.told_tested, is_good=row.test_tone == "ok")


@organization_page(SECTION, methods=("POST",), requires=Ability.MANAGE_CREDENTIALS)
def key_discover(request: PageRequest, page: Page, credential_id: UUID) -> HttpResponse:
    """Read the provider's list of models, ten seconds at most; the result comes in its place."""
    with page.refusals():
        found = credential_discover(owner=owner_of_page(page), acting=page.acting(), credential_id=credential_id)
    if page.refusal or page.conflict:
        return _not_checked(page)
    row = _judged(page, found)
    return _checked(page, row, row.told_discovered, is_good=not found.discovery_error and not row.broken)


def _not_checked(page: Page) -> HttpResponse:
    told = page.refusal or "The organization was changed meanwhile. Look at it again, then repeat it."
    return page.failed(told, to=page.url("provider-keys"))


def _checked(page: Page, row: KeyRow, told: str, *, is_good: bool) -> HttpResponse:
    if page.request.htmx:
        toast = {"text": told, "tone": "success" if is_good else "error"}
        return trigger_client_event(_key_page(page, row), "toast", toast)
    lead = page.done if is_good else page.failed
    return lead(told, to=page.url("provider-keys"))


@organization_page(SECTION, requires=Ability.MANAGE_CREDENTIALS)
def key_enabled(request: PageRequest, page: Page, credential_id: UUID) -> HttpResponse:
    """Switch a key on or off; off with a confirmation where something leads to it."""
    row = _row(page, credential_or_404(owner_of_page(page), credential_id))
    broken = list(row.dependents)
    form = EnabledForm(request.POST if request.method == "POST" else None)
    if form.is_bound and form.is_valid():
        is_enabled = form.cleaned_data["enabled"] == "on"
        with page.refusals(form), noting_broken(broken):
            credential_update(
                owner=owner_of_page(page),
                acting=page.acting(),
                credential_id=credential_id,
                is_enabled=is_enabled,
                confirm_broken_routes=is_confirmed(request),
            )
            told = f"The key for {row.name} is {'on' if is_enabled else 'off'}."
            return page.done(told, to=page.url("provider-keys"))
    return page.render("byok/disable.html", {"row": row, "broken": broken})


@organization_page(SECTION, requires=Ability.MANAGE_CREDENTIALS)
def key_delete(request: PageRequest, page: Page, credential_id: UUID) -> HttpResponse:
    """Delete a key, after a confirmation that lists what leads to it."""
    row = _row(page, credential_or_404(owner_of_page(page), credential_id))
    broken = list(row.dependents)
    if request.method == "POST":
        with page.refusals(), noting_broken(broken):
            credential_delete(
                owner=owner_of_page(page),
                acting=page.acting(),
                credential_id=credential_id,
                confirm_broken_routes=is_confirmed(request),
            )
            return page.done(f"The key for {row.name} was deleted.", to=page.url("provider-keys"))
    return page.render("byok/delete.html", {"row": row, "broken": broken})


def _row(page: Page, credential: Credential) -> KeyRow:
    provider = provider_for(page.organization.pk, credential.provider)
    return KeyRow(credential, provider, byok_dependents(page.organization, credential.provider))


def _judged(page: Page, credential: Credential) -> KeyRow:
    """The same with what of it would be refused today; two queries more, or three, where something leads to it."""
    return replace(_row(page, credential), broken=broken_byok_dependents(page.organization, credential.provider))
