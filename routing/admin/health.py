"""Routes that were found broken."""

from __future__ import annotations

from django.contrib import admin

from kilo_gateway.admin_site import StaffAdmin
from routing.models import BrokenRoute


@admin.register(BrokenRoute)
class BrokenRouteAdmin(StaffAdmin):
    hidden_fields = ("organization__settings",)
    list_display = ("route", "organization", "target", "found_at")
    list_select_related = ("organization",)
    linked_lookups = ("organization__id__exact",)
    search_fields = ("organization__name", "slug", "target")
    search_help_text = "Part of the organization's name, the mode's slug or the target."
    ordering = ("-pk",)
    fields = ("organization", "route", "target", "found_at")
    readonly_fields = ("route",)

    @admin.display(description="Route", ordering="slug")
    def route(self, obj: BrokenRoute) -> str:
        return obj.slug or "(fallback)"

    def audit_filter(self, obj: BrokenRoute) -> dict[str, str]:
        return {"organization": str(obj.organization_id), "action": "organization_auto.route.broken"}
