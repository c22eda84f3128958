"""API keys: whose they are and when they were used. The keys themselves nobody knows any more."""

from __future__ import annotations

from typing import Any

from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse

from kilo_gateway.admin_site import StaffAdmin, confirmation
from organizations.models import ApiKey
from organizations.services import api_key_revoke
from organizations.staff import staff_actor


@admin.register(ApiKey)
class ApiKeyAdmin(StaffAdmin):
    hidden_fields = ("key_hash", "user__password", "organization__settings")
    list_display = (
        "key",
        "name",
        "user",
        "organization",
        "scopes_text",
        "last_used_at",
        "expires_at",
        "revoked_at",
    )
    list_filter = (("revoked_at", admin.EmptyFieldListFilter),)
    list_select_related = ("user", "organization")
    linked_lookups = ("organization__id__exact", "user__id__exact")
    search_fields = ("user__email", "organization__name", "name", "=last_four")
    search_help_text = "Part of the person's, organization's or key's name, the last four characters, or an id."
    ordering = ("-created_at",)
    fields = (
        "id",
        "key",
        "name",
        "user",
        "organization",
        "scopes_text",
        "default_mode",
        "created_at",
        "last_used_at",
        "expires_at",
        "revoked_at",
    )
    readonly_fields = ("key", "scopes_text")
    actions = ("revoke",)

    @admin.display(description="Key")
    def key(self, obj: ApiKey) -> str:
        return str(obj)

    @admin.display(description="Scopes")
    def scopes_text(self, obj: ApiKey) -> str:
        return ", ".join(obj.scopes)

    @admin.action(description="Revoke the selected API keys")
    def revoke(self, request: HttpRequest, queryset: QuerySet[Any]) -> HttpResponse | None:
        """Ask, then end the keys for good."""
        usable = queryset.filter(revoked_at__isnull=True)
        answer = confirmation(
            self,
            request,
            usable,
            action="revoke",
            title="Revoke API keys",
            question="These keys stop working at once, and cannot be brought back.",
            button="Revoke",
        )
        if answer is not None:
            return answer
        keys = list(usable)
        for key in keys:
            api_key_revoke(key=key, actor=staff_actor(request))
        self.message_user(request, f"Revoked: {', '.join(map(str, keys)) or 'none'}.", messages.SUCCESS)
        return None

    def audit_filter(self, obj: ApiKey) -> dict[str, str]:
        return {"target": str(obj.pk)}
