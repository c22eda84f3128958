"""The forms of the account's pages: allauth's, with our limits and words, and a few of our own."""

from __future__ import annotations

from typing import Any, Final, cast

from allauth.account.adapter import get_adapter
from allauth.account.forms import (
    ChangePasswordForm,
    LoginForm,
    ReauthenticateForm,
    ResetPasswordForm,
    ResetPasswordKeyForm,
    SetPasswordForm,
)
from allauth.mfa.base.forms import AuthenticateForm
from allauth.mfa.base.forms import ReauthenticateForm as MfaReauthenticateForm
from allauth.mfa.totp.forms import ActivateTOTPForm
from django import forms
from django.conf import settings
from django.contrib.auth.password_validation import validate_password
from django.core.exceptions import ValidationError
from django.http import HttpRequest

from kilo_gateway.addresses import client_address
from kilo_gateway.secret import Secret
from organizations.accounts.callers import page_actor
from organizations.accounts.oidc import is_vouched_for
from organizations.accounts.refusals import leading_to_sign_in
from organizations.attempts import Limit, network_of
from organizations.models import User
from organizations.sign_ins import (
    OWN_PASSWORD,
    RESET_FROM_ADDRESS,
    RESET_OF_ACCOUNT,
    SECOND_FACTOR,
    SECOND_FACTOR_OF_DAY,
    USED_CODE,
    sign_in_failure_record,
)
from organizations.users import user_password_reset

NEW_PASSWORD_HELP: Final = "At least 12 characters, and not one that everybody uses. A few words in a row do well."  # noqa: S105 - a text
CODE_HELP: Final = "Six digits from your authenticator app, or one of your recovery codes."
# What the first refuses does not count for the second.
_CODE_LIMITS: Final = (SECOND_FACTOR, SECOND_FACTOR_OF_DAY)


def _plain(form: forms.Form, **labels: str) -> None:
    """Labels above the fields say what they are; no placeholder says it again. Our labels, and no help of others."""
    for name, field in form.fields.items():
        field.widget.attrs.pop("placeholder", None)
        field.label = labels.get(name, field.label)
        field.help_text = NEW_PASSWORD_HELP if name == "password1" else ""


def _count(limit: Limit, subject: str) -> None:
    if not limit.allows(subject):
        raise get_adapter().validation_error("too_many_login_attempts")


def _refuse_where_the_issuer_decides(email: str) -> None:
    """A password of one's own would outlive the account at the issuer. It says the same whether there is an account."""
    if is_vouched_for(email):
        raise ValidationError(
            f"{settings.OIDC_NAME} decides who has this address: sign in there. No password is set for it here."
        )


class SignInForm(LoginForm):  # type: ignore[misc]  # allauth has no types
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        _plain(self, login="Email address")
        self.fields["login"].widget.attrs |= {"autocomplete": "username", "autofocus": True}


class ResetRequestForm(ResetPasswordForm):  # type: ignore[misc]
    """Where to send a link. It behaves alike for addresses that have an account and for those that have none."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        _plain(self, email="Email address")

    def clean_email(self) -> str:
        email = str(self.cleaned_data["email"]).strip().lower()
        _count(RESET_FROM_ADDRESS, network_of(client_address(get_adapter().request.META)))
        _count(RESET_OF_ACCOUNT, email)
        _refuse_where_the_issuer_decides(email)
        return str(super().clean_email())

    def save(self, request: HttpRequest, **kwargs: Any) -> str:
        """A mail goes out either way, so that neither the page nor its time tells whether there is an account."""
        if self.users:
            return str(super().save(request, **kwargs))
        email = str(self.cleaned_data["email"])
        get_adapter(request).send_mail("account/email/unknown_account", email, {})
        return email


class ResetForm(ResetPasswordKeyForm):  # type: ignore[misc]
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        _plain(self, password1="New password", password2="New password again")

    def clean(self) -> dict[str, Any]:
        _refuse_where_the_issuer_decides(self.user.email)
        return cast("dict[str, Any]", super().clean())

    def save(self) -> None:
        """Nobody is signed in: whoever got the mail acts as the person."""
        password = Secret(self.cleaned_data["password1"])
        actor = page_actor(get_adapter().request, self.user)
        with leading_to_sign_in():
            user_password_reset(user=self.user, password=password, actor=actor)


class PasswordChangeForm(ChangePasswordForm):  # type: ignore[misc]
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        _plain(self, oldpassword="Present password", password1="New password", password2="New password again")

    def clean_oldpassword(self) -> str:
        _count(OWN_PASSWORD, str(self.user.pk))
        return str(super().clean_oldpassword())


class FirstPasswordForm(SetPasswordForm):  # type: ignore[misc]
    """For whoever has signed in by other means so far."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        _plain(self, password1="New password", password2="New password again")

    def clean(self) -> dict[str, Any]:
        _refuse_where_the_issuer_decides(self.user.email)
        return cast("dict[str, Any]", super().clean())


class PasswordAgainForm(ReauthenticateForm):  # type: ignore[misc]
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        _plain(self)
        self.fields["password"].widget.attrs["autofocus"] = True


class _CountedCode(forms.Form):
    """A code that may be guessed only a few times, and works once: in all processes."""

    user: User
    help_text: str = CODE_HELP

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        _plain(self, code="Code")
        self.fields["code"].help_text = self.help_text
        self.fields["code"].widget.attrs |= {"autofocus": True, "maxlength": 20}

    def clean_code(self) -> str:
        person = str(self.user.pk)
        for limit in _CODE_LIMITS:
            _count(limit, person)
        try:
            code = str(super().clean_code())  # type: ignore[misc]  # of the form that it is mixed into
            if not USED_CODE.allows(f"{person} {''.join(c for c in code if c.isalnum()).lower()}"):
                raise get_adapter().validation_error("incorrect_code")
        except ValidationError:
            address = client_address(get_adapter().request.META)
            sign_in_failure_record(email=self.user.email, address=address, means="a second factor")
            raise
        for limit in _CODE_LIMITS:
            limit.give_back(person)
        return code


class SecondFactorForm(_CountedCode, AuthenticateForm):  # type: ignore[misc]
    """The second step of a sign-in."""


class SecondFactorAgainForm(_CountedCode, MfaReauthenticateForm):  # type: ignore[misc]
    """The same before something that matters."""


class SecondFactorSetUpForm(_CountedCode, ActivateTOTPForm):  # type: ignore[misc]
    """That the app shows the right codes."""

    help_text = "The six digits that the app shows now."


class NameForm(forms.Form):
    """How a person is called."""

    name = forms.CharField(label="Name", max_length=150, widget=forms.TextInput(attrs={"autocomplete": "name"}))


class JoinForm(NameForm):
    """An account for who was invited."""

    password = forms.CharField(
        label="Password",
        strip=False,
        max_length=1000,
        help_text=NEW_PASSWORD_HELP,
        widget=forms.PasswordInput(attrs={"autocomplete": "new-password"}),
    )

    def __init__(self, *args: Any, email: str, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._email = email

    def clean(self) -> dict[str, Any]:
        data = super().clean() or self.cleaned_data
        if password := data.get("password"):
            try:
                validate_password(password, User(email=self._email, name=data.get("name") or ""))
            except ValidationError as error:
                self.add_error("password", error)
        return data
