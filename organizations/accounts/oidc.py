"""Signing in through the company's identity provider (OpenID Connect).

Its word counts for who somebody is, not for who may come in: that is decided by an account that there is, or an
invitation that is open, for the verified email address.
"""

from __future__ import annotations

from typing import Any, Final, NoReturn

from allauth.core.exceptions import ImmediateHttpResponse
from allauth.socialaccount.adapter import DefaultSocialAccountAdapter
from allauth.socialaccount.models import SocialApp, SocialLogin
from allauth.socialaccount.providers.base import AuthProcess
from allauth.socialaccount.providers.oauth2.views import OAuth2CallbackView, OAuth2LoginView
from allauth.socialaccount.providers.openid_connect.provider import OpenIDConnectProvider
from allauth.socialaccount.providers.openid_connect.views import OpenIDConnectOAuth2Adapter
from django.conf import settings
from django.db import transaction
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseBase
from django.shortcuts import render
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_POST, require_safe
from requests import RequestException

from kilo_gateway.addresses import client_address
from organizations.accounts.callers import page_actor
from organizations.members import invited_person_create
from organizations.models import User
from organizations.models.names import as_name
from organizations.users import identity_record, user_email_prove, user_email_trust

PROVIDER_ID: Final = "oidc"


def is_vouched_for(email: str) -> bool:
    """Whether the identity provider decides who has this address, so that nobody else may make an account for it."""
    if not settings.OIDC_ISSUER:
        return False
    return not settings.OIDC_EMAIL_DOMAINS or email.rpartition("@")[2] in settings.OIDC_EMAIL_DOMAINS


class OidcAdapter(DefaultSocialAccountAdapter):  # type: ignore[misc]  # allauth has no types
    """Which identity provider there is, and whom it may sign in."""

    def list_apps(self, request: HttpRequest, provider: Any = None, client_id: Any = None) -> list[SocialApp]:
        """The one of the settings, if it is there and meant. No query."""
        meant = provider in {None, PROVIDER_ID, OpenIDConnectProvider.id}
        if not settings.OIDC_ISSUER or not meant or client_id not in {None, settings.OIDC_CLIENT_ID}:
            return []
        return [
            SocialApp(
                provider=OpenIDConnectProvider.id,
                provider_id=PROVIDER_ID,
                name=settings.OIDC_NAME,
                client_id=settings.OIDC_CLIENT_ID,
                secret=settings.OIDC_CLIENT_SECRET,
                settings={"server_url": settings.OIDC_ISSUER, "oauth_pkce_enabled": True},
            )
        ]

    def pre_social_login(self, request: HttpRequest, sociallogin: SocialLogin) -> None:
        """Find the person, or refuse: raises the page that says why."""
        if sociallogin.state.get("process") != AuthProcess.LOGIN:
            self._refuse(request, "process", "")
        claims = _claims(sociallogin)
        if claims is None:
            self._refuse(request, "claims", "")
        email = str(claims.get("email") or "").strip().lower()
        if not email or not _is_verified(claims):
            self._refuse(request, "unverified", email)
        if not is_vouched_for(email):
            self._refuse(request, "domain", email)
        if sociallogin.is_existing:
            _trust(request, sociallogin.user)
            return
        user = User.objects.filter(email=email).first() or invited_person_create(
            email=email, name=as_name(str(claims.get("name") or ""))[:150], address=client_address(request.META)
        )
        if user is None:
            self._refuse(request, "unknown", email)
        if user.is_active:
            with transaction.atomic():
                user_email_prove(user=user, actor=page_actor(request, user))
                sociallogin.connect(request, user)
                identity_record(user=user, actor=page_actor(request, user))
        else:
            sociallogin.user = user
            self._refuse(request, "inactive", email)

    def is_open_for_signup(self, request: HttpRequest, sociallogin: SocialLogin) -> bool:
        return False

    def _refuse(self, request: HttpRequest, reason: str, email: str) -> NoReturn:
        context = {"reason": reason, "email": email, "provider": settings.OIDC_NAME}
        raise ImmediateHttpResponse(render(request, "socialaccount/refused.html", context, status=403))


class SignedTokens(OpenIDConnectOAuth2Adapter):  # type: ignore[misc]
    """The issuer's own signature is checked, however the token came."""

    def _decode_id_token(self, app: SocialApp, id_token: str) -> dict[str, Any]:
        self.did_fetch_access_token = False
        claims: dict[str, Any] = super()._decode_id_token(app, id_token)
        return claims


def _trust(request: HttpRequest, user: User) -> None:
    """Whoever is connected with the issuer had shown that the address is his, before that was noted as well."""
    if user.is_active and user.email_proven_at is None:
        user_email_trust(user=user, actor=page_actor(request, user))


def _claims(sociallogin: SocialLogin) -> dict[str, Any] | None:
    """What the issuer says about the person; None when its two answers are about different people."""
    told = sociallogin.account.extra_data
    token, more = told.get("id_token") or {}, told.get("userinfo") or {}
    if not token.get("sub") or (more and more.get("sub") != token["sub"]):
        return None
    return {**token, **more}


def _is_verified(claims: dict[str, Any]) -> bool:
    return claims.get("email_verified", settings.OIDC_TRUST_EMAIL) in (True, "true")


def _required(provider_id: str) -> None:
    if not settings.OIDC_ISSUER or provider_id != PROVIDER_ID:
        raise Http404


@never_cache
@require_POST
def oidc_login(request: HttpRequest, provider_id: str) -> HttpResponseBase:
    """Send the person to the issuer, by a page: the form may lead to no other host, which is what its policy says."""
    _required(provider_id)
    try:
        response: HttpResponse = OAuth2LoginView.adapter_view(SignedTokens(request, provider_id))(request)
    except (RequestException, LookupError):
        # The issuer cannot be reached, or does not say what an issuer has to.
        return render(request, "socialaccount/authentication_error.html", status=502)
    if response.status_code != 302:
        return response
    return render(
        request, "socialaccount/leave.html", {"address": response["Location"], "provider": settings.OIDC_NAME}
    )


@never_cache
@require_safe
def oidc_callback(request: HttpRequest, provider_id: str) -> HttpResponseBase:
    """Where the issuer sends the person back to."""
    _required(provider_id)
    response: HttpResponse = OAuth2CallbackView.adapter_view(SignedTokens(request, provider_id))(request)
    return response
