"""The history of organizations' settings."""

from __future__ import annotations

from django.contrib import admin
from django.utils.safestring import SafeString

from kilo_gateway.admin_site import StaffAdmin, pretty_json
from organizations.models import SettingsVersion


@admin.register(SettingsVersion)
class SettingsVersionAdmin(StaffAdmin):
    list_display = ("version", "organization", "actor_email", "created_at")
    list_select_related = ("organization",)
    hidden_fields = ("organization__settings", "settings")
    linked_lookups = ("organization__id__exact",)
    search_fields = ("organization__name", "actor_email")
    search_help_text = "Part of the organization's name or of the email address of who made it."
    ordering = ("-pk",)
    fields = ("organization", "routing_version", "settings_text", "actor_email", "actor_id", "audit_log", "created_at")
    readonly_fields = ("settings_text",)

    @admin.display(description="Version", ordering="routing_version")
    def version(self, obj: SettingsVersion) -> str:
        return f"{obj.organization.name} v{obj.routing_version}"

    @admin.display(description="Settings")
    def settings_text(self, obj: SettingsVersion) -> SafeString:
        return pretty_json(obj.settings)
