"""The catalog: its snapshots, which one is in force, and reading it anew."""

from __future__ import annotations

from typing import Any, Final

from django.contrib import admin, messages
from django.db import transaction
from django.db.models import Exists, OuterRef
from django.http import HttpRequest, HttpResponse, HttpResponseNotAllowed, HttpResponseRedirect
from django.template.loader import render_to_string
from django.urls import URLPattern, path, reverse
from django.utils.safestring import SafeString

from kilo_gateway.admin_site import StaffAdmin
from organizations import audit
from organizations.models import AuditAction
from organizations.staff import staff_actor
from routing.catalog.sync import Outcome, SyncResult, sync_catalog
from routing.models import CatalogSnapshot, Installation

_LEVELS: Final = {
    Outcome.UPDATED: messages.SUCCESS,
    Outcome.UNCHANGED: messages.SUCCESS,
    Outcome.FAILED: messages.ERROR,
    Outcome.ALREADY_RUNNING: messages.WARNING,
    Outcome.INTERRUPTED: messages.WARNING,
}


@admin.register(CatalogSnapshot)
class CatalogSnapshotAdmin(StaffAdmin):
    change_list_template = "admin/routing/catalogsnapshot/change_list.html"
    # Each is megabytes.
    hidden_fields = ("entries", "providers")
    list_display = ("created_at", "in_force", "model_count", "origin", "source")
    ordering = ("-created_at",)
    fields = ("created_at", "in_force", "origin", "source", "model_count", "models")
    readonly_fields = ("in_force", "models")

    def get_queryset(self, request: HttpRequest) -> Any:
        used = Installation.objects.filter(catalog_snapshot=OuterRef("pk"))
        return super().get_queryset(request).annotate(is_used=Exists(used))

    @admin.display(description="In force", boolean=True)
    def in_force(self, obj: Any) -> bool:
        return bool(obj.is_used)

    @admin.display(description="Models")
    def models(self, obj: CatalogSnapshot) -> SafeString:
        return render_to_string("admin/partials/models.html", {"entries": obj.entries})

    def audit_filter(self, obj: CatalogSnapshot) -> dict[str, str]:
        return {"action": AuditAction.CATALOG_SYNCED.value}

    # ------------------------------------------------------------ sync now

    def get_urls(self) -> list[URLPattern]:
        view = self.admin_site.admin_view(self.sync_view)
        return [path("sync/", view, name="routing_catalogsnapshot_sync"), *super().get_urls()]

    def sync_view(self, request: HttpRequest) -> HttpResponse:
        """Read the catalog of the hosted upstream, and say on the list what came of it."""
        if request.method != "POST":
            return HttpResponseNotAllowed(["POST"])
        result = sync_catalog(force="force" in request.POST)
        _record(request, result)
        self.message_user(request, result.message, _LEVELS[result.outcome])
        return HttpResponseRedirect(reverse("admin:routing_catalogsnapshot_changelist"))


def _record(request: HttpRequest, result: SyncResult) -> None:
    """A sync by a person is noted; those by the clock are in the log."""
    with transaction.atomic():
        in_force = Installation.objects.values_list("catalog_snapshot_id", flat=True).filter(pk=1).first()
        audit.record(
            AuditAction.CATALOG_SYNCED,
            organization=None,
            actor=staff_actor(request),
            message=f"Catalog sync asked for ({result.outcome}): {result.message}",
            target_kind="catalog_snapshot",
            target_id=str(in_force or ""),
        )


@admin.register(Installation)
class InstallationAdmin(StaffAdmin):
    hidden_fields = ("catalog_snapshot__entries", "catalog_snapshot__providers")
    list_display = ("name", "catalog_snapshot", "tier_version", "catalog_checked_at", "catalog_error")
    list_display_links = ("name",)
    list_select_related = ("catalog_snapshot",)
    fields = ("catalog_snapshot", "catalog_checked_at", "catalog_error", "tier_version", "usage_pruned_before")

    @admin.display(description="Installation")
    def name(self, obj: Installation) -> str:
        return str(obj)
