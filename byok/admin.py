"""Stored provider keys, which staff may disable and cannot read, and custom providers, to read."""

from __future__ import annotations

from typing import Any

from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.utils.safestring import SafeString

from byok.models import Credential, CustomProvider
from byok.services.credentials import credential_disable
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
        "discovery_error",
        "last_used_at",
        "last_tested_at",
        "last_test_result",
        "last_test_status",
        "last_test_message",
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
            return "No list was read: any model is taken."
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


@admin.register(CustomProvider)
class CustomProviderAdmin(StaffAdmin):
    """Providers that organizations have registered, to read. Values of headers cannot be read by anybody."""

    hidden_fields = ("known_models", "organization__settings")
    list_display = ("provider_id", "name", "organization", "base_url", "created_at")
    list_select_related = ("organization",)
    linked_lookups = ("organization__id__exact",)
    search_fields = ("organization__name", "provider_id", "name", "base_url")
    search_help_text = "Part of the organization's name, of the provider's id, name or base URL, or an id."
    ordering = ("-created_at",)
    fields = (
        "id",
        "organization",
        "provider_id",
        "name",
        "base_url",
        "api_kinds",
        "key_style",
        "header_names",
        "written_models",
        "created_at",
        "updated_at",
    )
    readonly_fields = ("header_names", "written_models")

    @admin.display(description="Headers")
    def header_names(self, obj: CustomProvider) -> str:
        headers = obj.headers.defer("ciphertext").order_by("name")
        return ", ".join(f"{header.name} (…{header.last_four})" for header in headers) or "None."

    @admin.display(description="Models written by hand")
    def written_models(self, obj: CustomProvider) -> SafeString:
        return pretty_json(obj.known_models)

    def audit_filter(self, obj: CustomProvider) -> dict[str, str]:
        return {"target": obj.provider_id, "organization": str(obj.organization_id)}
