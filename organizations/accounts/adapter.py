"""Where our rules meet django-allauth: limits, audit log, mails, and that nobody registers himself."""

from __future__ import annotations

import logging
import smtplib
from typing import Any, cast

from allauth.account.adapter import DefaultAccountAdapter
from allauth.account.internal.flows.login import get_authentication_records
from allauth.core.exceptions import ImmediateHttpResponse
from django.conf import settings
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.urls import reverse
from django.utils.crypto import constant_time_compare

from kilo_gateway.addresses import client_address
from kilo_gateway.secret import Secret
from organizations.accounts.callers import page_actor
from organizations.accounts.refusals import leading_to_sign_in
from organizations.models import User
from organizations.sign_ins import forget_attempt, may_try_to_sign_in, sign_in_failure_record, sign_in_record
from organizations.users import user_password_set

log = logging.getLogger(__name__)

_BEGUN_WITH = "sign_in_begun_with"
_MEANS = {"password": "a password", "socialaccount": "the identity provider", "mfa": "a second factor"}


class AccountAdapter(DefaultAccountAdapter):  # type: ignore[misc]  # allauth has no types
    """What is different here from allauth's own ways."""

    def is_open_for_signup(self, request: HttpRequest) -> bool:
        """Accounts come from invitations and from staff."""
        return False

    # ------------------------------------------------------------ signing in

    def pre_authenticate(self, request: HttpRequest, **credentials: Any) -> None:
        """Count the attempt before the password is looked at; raises ValidationError when there were too many."""
        if not may_try_to_sign_in(_email(credentials), client_address(request.META)):
            raise self.validation_error("too_many_login_attempts")

    def authenticate(self, request: HttpRequest, **credentials: Any) -> User | None:
        user = cast("User | None", super().authenticate(request, **credentials))
        if user is not None:
            forget_attempt(_email(credentials), client_address(request.META))
        return user

    def authentication_failed(self, request: HttpRequest, **credentials: Any) -> None:
        sign_in_failure_record(email=_email(credentials), address=client_address(request.META))

    def pre_login(self, request: HttpRequest, user: Any, **kwargs: Any) -> HttpResponse | None:
        """Remember which password the sign-in began with: a second factor may be asked for in between."""
        request.session[_BEGUN_WITH] = user.get_session_auth_hash()
        return cast("HttpResponse | None", super().pre_login(request, user, **kwargs))

    def login(self, request: HttpRequest, user: Any) -> None:
        """Open the session, under a new id, and note it.

        A sign-in that began before the person's sessions were ended begins anew: raises the way to it.
        """
        begun_with = request.session.pop(_BEGUN_WITH, None)
        if begun_with is not None and not constant_time_compare(begun_with, user.get_session_auth_hash()):
            raise ImmediateHttpResponse(redirect("account_login"))
        super().login(request, user)
        methods = [record["method"] for record in get_authentication_records(request, user)]
        means = " and ".join(_MEANS[method] for method in dict.fromkeys(methods) if method in _MEANS)
        sign_in_record(user=user, address=client_address(request.META), means=means or "an invitation")

    def set_password(self, user: Any, password: str) -> None:
        with leading_to_sign_in():
            user_password_set(user=user, password=Secret(password), actor=page_actor(self.request, user))

    def get_client_ip(self, request: HttpRequest) -> str:
        return client_address(request.META) or "unknown"

    def get_password_change_redirect_url(self, request: HttpRequest) -> str:
        return reverse("account_settings")

    # ------------------------------------------------------------ mails

    def get_reset_password_from_key_url(self, key: str) -> str:
        """With the address of the installation: the one that the request named may be anybody's."""
        path = reverse("account_reset_password_from_key", kwargs={"uidb36": "UID", "key": "KEY"})
        return f"{settings.BASE_URL}{path.replace('UID-KEY', key)}"

    def send_mail(self, template_prefix: str, email: str, context: dict[str, Any]) -> None:
        """A mail that cannot be sent is noted and holds nothing up: the page must not tell whether there was one."""
        try:
            super().send_mail(template_prefix, email, {**context, "base_url": settings.BASE_URL})
        except (OSError, smtplib.SMTPException) as error:
            log.error("a mail could not be sent", extra={"mail": template_prefix, "error": type(error).__name__})  # noqa: TRY400 - the traceback may hold the mail


def _email(credentials: dict[str, Any]) -> str:
    return str(credentials.get("email") or credentials.get("username") or "").strip().lower()
