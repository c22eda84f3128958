"""The audit log: page by page, and as a file."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final
from uuid import UUID

from django.http import HttpResponseBase, StreamingHttpResponse
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from kilo_gateway.api_schema import Tag, described
from organizations.audit_export import as_csv, as_jsonl
from organizations.audit_selectors import AuditFilter, audit_page, chain_head, id_or_email
from organizations.management_api.shapes import Text
from organizations.management_api.time_range import TimeRange
from organizations.management_api.views import ManagementView
from organizations.models import AuditAction, AuditLog, Via
from organizations.permissions import Ability

TAG = Tag.RECORDS
WHO_READS: Final = "Only owners, admins and billing managers read the audit log."
MAX_SEQUENCE: Final = 10**18
CSV: Final = "text/csv; charset=utf-8"
JSONL: Final = "application/x-ndjson; charset=utf-8"


class AuditActorSerializer(serializers.Serializer[Any]):
    id = serializers.UUIDField()
    email = serializers.CharField(help_text="As it was then, like the name.")
    name = serializers.CharField(allow_blank=True)


class AuditLogSerializer(serializers.Serializer[Any]):
    id = serializers.IntegerField()
    sequence = serializers.IntegerField(help_text="Counts the organization's rows without a gap.")
    created_at = serializers.DateTimeField()
    action = serializers.CharField()
    actor = AuditActorSerializer(allow_null=True, help_text="Null: a command or the installation itself.")
    via = serializers.ChoiceField(choices=Via.values)
    address = serializers.CharField(allow_null=True)
    request_id = serializers.CharField(allow_blank=True)
    target_kind = serializers.CharField(allow_blank=True)
    target_id = serializers.CharField(allow_blank=True)
    changes = serializers.DictField(child=serializers.ListField(), help_text="Before and after, by field.")
    message = serializers.CharField()
    previous_hash = serializers.CharField(allow_blank=True)
    hash = serializers.CharField()


class AuditLogsSerializer(serializers.Serializer[Any]):
    audit_logs = AuditLogSerializer(many=True, help_text="Newest first, at most 100.")
    next_cursor = serializers.IntegerField(
        allow_null=True,
        help_text="For `cursor`, to read older rows; null: there are none. A page may be short and still have a next.",
    )


class Filters(TimeRange):
    action = serializers.ChoiceField(choices=AuditAction.values, required=False)
    actor = Text(required=False, max_length=254, help_text="Who made the change: an id or an email address.")
    text = Text(required=False, max_length=200, help_text="What the message contains.")


class PageQuery(Filters):
    cursor = serializers.IntegerField(required=False, min_value=1, max_value=MAX_SEQUENCE)


class ExportQuery(Filters):
    def get_fields(self) -> dict[str, Any]:
        # `format` as an attribute would hide a method of the serializer's.
        return {**super().get_fields(), "format": serializers.ChoiceField(choices=["csv", "jsonl"])}


class AuditLogsView(ManagementView):
    """What was changed."""

    reading_needs = (Ability.READ_AUDIT_LOG, WHO_READS)
    queries = {"GET": PageQuery}

    @described("list_audit_logs", "Read the audit log", tag=TAG, answer=AuditLogsSerializer, parameters=[PageQuery])
    def get(self, request: Request, organization_id: UUID) -> Response:
        """For owners, admins and billing managers."""
        page = audit_page(organization_id, _wanted(self.query), cursor=self.query.get("cursor"))
        return Response({"audit_logs": [_row(row) for row in page.rows], "next_cursor": page.next_cursor})


class AuditExportView(ManagementView):
    """The audit log as a file."""

    reading_needs = (Ability.READ_AUDIT_LOG, WHO_READS)
    queries = {"GET": ExportQuery}

    @described(
        "export_audit_logs",
        "Export the audit log",
        tag=TAG,
        answer={"type": "string"},
        files=["text/csv", "application/x-ndjson"],
        parameters=[ExportQuery],
    )
    def get(self, request: Request, organization_id: UUID) -> HttpResponseBase:
        """Oldest first, streamed. The last line names the head of the chain, `X-Audit-Head-Hash` has its hash; a file
        without that line broke off. For owners, admins and billing managers.
        """
        wanted, head = _wanted(self.query), chain_head(organization_id)
        kind = self.query["format"]
        lines = (as_csv if kind == "csv" else as_jsonl)(organization_id, wanted, head)
        return StreamingHttpResponse(
            lines if request.method == "GET" else (),
            content_type=CSV if kind == "csv" else JSONL,
            headers={
                "Content-Disposition": f'attachment; filename="audit-log-{organization_id}-{head.sequence}.{kind}"',
                "X-Audit-Head-Hash": head.hash,
            },
        )


def _wanted(query: Mapping[str, Any]) -> AuditFilter:
    return AuditFilter(
        action=AuditAction(query["action"]) if "action" in query else None,
        actor=id_or_email(query["actor"]) if "actor" in query else None,
        text=query.get("text", ""),
        since=query.get("from"),
        until=query.get("to"),
    )


def _row(row: AuditLog) -> dict[str, Any]:
    actor = {"id": row.actor_id, "email": row.actor_email, "name": row.actor_name} if row.actor_id else None
    return {
        "id": row.pk,
        "sequence": row.sequence,
        "created_at": row.created_at,
        "action": row.action,
        "actor": actor,
        "via": row.via,
        "address": row.address,
        "request_id": row.request_id,
        "target_kind": row.target_kind,
        "target_id": row.target_id,
        "changes": row.changes,
        "message": row.message,
        "previous_hash": row.previous_hash,
        "hash": row.hash,
    }
