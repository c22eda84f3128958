"""A person's own provider keys, below the page of his account. They serve his requests that are for no organization."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final
from uuid import UUID

from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.forms import Form
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import render
from django.urls import reverse
from django.views.decorators.cache import never_cache
from django.views.decorators.debug import sensitive_post_parameters
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from byok.encryption import SecretOwner
from byok.models import Credential
from byok.pages.forms import EnabledForm, NewKeyForm, SecretForm
from byok.pages.rows import KeyRow, host_of
from byok.providers import PROVIDERS
from byok.selectors import credential_or_404, credentials_of
from byok.services.checks import credential_discover, credential_test
from byok.services.credentials import credential_create, credential_delete, credential_update
from kilo_gateway.api_errors import GatewayError
from organizations.accounts.callers import page_actor, page_user
from organizations.acting import Acting
from organizations.models import User
from organizations.pages.frame import into_fields

ACCOUNT: Final = "account_settings"
KEY_PAGE: Final = "own-provider-key"
_form = require_http_methods(["GET", "HEAD", "POST"])


def own_key_rows(user: User) -> list[KeyRow]:
    """A person's keys by the names of their providers; one query."""
    return sorted(map(_row, credentials_of(_owner(user))), key=lambda row: row.name.casefold())


def _row(credential: Credential) -> KeyRow:
    return KeyRow(credential, PROVIDERS.get(credential.provider), ())


def _owner(user: User) -> SecretOwner:
    return SecretOwner.user(user.pk)


def _mine(request: HttpRequest) -> dict[str, Any]:
    """Whose keys are changed, and by whom, as the services want it."""
    user = page_user(request)
    return {"owner": _owner(user), "acting": Acting(page_actor(request), user)}


@_form
@never_cache
@sensitive_post_parameters("api_key")
@login_required
def key_add(request: HttpRequest) -> HttpResponse:
    """Store a key; the provider is asked for its models meanwhile, ten seconds at most."""
    stored = {row.provider for row in credentials_of(_owner(page_user(request)))}
    free = sorted((one for one in PROVIDERS.values() if one.id not in stored), key=lambda one: one.name.casefold())
    form = NewKeyForm(free, request.POST if request.method == "POST" else None)

    def store() -> Credential:
        given = form.cleaned_data
        return credential_create(**_mine(request), provider_id=given["provider"], api_key=given["api_key"])

    if taken := _taken(request, form, store, done="is stored"):
        return taken
    context = {"form": form, "groups": [("Providers", [(one, host_of(one)) for one in free])]}
    return render(request, "own_keys/add.html", context, status=422 if form.is_bound else 200)


@_form
@never_cache
@sensitive_post_parameters("api_key")
@login_required
def key_replace(request: HttpRequest, own_credential_id: UUID) -> HttpResponse:
    """Put another secret in the place of the stored one."""
    row = _row(credential_or_404(_owner(page_user(request)), own_credential_id))
    form = SecretForm(request.POST if request.method == "POST" else None)

    def replace() -> Credential:
        secret = form.cleaned_data["api_key"]
        return credential_update(**_mine(request), credential_id=own_credential_id, api_key=secret)

    if taken := _taken(request, form, replace, done="was replaced"):
        return taken
    context = {"form": form, "row": row}
    return render(request, "own_keys/replace.html", context, status=422 if form.is_bound else 200)


def _taken(
    request: HttpRequest, form: SecretForm, change: Callable[[], Credential], *, done: str
) -> HttpResponse | None:
    """Back to the account, if a key was posted and taken; None says that the form is to be shown."""
    if form.is_bound and form.is_valid():
        try:
            changed = change()
        except GatewayError as error:
            if refusal := _refused(error, form):
                form.add_error(None, refusal)
        else:
            return _told(request, _row(changed).told_stored(done), ACCOUNT, is_good=not changed.discovery_error)
    form.ask_again()
    return None


def _refused(error: GatewayError, form: Form | None = None) -> str:
    if error.status >= 500:
        raise error
    return into_fields(error, form)


def _told(request: HttpRequest, told: str, to: str, *, is_good: bool = True, **arguments: object) -> HttpResponse:
    (messages.success if is_good else messages.error)(request, told)
    return HttpResponseRedirect(reverse(to, kwargs=arguments))


@require_safe
@never_cache
@login_required
def key(request: HttpRequest, own_credential_id: UUID) -> HttpResponse:
    """One key with all its models. One query."""
    credential = credential_or_404(_owner(page_user(request)), own_credential_id)
    models = sorted(credential.offered_models or (), key=str.casefold)
    return render(request, "own_keys/key.html", {"row": _row(credential), "key": credential, "models": models})


@require_POST
@never_cache
@login_required
def key_test(request: HttpRequest, own_credential_id: UUID) -> HttpResponse:
    """Try a key with one cheap request, ten seconds at most."""

    def test() -> tuple[str, bool]:
        row = _row(credential_test(**_mine(request), credential_id=own_credential_id))
        return row.told_tested, row.test_tone == "ok"

    return _done_with(request, own_credential_id, test)


@require_POST
@never_cache
@login_required
def key_discover(request: HttpRequest, own_credential_id: UUID) -> HttpResponse:
    """Read the provider's list of models, ten seconds at most."""

    def discover() -> tuple[str, bool]:
        row = _row(credential_discover(**_mine(request), credential_id=own_credential_id))
        return row.told_discovered, not row.credential.discovery_error

    return _done_with(request, own_credential_id, discover)


@require_POST
@never_cache
@login_required
def key_enabled(request: HttpRequest, own_credential_id: UUID) -> HttpResponse:
    """Switch a key on or off."""
    form = EnabledForm(request.POST)

    def switch() -> tuple[str, bool]:
        if not form.is_valid():
            return "The key can be switched on or off.", False
        is_on = form.cleaned_data["enabled"] == "on"
        row = _row(credential_update(**_mine(request), credential_id=own_credential_id, is_enabled=is_on))
        return f"The key for {row.name} is {'on' if is_on else 'off'}.", True

    return _done_with(request, own_credential_id, switch)


def _done_with(request: HttpRequest, credential_id: UUID, do: Callable[[], tuple[str, bool]]) -> HttpResponse:
    """Do it, and back to the key's page with what came of it and whether that is good."""
    try:
        told, is_good = do()
    except GatewayError as error:
        told, is_good = _refused(error), False
    return _told(request, told, KEY_PAGE, is_good=is_good, own_credential_id=credential_id)


@_form
@never_cache
@login_required
def key_delete(request: HttpRequest, own_credential_id: UUID) -> HttpResponse:
    """Delete a key, after a confirmation."""
    row = _row(credential_or_404(_owner(page_user(request)), own_credential_id))
    if request.method == "POST":
        credential_delete(**_mine(request), credential_id=own_credential_id)
        return _told(request, f"The key for {row.name} was deleted.", ACCOUNT)
    return render(request, "own_keys/delete.html", {"row": row})
