"""The audit log of all organizations as a file, made while it is sent: like one organization's own export, with two
columns more, and with the head of each chain that occurs at the end.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from enum import StrEnum
from typing import Any, Final
from uuid import UUID

from django.db.models import OuterRef, Subquery
from django.db.models.functions import JSONObject

from organizations.audit_export import COLUMNS as OWN_COLUMNS
from organizations.audit_export import HEAD_ACTION, csv_cell, csv_lines, json_line, row_fields
from organizations.models import AuditLog, Organization

COLUMNS: Final = ("organization_id", "organization", *OWN_COLUMNS)


class ExportFormat(StrEnum):
    """The formats of an export."""

    CSV = "csv"
    JSONL = "jsonl"

    @property
    def content_type(self) -> str:
        return "text/csv; charset=utf-8" if self is ExportFormat.CSV else "application/x-ndjson"


def export_lines(batches: Iterable[list[AuditLog]], kind: ExportFormat) -> Iterator[str]:
    """The rows of the batches, each with its organization loaded, as pieces of a file."""
    heads = _Heads()
    if kind is ExportFormat.CSV:
        yield csv_lines([COLUMNS])
    for rows in batches:
        heads.learn(rows)
        if not rows:
            continue
        if kind is ExportFormat.CSV:
            yield csv_lines([csv_cell(value) for value in _fields(row).values()] for row in rows)
        else:
            yield "".join(json_line(_fields(row)) for row in rows)
    for head in heads.known.values():
        if kind is ExportFormat.CSV:
            last = {**head, "action": HEAD_ACTION, "message": "Head of the chain"}
            yield csv_lines([[csv_cell(last.get(column)) for column in COLUMNS]])
        else:
            yield json_line({"head": head})


def _fields(row: AuditLog) -> dict[str, Any]:
    return {
        "organization_id": str(row.organization_id) if row.organization_id else None,
        "organization": row.organization.name if row.organization else None,
        **row_fields(row),
    }


class _Heads:
    """The newest row of each chain that occurs, as it was when the chain first occurred."""

    def __init__(self) -> None:
        self.known: dict[UUID | None, dict[str, Any]] = {}

    def learn(self, rows: Iterable[AuditLog]) -> None:
        unknown = {row.organization_id for row in rows} - self.known.keys()
        newest = AuditLog.objects.order_by("-sequence")
        if None in unknown:
            head = newest.filter(organization__isnull=True).values("sequence", "hash")[:1]
            self.known[None] = {"organization_id": None, **head[0]}
        wanted = [organization_id for organization_id in unknown if organization_id is not None]
        if not wanted:
            return
        of_one = newest.filter(organization=OuterRef("pk")).values(head=JSONObject(sequence="sequence", hash="hash"))
        for organization_id, head in Organization.objects.filter(pk__in=wanted).values_list("pk", Subquery(of_one[:1])):
            self.known[organization_id] = {"organization_id": str(organization_id), **head}
