"""The pages of a person's own account, and what allauth's pages do not do alike here."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from allauth.account.decorators import reauthentication_required
from allauth.account.views import LoginView, PasswordResetFromKeyView
from allauth.mfa.models import Authenticator
from allauth.mfa.recovery_codes.views import GenerateRecoveryCodesView
from allauth.mfa.totp.views import ActivateTOTPView, DeactivateTOTPView
from django.conf import settings
from django.contrib import messages
from django.contrib.auth import update_session_auth_hash
from django.contrib.auth.decorators import login_required
from django.db import transaction
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils.decorators import method_decorator
from django.views.decorators.cache import never_cache

from kilo_gateway.ui.links import uuid_or_none, with_query
from organizations.accounts.callers import page_actor, page_user
from organizations.accounts.forms import NameForm
from organizations.accounts.oidc import is_vouched_for
from organizations.people_selectors import own_keys_of
from organizations.users import (
    own_key_revoke,
    recovery_codes_record,
    second_factor_record,
    user_rename,
    user_sessions_end,
)


class SignInView(LoginView):  # type: ignore[misc]  # allauth has no types
    """Email address and password, and the identity provider where there is one."""

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        return {**super().get_context_data(**kwargs), "oidc_name": settings.OIDC_NAME if settings.OIDC_ISSUER else ""}


class ResetView(PasswordResetFromKeyView):  # type: ignore[misc]
    """Where the link of a mail leads. A link that is none (any more) is not found."""

    def render_to_response(self, context: dict[str, Any], **kwargs: Any) -> HttpResponse:
        response: HttpResponse = super().render_to_response(context, **kwargs)
        if context.get("token_fail"):
            response.status_code = 404
        return response


@method_decorator(never_cache, name="dispatch")
@method_decorator(login_required, name="dispatch")
class SecondFactorSetUpView(ActivateTOTPView):  # type: ignore[misc]
    """Set up an authenticator app, with recovery codes."""

    @transaction.atomic
    def form_valid(self, form: Any) -> HttpResponse:
        response: HttpResponse = super().form_valid(form)
        second_factor_record(user=page_user(self.request), actor=page_actor(self.request), is_on=True)
        return response

    def get_success_url(self) -> str:
        return reverse("mfa_view_recovery_codes")


@method_decorator(never_cache, name="dispatch")
class SecondFactorRemoveView(DeactivateTOTPView):  # type: ignore[misc]
    """Go back to the password alone."""

    @transaction.atomic
    def form_valid(self, form: Any) -> HttpResponse:
        response: HttpResponse = super().form_valid(form)
        second_factor_record(user=page_user(self.request), actor=page_actor(self.request), is_on=False)
        return response

    def get_success_url(self) -> str:
        return reverse("account_settings")


class RecoveryCodesView(GenerateRecoveryCodesView):  # type: ignore[misc]
    """Replace the recovery codes."""

    @transaction.atomic
    def form_valid(self, form: Any) -> HttpResponse:
        response: HttpResponse = super().form_valid(form)
        recovery_codes_record(user=page_user(self.request), actor=page_actor(self.request))
        return response


@never_cache
@login_required
def account(request: HttpRequest) -> HttpResponse:
    """Name, password, second factor, own API keys and sessions of the signed-in person."""
    user = page_user(request)
    form = NameForm(request.POST if request.method == "POST" else None, initial={"name": user.name})
    if request.method == "POST" and form.is_valid():
        user_rename(user_id=user.pk, name=form.cleaned_data["name"], actor=page_actor(request))
        messages.success(request, "Your name is saved.")
        return redirect("account_settings")
    cursor = uuid_or_none(request.GET.get("cursor", ""))
    keys = own_keys_of(user, cursor=cursor)
    here = reverse("account_settings")
    kinds = set(Authenticator.objects.filter(user=user).values_list("type", flat=True))
    context = {
        "form": form,
        "has_password": user.has_usable_password(),
        "may_set_password": not is_vouched_for(user.email),
        "has_second_factor": Authenticator.Type.TOTP in kinds,
        "keys": keys.rows,
        "newest": here if cursor is not None else "",
        "older": with_query(here, {}, cursor=keys.next_cursor) if keys.next_cursor is not None else "",
    }
    return render(request, "account/account.html", context, status=422 if form.errors else 200)


@never_cache
@login_required
def key_revoke(request: HttpRequest, own_key_id: UUID) -> HttpResponseRedirect:
    """End an API key of the signed-in person that is bound to no organization."""
    key = own_key_revoke(user=page_user(request), key_id=own_key_id, actor=page_actor(request))
    messages.success(request, f"The API key {key.name} is revoked.")
    return HttpResponseRedirect(reverse("account_settings"))


@never_cache
@login_required
@reauthentication_required  # type: ignore[untyped-decorator]
def sessions_end(request: HttpRequest) -> HttpResponseRedirect:
    """End all sessions of the signed-in person but this one."""
    user = page_user(request)
    user_sessions_end(user=user, actor=page_actor(request))
    update_session_auth_hash(request, user)
    messages.success(request, "You are signed out everywhere else.")
    return HttpResponseRedirect(reverse("account_settings"))
