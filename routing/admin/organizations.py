"""Organizations. The page is here and not in `organizations`, because changing a plan changes routing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, cast
from urllib.parse import urlencode

from django import forms
from django.contrib import admin
from django.db.models.fields.json import KeyTextTransform
from django.http import HttpRequest
from django.template.loader import render_to_string
from django.urls import reverse
from django.utils.safestring import SafeString

from kilo_gateway.admin_site import StaffAdmin, pretty_json
from organizations.models import Organization, Plan, User
from organizations.services import organization_create
from organizations.staff import staff_acting, staff_actor
from routing.services.plan import organization_plan_change

if TYPE_CHECKING:
    _OrganizationForm = forms.ModelForm[Organization]
else:
    _OrganizationForm = forms.ModelForm

# Lists with the rows of one organization: title, address, and the filter by its id.
_LISTS: Final = (
    ("Members", "organizations_membership", "organization__id__exact"),
    ("Invitations", "organizations_invitation", "organization__id__exact"),
    ("API keys", "organizations_apikey", "organization__id__exact"),
    ("Credentials", "byok_credential", "organization__id__exact"),
    ("Custom modes", "modes_custommode", "organization__id__exact"),
    ("Settings versions", "organizations_settingsversion", "organization__id__exact"),
    ("Broken routes", "routing_brokenroute", "organization__id__exact"),
    ("Hosted balance and limits", "routing_hostedbalance", "organization__id__exact"),
    ("Spending of members", "routing_memberspending", "organization__id__exact"),
    ("Usage", "routing_usagerecord", "organization"),
    ("Audit log", "organizations_auditlog", "organization"),
)


class NewOrganizationForm(_OrganizationForm):
    """A new organization belongs to somebody from the start."""

    owner = forms.EmailField(label="Owner", help_text="The email address of a person who has an account.")

    class Meta:
        model = Organization
        fields = ("name", "plan")

    def clean_owner(self) -> User:
        found = User.objects.filter(email=self.cleaned_data["owner"].strip().lower(), is_active=True).first()
        if found is None:
            raise forms.ValidationError("Nobody with this email address has an active account.")
        return found


@admin.register(Organization)
class OrganizationAdmin(StaffAdmin):
    """Create organizations and say what they have bought. Nobody deletes one: its audit log has to stay."""

    can_add = can_change = True
    hidden_fields = ("settings",)
    list_display = ("name", "plan", "default_model", "routing_version", "created_at")
    list_filter = ("plan",)
    search_fields = ("name",)
    search_help_text = "Part of the name, or an id."
    ordering = ("name",)
    fields = ("name", "plan", "id", "routing_version", "created_at", "updated_at", "settings_text", "lists")
    readonly_fields = ("name", "id", "routing_version", "created_at", "updated_at", "settings_text", "lists")

    def get_queryset(self, request: HttpRequest) -> Any:
        return super().get_queryset(request).annotate(default_model_id=KeyTextTransform("default_model", "settings"))

    def get_form(self, request: HttpRequest, obj: Any = None, change: bool = False, **kwargs: Any) -> Any:  # noqa: FBT001, FBT002 - Django's
        if obj is None:
            kwargs["form"] = NewOrganizationForm
        return super().get_form(request, obj, change, **kwargs)

    def get_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        return self.fields if obj else ("name", "plan", "owner")

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        return self.readonly_fields if obj else ()

    @admin.display(description="Default model")
    def default_model(self, obj: Any) -> str:
        return obj.default_model_id or "the installation's"

    @admin.display(description="Settings")
    def settings_text(self, obj: Organization) -> SafeString:
        return pretty_json(obj.settings)

    @admin.display(description="Its lists")
    def lists(self, obj: Organization) -> SafeString:
        links = [
            (title, f"{reverse(f'admin:{name}_changelist')}?{urlencode({parameter: obj.pk})}")
            for title, name, parameter in _LISTS
        ]
        return render_to_string("admin/partials/links.html", {"links": links})

    def save_model(self, request: HttpRequest, obj: Organization, form: Any, change: bool) -> None:  # noqa: FBT001 - Django's
        if not change:
            owner = cast("User", form.cleaned_data["owner"])
            actor = staff_actor(request)
            created = organization_create(name=obj.name, plan=Plan(obj.plan), owner=owner, actor=actor)
            obj.pk = created.pk
        elif "plan" in form.changed_data:
            plan = form.cleaned_data["plan"]
            organization_plan_change(organization_id=obj.pk, plan=plan, acting=staff_acting(request))

    def audit_filter(self, obj: Organization) -> dict[str, str]:
        return {"organization": str(obj.pk)}
