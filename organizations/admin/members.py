"""Who belongs to which organization; read-only, because organizations manage their members themselves."""

from __future__ import annotations

from django.contrib import admin

from kilo_gateway.admin_site import StaffAdmin
from organizations.models import Invitation, Membership


@admin.register(Membership)
class MembershipAdmin(StaffAdmin):
    list_display = ("user", "organization", "role", "created_at")
    list_display_links = ("user",)
    list_filter = ("role",)
    list_select_related = ("user", "organization")
    linked_lookups = ("organization__id__exact", "user__id__exact")
    hidden_fields = ("user__password", "organization__settings")
    search_fields = ("user__email", "organization__name")
    search_help_text = "Part of the person's email address or of the organization's name."
    ordering = ("-pk",)
    fields = ("user", "organization", "role", "created_at")

    def audit_filter(self, obj: Membership) -> dict[str, str]:
        return {"organization": str(obj.organization_id), "target": str(obj.user_id)}


@admin.register(Invitation)
class InvitationAdmin(StaffAdmin):
    hidden_fields = ("token_hash", "invited_by__password", "organization__settings")
    list_display = ("email", "organization", "role", "expires_at", "accepted_at", "revoked_at", "created_at")
    list_filter = ("role",)
    list_select_related = ("organization", "invited_by")
    linked_lookups = ("organization__id__exact",)
    search_fields = ("email", "organization__name")
    search_help_text = "Part of the email address or of the organization's name, or an id."
    ordering = ("-created_at",)
    fields = (
        "id",
        "email",
        "organization",
        "role",
        "invited_by",
        "created_at",
        "expires_at",
        "accepted_at",
        "revoked_at",
    )

    def audit_filter(self, obj: Invitation) -> dict[str, str]:
        return {"organization": str(obj.organization_id), "target": str(obj.pk)}
