"""Addresses of the account's pages. Names that allauth looks for are allauth's; its other pages are not served."""

from __future__ import annotations

from typing import Final

from allauth.account import views as account_views
from allauth.mfa.base import views as mfa_views
from allauth.mfa.recovery_codes import views as code_views
from allauth.socialaccount import views as social_views
from django.urls import URLPattern, URLResolver, path, register_converter
from django.urls.converters import StringConverter
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from organizations.accounts.devices import device_auth
from organizations.accounts.invitations import invitation
from organizations.accounts.oidc import oidc_callback, oidc_login
from organizations.accounts.refusals import View, with_status
from organizations.accounts.views import (
    RecoveryCodesView,
    ResetView,
    SecondFactorRemoveView,
    SecondFactorSetUpView,
    SignInView,
    account,
    key_revoke,
    sessions_end,
)


class ResetPerson(StringConverter):
    """Whose password a link resets. It ends at the first hyphen, because the rest has some too."""

    regex = "[0-9A-Za-z]+"


register_converter(ResetPerson, "reset_person")

# Before a view asks for anything: what else there may be is no way around it.
_methods: Final = require_http_methods(["GET", "HEAD", "POST"])
_page: Final = require_safe


def _form(view: View) -> View:
    return _methods(with_status(view))


urlpatterns: list[URLPattern | URLResolver] = [
    path("invitations/<str:token>", _form(invitation), name="invitation"),
    path("device-auth", _form(device_auth), name="device-auth"),
    path("account", _form(account), name="account_settings"),
    path("account/keys/<uuid:own_key_id>/revoke", require_POST(key_revoke), name="account_key_revoke"),
    path("account/sessions/end", require_POST(sessions_end), name="account_sessions_end"),
    # ------------------------------------------------------------ signing in and out
    path("accounts/login", _form(SignInView.as_view()), name="account_login"),
    path("accounts/logout", _form(account_views.LogoutView.as_view()), name="account_logout"),
    path("accounts/inactive", _page(account_views.AccountInactiveView.as_view()), name="account_inactive"),
    path("accounts/again", _form(account_views.ReauthenticateView.as_view()), name="account_reauthenticate"),
    # ------------------------------------------------------------ passwords
    path("accounts/password", _form(account_views.PasswordChangeView.as_view()), name="account_change_password"),
    path("accounts/password/first", _form(account_views.PasswordSetView.as_view()), name="account_set_password"),
    path("accounts/password/reset", _form(account_views.PasswordResetView.as_view()), name="account_reset_password"),
    path(
        "accounts/password/reset/sent",
        _page(account_views.PasswordResetDoneView.as_view()),
        name="account_reset_password_done",
    ),
    path(
        "accounts/password/reset/done",
        _page(account_views.PasswordResetFromKeyDoneView.as_view()),
        name="account_reset_password_from_key_done",
    ),
    path(
        "accounts/password/reset/<reset_person:uidb36>-<str:key>",
        _form(ResetView.as_view()),
        name="account_reset_password_from_key",
    ),
    # ------------------------------------------------------------ the second factor
    path("accounts/second-factor", _form(mfa_views.AuthenticateView.as_view()), name="mfa_authenticate"),
    path("accounts/second-factor/again", _form(mfa_views.ReauthenticateView.as_view()), name="mfa_reauthenticate"),
    path("accounts/second-factor/set-up", _form(SecondFactorSetUpView.as_view()), name="mfa_activate_totp"),
    path("accounts/second-factor/remove", _form(SecondFactorRemoveView.as_view()), name="mfa_deactivate_totp"),
    path("accounts/recovery-codes", _page(code_views.ViewRecoveryCodesView.as_view()), name="mfa_view_recovery_codes"),
    path(
        "accounts/recovery-codes/new",
        _form(RecoveryCodesView.as_view()),
        name="mfa_generate_recovery_codes",
    ),
    path(
        "accounts/recovery-codes/download",
        _page(code_views.DownloadRecoveryCodesView.as_view()),
        name="mfa_download_recovery_codes",
    ),
    # ------------------------------------------------------------ the identity provider
    path(
        "accounts/oidc/cancelled",
        _page(social_views.LoginCancelledView.as_view()),
        name="socialaccount_login_cancelled",
    ),
    path("accounts/oidc/<slug:provider_id>/login", oidc_login, name="openid_connect_login"),
    path("accounts/oidc/<slug:provider_id>/callback", oidc_callback, name="openid_connect_callback"),
]
