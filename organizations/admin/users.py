"""People's accounts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from allauth.account.adapter import get_adapter
from allauth.mfa.models import Authenticator
from django import forms
from django.contrib import admin, messages
from django.contrib.auth import update_session_auth_hash
from django.contrib.auth.password_validation import password_validators_help_text_html, validate_password
from django.core.exceptions import ValidationError
from django.db import transaction
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse

from kilo_gateway.admin_site import StaffAdmin, confirmation, refusal_text
from kilo_gateway.secret import Secret
from organizations.models import User
from organizations.services import lock_user
from organizations.staff import staff_actor
from organizations.users import second_factor_remove, user_create, user_update

if TYPE_CHECKING:
    _UserForm = forms.ModelForm[User]
else:
    _UserForm = forms.ModelForm


class UserForm(_UserForm):
    """What staff decides about an account. A password goes in and never comes out."""

    password1 = forms.CharField(
        label="Password",
        strip=False,
        widget=forms.PasswordInput(attrs={"autocomplete": "new-password"}),
    )
    password2 = forms.CharField(
        label="Password again", strip=False, widget=forms.PasswordInput(attrs={"autocomplete": "new-password"})
    )

    class Meta:
        model = User
        fields = ("email", "name", "is_active", "is_staff")

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        is_new = "email" in self.fields  # afterwards it is shown, and not a field
        self.fields["password1"].help_text = (
            password_validators_help_text_html() if is_new else "Leave blank to keep the present one."
        )
        for name in ("password1", "password2"):
            self.fields[name].required = is_new

    def clean_email(self) -> str:
        return str(self.cleaned_data["email"]).strip().lower()

    def clean(self) -> dict[str, Any]:
        data = super().clean() or self.cleaned_data
        first, again = data.get("password1"), data.get("password2")
        if first != again and "password1" in data and "password2" in data:
            self.add_error("password2", "The two passwords are not the same.")
        elif first:
            person = User(email=data.get("email") or self.instance.email, name=data.get("name") or "")
            try:
                validate_password(first, person)
            except forms.ValidationError as error:
                self.add_error("password1", error)
        return data

    @property
    def password(self) -> Secret | None:
        """The new password; None when it stays."""
        text = self.cleaned_data.get("password1")
        return Secret(text) if text else None


@admin.register(User)
class UserAdmin(StaffAdmin):
    """Create people, let them in or not, make them staff, help out who has lost a second factor."""

    can_add = can_change = True
    form = UserForm
    hidden_fields = ("password",)
    list_display = ("email", "name", "is_active", "is_staff", "last_login", "created_at")
    list_filter = ("is_active", "is_staff")
    search_fields = ("email", "name")
    search_help_text = "Part of the email address or the name, or an id."
    ordering = ("email",)
    readonly_fields = ("id", "second_factor", "email_proven_at", "last_login", "created_at")
    actions = ("remove_second_factor",)

    @admin.display(description="Second factor", boolean=True)
    def second_factor(self, obj: User) -> bool:
        return bool(Authenticator.objects.filter(user=obj).exists())

    @admin.action(description="Remove the second factor of the selected users")
    def remove_second_factor(self, request: HttpRequest, queryset: QuerySet[Any]) -> HttpResponse | None:
        """Ask, then let them in with the password alone."""
        guarded = queryset.filter(pk__in=Authenticator.objects.values("user"))
        answer = confirmation(
            self,
            request,
            guarded,
            action="remove_second_factor",
            title="Remove second factors",
            question="These people sign in with the password alone from then on, until they set up another second "
            "factor. Make sure that it is they who ask for it.",
            button="Remove",
        )
        if answer is not None:
            return answer
        people = sorted(guarded, key=lambda person: person.pk)
        try:
            with transaction.atomic():
                # All of them before the first row of the audit log, on which others wait who have locked one.
                for person in people:
                    lock_user(person.pk)
                for person in people:
                    second_factor_remove(user=person, actor=staff_actor(request))
        except ValidationError as error:
            self.message_user(request, refusal_text(error), messages.ERROR)
            return None
        for person in people:
            get_adapter(request).send_notification_mail("mfa/email/totp_deactivated", person, email=person.email)
        self.message_user(request, f"Removed: {', '.join(map(str, people)) or 'none'}.", messages.SUCCESS)
        return None

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> tuple[str, ...]:
        return ("email", *self.readonly_fields) if obj else ()

    def get_fieldsets(self, request: HttpRequest, obj: Any = None) -> Any:
        account = ("Account", {"fields": ("email", "name", "is_active", "is_staff")})
        password = ("Password" if obj is None else "New password", {"fields": ("password1", "password2")})
        record = ("Record", {"fields": ("id", "second_factor", "email_proven_at", "last_login", "created_at")})
        return [account, password, record] if obj else [account, password]

    def save_model(self, request: HttpRequest, obj: User, form: Any, change: bool) -> None:  # noqa: FBT001 - Django's
        actor, password = staff_actor(request), cast("UserForm", form).password
        if change:
            saved = user_update(
                user_id=obj.pk,
                name=obj.name,
                is_active=obj.is_active,
                is_staff=obj.is_staff,
                actor=actor,
                password=password,
            )
            if password is not None and saved == request.user:
                update_session_auth_hash(request, saved)
            return
        assert password is not None  # noqa: S101 - the form of a new person requires it
        created = user_create(
            email=obj.email,
            name=obj.name,
            password=password,
            actor=actor,
            is_active=obj.is_active,
            is_staff=obj.is_staff,
        )
        obj.pk = created.pk

    def audit_filter(self, obj: User) -> dict[str, str]:
        return {"target": str(obj.pk)}
