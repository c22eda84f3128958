"""Custom modes, to read."""

from __future__ import annotations

from django.contrib import admin
from django.utils.safestring import SafeString

from kilo_gateway.admin_site import StaffAdmin, pretty_json
from organizations.modes.models import CustomMode


@admin.register(CustomMode)
class CustomModeAdmin(StaffAdmin):
    hidden_fields = ("config", "organization__settings", "created_by__password")
    list_display = ("slug", "name", "organization", "created_by", "updated_at")
    list_select_related = ("organization", "created_by")
    linked_lookups = ("organization__id__exact",)
    search_fields = ("slug", "name", "organization__name")
    search_help_text = "Part of the slug, the name or the organization's name, or an id."
    ordering = ("-created_at",)
    fields = ("id", "organization", "name", "slug", "config_text", "created_by", "created_at", "updated_at")
    readonly_fields = ("config_text",)

    @admin.display(description="Configuration")
    def config_text(self, obj: CustomMode) -> SafeString:
        return pretty_json(obj.config)

    def audit_filter(self, obj: CustomMode) -> dict[str, str]:
        return {"target": str(obj.pk)}
