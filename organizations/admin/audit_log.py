"""The audit log: to read, to search, to take along, and never to change."""

from __future__ import annotations

from typing import Any, Final
from uuid import UUID

from django.contrib import admin
from django.contrib.admin.options import IncorrectLookupParameters
from django.db.models import Q, QuerySet
from django.http import Http404, HttpRequest, HttpResponseBase, HttpResponseRedirect, StreamingHttpResponse
from django.template.loader import render_to_string
from django.urls import NoReverseMatch, URLPattern, path, reverse
from django.utils import timezone
from django.utils.safestring import SafeString

from kilo_gateway.admin_filters import ChoiceFilter, FieldFilter, FromDate, ToDate, as_uuid
from kilo_gateway.admin_logs import LogAdmin, LogChangeList
from kilo_gateway.admin_site import json_text, link
from organizations.admin.export import ExportFormat, export_lines
from organizations.admin_filters import OrganizationFilter
from organizations.models import AuditAction, AuditLog

# The page about a target of each kind, by the name of its address. Other kinds are a part of the organization.
PAGES: Final = {
    "organization": "organizations_organization",
    "user": "organizations_user",
    "invitation": "organizations_invitation",
    "api_key": "organizations_apikey",
    "device_authorization": "organizations_deviceauthorization",
    "mode": "modes_custommode",
    "credential": "byok_credential",
    "auto_tier_rule": "routing_autotierrule",
    "catalog_snapshot": "routing_catalogsnapshot",
}


class ActionFilter(ChoiceFilter):
    title = "Action"
    parameter_name = "action"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[Any, str]]:
        return [(action, action) for action in sorted(AuditAction.values)]

    def narrow(self, rows: QuerySet[Any], value: str) -> QuerySet[Any]:
        return rows.filter(action=value)


class ActorFilter(FieldFilter):
    title = "Actor"
    parameter_name = "actor"
    placeholder = "email"

    def narrow(self, rows: QuerySet[Any], value: str) -> QuerySet[Any]:
        return rows.filter(actor_email=value.lower())


class TargetFilter(FieldFilter):
    title = "About"
    parameter_name = "target"
    placeholder = "id"

    def narrow(self, rows: QuerySet[Any], value: str) -> QuerySet[Any]:
        return rows.filter(target_id=value)


@admin.register(AuditLog)
class AuditLogAdmin(LogAdmin):
    list_display = ("time", "organization_link", "message", "subject", "action_name", "actor", "via")
    list_filter = (OrganizationFilter, ActionFilter, ActorFilter, TargetFilter, FromDate, ToDate)
    list_select_related = ("organization",)
    hidden_fields = ("organization__settings",)
    # What `get_search_results` looks in; here so that the page has the field.
    search_fields = ("message", "actor_email", "target_id")
    search_help_text = "Search looks in the message, the actor's email address and the id of what was changed."
    fields = (
        "time",
        "organization",
        "sequence",
        "action_name",
        "message",
        "changes_table",
        "about",
        "target_kind",
        "target_id",
        "actor_email",
        "actor_name",
        "actor_id",
        "via",
        "address",
        "request_id",
        "previous_hash",
        "hash",
    )
    readonly_fields = ("time", "action_name", "changes_table", "about")

    @admin.display(description="Time (UTC)")
    def time(self, obj: AuditLog) -> str:
        return obj.created_at.strftime("%Y-%m-%d %H:%M:%S")

    @admin.display(description="Organization")
    def organization_link(self, obj: AuditLog) -> str:
        if obj.organization is None:
            return self.empty_value_display
        return link(
            reverse("admin:organizations_organization_change", args=[obj.organization_id]), str(obj.organization)
        )

    @admin.display(description="Actor")
    def actor(self, obj: AuditLog) -> str:
        return obj.actor_email or (str(obj.actor_id) if obj.actor_id else self.empty_value_display)

    @admin.display(description="Action")
    def action_name(self, obj: AuditLog) -> str:
        return obj.action

    @admin.display(description="About")
    def subject(self, obj: AuditLog) -> str:
        """As `about`, for a narrow column: of ids only what a person can read."""
        return self._link(obj, obj.target_kind if as_uuid(obj.target_id) else f"{obj.target_kind} {obj.target_id}")

    @admin.display(description="About")
    def about(self, obj: AuditLog) -> str:
        """What was changed, as a link to its page where it has one."""
        return self._link(obj, f"{obj.target_kind} {obj.target_id}")

    def _link(self, obj: AuditLog, text: str) -> str:
        name, target = PAGES.get(obj.target_kind), obj.target_id
        if name is None and obj.organization_id is not None:
            name, target = PAGES["organization"], str(obj.organization_id)
        text = text.strip() or self.empty_value_display
        return link(address, text) if name and (address := _address(name, target)) else text

    @admin.display(description="Changes")
    def changes_table(self, obj: AuditLog) -> SafeString:
        return render_to_string("admin/partials/changes.html", {"changes": _changes(obj.changes)})

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Any], search_term: str
    ) -> tuple[QuerySet[Any], bool]:
        if not search_term:
            return queryset, False
        found = Q()
        for field in self.search_fields:
            found |= Q((f"{field}__icontains", search_term))
        return queryset.filter(found), False

    # ------------------------------------------------------------ export

    def get_urls(self) -> list[URLPattern]:
        export = path(
            "export/<str:kind>/", self.admin_site.admin_view(self.export_view), name="organizations_auditlog_export"
        )
        return [export, *super().get_urls()]

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> Any:
        links = [
            (f"Export {kind.upper()}", reverse("admin:organizations_auditlog_export", args=[kind.value]))
            for kind in ExportFormat
        ]
        return super().changelist_view(request, {**(extra_context or {}), "export_links": links})

    def export_view(self, request: HttpRequest, kind: str) -> HttpResponseBase:
        """All rows that the filters in the address let pass, newest first, as a file made while it is sent."""
        if kind not in set(ExportFormat):
            raise Http404
        try:
            changelist = self.get_changelist_instance(request)
        except IncorrectLookupParameters:
            return HttpResponseRedirect(f"{reverse('admin:organizations_auditlog_changelist')}?e=1")
        assert isinstance(changelist, LogChangeList)  # noqa: S101 - LogAdmin makes no other
        export = ExportFormat(kind)
        file_name = f"audit-log-{timezone.now():%Y%m%dT%H%M%SZ}.{export.value}"
        return StreamingHttpResponse(
            export_lines(changelist.log.walk(), export),
            content_type=export.content_type,
            headers={"Content-Disposition": f'attachment; filename="{file_name}"', "Cache-Control": "no-store"},
        )


def _address(name: str, target: str) -> str:
    """The page of an object; blank for an id that can have none."""
    try:
        UUID(target) if "-" in target else int(target)
        return reverse(f"admin:{name}_change", args=[target])
    except (ValueError, NoReverseMatch):
        return ""


def _changes(changes: Any) -> list[tuple[str, str, str]]:
    """Field, before and after, as text."""
    if not isinstance(changes, dict):
        return []
    pairs = [
        (field, pair if isinstance(pair, list) and len(pair) == 2 else ["", pair]) for field, pair in changes.items()
    ]
    return [(field, _text(before), _text(after)) for field, (before, after) in pairs]


def _text(value: Any) -> str:
    if value is None:
        return "-"
    return value if isinstance(value, str) else json_text(value)
