"""The providers that an organization registers for itself. The page of provider keys lists them."""

from __future__ import annotations

from django.http import HttpResponse

from byok.dependents import Dependent, byok_dependents
from byok.models import CustomProvider
from byok.pages.custom_provider_form import CustomProviderForm, NewCustomProviderForm, stored_values
from byok.pages.rows import is_confirmed, noting_broken, owner_of_page
from byok.selectors import credentials_of, custom_provider_or_404
from byok.services.custom_providers import custom_provider_create, custom_provider_delete, custom_provider_update
from organizations.pages.frame import Page, PageRequest, organization_page
from organizations.permissions import Ability

SECTION = "byok"


@organization_page(SECTION, requires=Ability.MANAGE_CREDENTIALS)
def provider_add(request: PageRequest, page: Page) -> HttpResponse:
    """Register a provider; its key comes next."""
    form = NewCustomProviderForm(request.POST if request.method == "POST" else None)
    if form.is_bound and form.is_valid():
        edit = form.edit()
        with page.refusals(form):
            row = custom_provider_create(
                organization_id=page.organization.pk,
                acting=page.acting(),
                provider_id=form.cleaned_data["id"],
                name=form.cleaned_data["name"],
                base_url=form.cleaned_data["base_url"],
                api_kinds=form.cleaned_data["api_kinds"],
                key_style=form.cleaned_data["key_style"],
                headers=edit.headers or (),
                models=edit.models or (),
            )
            return page.done(f"{row.name} is registered. Add its key to use it.", to=page.url("provider-keys"))
    return page.render("custom_providers/add.html", {"form": form})


@organization_page(SECTION, requires=Ability.MANAGE_CREDENTIALS)
def provider_edit(request: PageRequest, page: Page, provider_id: str) -> HttpResponse:
    """Change a provider; what that would break is listed and asked about."""
    row = custom_provider_or_404(page.organization.pk, provider_id)
    form = CustomProviderForm(row, request.POST if request.method == "POST" else None)
    broken: list[Dependent] = []
    had_key = _has_key(page, provider_id)
    if form.is_bound and form.is_valid():
        with page.refusals(form, now=lambda: _stored_now(page, provider_id)), noting_broken(broken):
            changed = custom_provider_update(
                organization_id=page.organization.pk,
                acting=page.acting(),
                provider_id=provider_id,
                edit=form.edit(),
                confirm_broken_routes=is_confirmed(request),
            )
            return page.done(_changed(page, changed, had_key=had_key), to=page.url("provider-keys"))
    return page.render("custom_providers/edit.html", {"form": form, "provider": row, "broken": broken})


def _stored_now(page: Page, provider_id: str) -> dict[str, object]:
    return stored_values(custom_provider_or_404(page.organization.pk, provider_id))


def _has_key(page: Page, provider_id: str) -> bool:
    return any(row.provider == provider_id for row in credentials_of(owner_of_page(page)))


def _changed(page: Page, row: CustomProvider, *, had_key: bool) -> str:
    if had_key and not _has_key(page, row.provider_id):
        return f"{row.name} was saved. It is at another host now, so its key was deleted: add it again."
    return f"{row.name} was saved."


@organization_page(SECTION, requires=Ability.MANAGE_CREDENTIALS)
def provider_delete(request: PageRequest, page: Page, provider_id: str) -> HttpResponse:
    """Delete a provider with its key, after a confirmation that lists what leads to it."""
    row = custom_provider_or_404(page.organization.pk, provider_id)
    broken = byok_dependents(page.organization, provider_id)
    if request.method == "POST":
        with page.refusals(), noting_broken(broken):
            custom_provider_delete(
                organization_id=page.organization.pk,
                acting=page.acting(),
                provider_id=provider_id,
                confirm_broken_routes=is_confirmed(request),
            )
            return page.done(f"{row.name} was deleted.", to=page.url("provider-keys"))
    has_key = _has_key(page, provider_id)
    return page.render("custom_providers/delete.html", {"provider": row, "broken": broken, "has_key": has_key})
