"""Sign-ins of command-line programs: who asked from where, and who let them in. Nothing here opens anything."""

from __future__ import annotations

from datetime import UTC, datetime

from django.contrib import admin

from kilo_gateway.admin_site import StaffAdmin
from organizations.models import DeviceAuthorization


@admin.register(DeviceAuthorization)
class DeviceAuthorizationAdmin(StaffAdmin):
    list_display = ("client_name", "address", "state", "user", "created_at", "expires_at")
    list_filter = (
        ("approved_at", admin.EmptyFieldListFilter),
        ("denied_at", admin.EmptyFieldListFilter),
    )
    list_select_related = ("user", "api_key")
    linked_lookups = ("user__id__exact",)
    hidden_fields = ("code_hash", "user__password", "api_key__key_hash")
    search_fields = ("user__email", "=address")
    search_help_text = "Part of the email address of whoever answered, an address in full, or an id."
    ordering = ("-created_at",)
    fields = (
        "id",
        "client_name",
        "address",
        "state",
        "user",
        "api_key",
        "created_at",
        "approved_at",
        "denied_at",
        "taken_at",
        "expires_at",
    )
    readonly_fields = ("client_name", "state")

    @admin.display(description="Client")
    def client_name(self, obj: DeviceAuthorization) -> str:
        return str(obj)

    @admin.display(description="State")
    def state(self, obj: DeviceAuthorization) -> str:
        return obj.state(datetime.now(UTC)).label

    def audit_filter(self, obj: DeviceAuthorization) -> dict[str, str]:
        return {"target": str(obj.pk)}
