"""Stored provider keys: whose they are and how they do. Staff may disable one, and cannot read any."""

from __future__ import annotations

from typing import Any

from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.utils.safestring import SafeString

from byok.models import Credential
from byok.services import credential_disable
from kilo_gateway.admin_site import StaffAdmin, confirmation, pretty_json
from organizations.staff import staff_actor


@admin.register(Credential)
class CredentialAdmin(StaffAdmin):
    hidden_fields = ("ciphertext", "offered_models", "user__password", "organization__settings")
    list_display = (
        "key",
        "organization",
        "user",
        "is_enabled",
        "last_used_at",
        "last_tested_at",
        "last_refused_at",
        "created_at",
    )
    list_filter = ("is_enabled", "provider")
    list_select_related = ("organization", "user")
    linked_lookups = ("organization__id__exact", "user__id__exact")
    search_fields = ("organization__name", "user__email", "provider", "=last_four")
    search_help_text = "Part of the owner's name or of the provider's, the last four characters, or an id."
    ordering = ("-created_at",)
    fields = (
        "id",
        "organization",
        "user",
        "provider",
        "last_four",
        "key_id",
        "is_enabled",
        "offered",
        "discovered_at",
        "last_used_at",
        "last_tested_at",
        "last_test_result",
        "last_refused_at",
        "last_refusal_status",
        "created_at",
        "updated_at",
    )
    readonly_fields = ("offered",)
    actions = ("disable",)

    @admin.display(description="Key")
    def key(self, obj: Credential) -> str:
        return str(obj)

    @admin.display(description="Models found")
    def offered(self, obj: Credential) -> str | SafeString:
        if obj.offered_models is None:
            return "The provider has no list: any model is taken."
        return pretty_json(obj.offered_models)

    @admin.action(description="Disable the selected credentials")
    def disable(self, request: HttpRequest, queryset: QuerySet[Any]) -> HttpResponse | None:
        """Ask, then stop using the keys."""
        enabled = queryset.filter(is_enabled=True)
        answer = confirmation(
            self,
            request,
            enabled,
            action="disable",
            title="Disable credentials",
            question="Requests that are routed to models behind these keys are refused at once, until the owner "
            "enables them again.",
            button="Disable",
        )
        if answer is not None:
            return answer
        credentials = list(enabled)
        for credential in credentials:
            credential_disable(credential_id=credential.pk, actor=staff_actor(request))
        self.message_user(request, f"Disabled: {', '.join(map(str, credentials)) or 'none'}.", messages.SUCCESS)
        return None

    def audit_filter(self, obj: Credential) -> dict[str, str]:
        return {"target": str(obj.pk)}
