"""The page that the link of an invitation leads to."""

from __future__ import annotations

from allauth.account.adapter import get_adapter
from django.conf import settings
from django.contrib import messages
from django.core.exceptions import ValidationError
from django.db import IntegrityError
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseBase
from django.shortcuts import redirect, render
from django.views.decorators.cache import never_cache
from django.views.decorators.debug import sensitive_post_parameters

from kilo_gateway.addresses import client_address
from kilo_gateway.api_errors import GatewayError
from kilo_gateway.secret import Secret
from organizations.accounts.callers import page_actor, page_user
from organizations.accounts.forms import JoinForm
from organizations.accounts.oidc import is_vouched_for
from organizations.members import invitation_accept, invitation_register
from organizations.models import Invitation
from organizations.people_selectors import InvitationState, account_of, invitation_of_token, invitation_state

_STATUS = {InvitationState.UNKNOWN: 404, InvitationState.OF_ANOTHER: 403, InvitationState.OPEN: 200}


@never_cache
@sensitive_post_parameters("password")
def invitation(request: HttpRequest, token: str) -> HttpResponseBase:
    """Who invites to what, and the way in: accept, sign in first, or an account made here."""
    row = invitation_of_token(token)
    state = invitation_state(row, page_user(request) if request.user.is_authenticated else None)
    if row is None or state is not InvitationState.OPEN:
        return _page(request, row, state)
    if request.user.is_authenticated:
        return _accept(request, row, token) if request.method == "POST" else _page(request, row, state)
    if account_of(row.email) is not None:
        return _page(request, row, state, has_account=True)
    if is_vouched_for(row.email):
        # The link is known to whoever invited, too: a password set here could be his, and outlive the first sign-in.
        return _page(request, row, state, by_issuer=True)
    form = JoinForm(request.POST if request.method == "POST" else None, email=row.email)
    if request.method == "POST" and form.is_valid():
        return _register(request, row, token, form)
    return _page(request, row, state, form=form)


def _accept(request: HttpRequest, row: Invitation, token: str) -> HttpResponseBase:
    try:
        invitation_accept(token=token, user=page_user(request), actor=page_actor(request))
    except (GatewayError, Http404):
        # It ended in the meantime; now it shows how.
        return redirect(request.path)
    messages.success(request, f"You are a member of {row.organization.name} now.")
    return redirect(f"/organizations/{row.organization_id}/")


def _register(request: HttpRequest, row: Invitation, token: str, form: JoinForm) -> HttpResponseBase:
    try:
        user = invitation_register(
            token=token,
            name=form.cleaned_data["name"],
            password=Secret(form.cleaned_data["password"]),
            address=client_address(request.META),
        )
    except (GatewayError, Http404, ValidationError, IntegrityError):
        return redirect(request.path)
    get_adapter(request).login(request, user)
    messages.success(request, f"Welcome. You are a member of {row.organization.name} now.")
    return redirect(f"/organizations/{row.organization_id}/")


def _page(
    request: HttpRequest,
    row: Invitation | None,
    state: InvitationState,
    *,
    form: JoinForm | None = None,
    has_account: bool = False,
    by_issuer: bool = False,
) -> HttpResponse:
    context = {
        "invitation": row,
        "state": state.value,
        "form": form,
        "has_account": has_account,
        "issuer": settings.OIDC_NAME if by_issuer else "",
    }
    status = 422 if form is not None and form.errors else _STATUS.get(state, 410)
    return render(request, "account/invitation.html", context, status=status)
