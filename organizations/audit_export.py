"""The audit log as a file, made while it is sent.

The last line names the head of the chain: a file without it broke off, and `verify_audit_log` finds the same hash in
the database as long as nobody rewrote it.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator
from typing import Any, Final
from uuid import UUID

from organizations.audit_selectors import AuditFilter, ChainHead, audit_batches
from organizations.models import AuditLog

COLUMNS: Final = (
    "sequence",
    "created_at",
    "action",
    "actor_id",
    "actor_email",
    "actor_name",
    "via",
    "address",
    "request_id",
    "target_kind",
    "target_id",
    "message",
    "changes",
    "previous_hash",
    "hash",
)
HEAD_ACTION: Final = "chain.head"
# What a spreadsheet takes for the beginning of a formula: https://owasp.org/www-community/attacks/CSV_Injection
_FORMULA: Final = ("=", "+", "-", "@", "\t", "\r", "\n", "\uff1d", "\uff0b", "\uff0d", "\uff20")


def as_csv(organization_id: UUID, wanted: AuditFilter, head: ChainHead) -> Iterator[str]:
    """Rows as CSV with a header. A text that a spreadsheet would run as a formula begins with an apostrophe."""
    yield csv_lines([COLUMNS])
    for rows in audit_batches(organization_id, wanted, head):
        if rows:
            yield csv_lines(tuple(csv_cell(value) for value in row_fields(row).values()) for row in rows)
    last = {"sequence": head.sequence, "action": HEAD_ACTION, "message": "Head of the chain", "hash": head.hash}
    yield csv_lines([tuple(last.get(column, "") for column in COLUMNS)])


def as_jsonl(organization_id: UUID, wanted: AuditFilter, head: ChainHead) -> Iterator[str]:
    """Rows as one JSON object a line; the last line is `{"head": {"organization_id", "sequence", "hash"}}`."""
    for rows in audit_batches(organization_id, wanted, head):
        if rows:
            yield "".join(json_line(row_fields(row)) for row in rows)
    yield json_line({"head": {"organization_id": str(organization_id), "sequence": head.sequence, "hash": head.hash}})


def row_fields(row: AuditLog) -> dict[str, Any]:
    """What an export says of a row, by column."""
    return {
        "sequence": row.sequence,
        "created_at": row.created_at.isoformat(timespec="microseconds"),
        "action": row.action,
        "actor_id": str(row.actor_id) if row.actor_id else None,
        "actor_email": row.actor_email,
        "actor_name": row.actor_name,
        "via": row.via,
        "address": row.address,
        "request_id": row.request_id,
        "target_kind": row.target_kind,
        "target_id": row.target_id,
        "message": row.message,
        "changes": row.changes,
        "previous_hash": row.previous_hash,
        "hash": row.hash,
    }


def csv_cell(value: Any) -> Any:
    """A value as a cell that no spreadsheet takes for a formula."""
    if isinstance(value, dict):
        return json.dumps(value, ensure_ascii=False)
    if isinstance(value, str) and value.lstrip(" ").startswith(_FORMULA):
        return f"'{value}"
    return "" if value is None else value


def csv_lines(rows: Any) -> str:
    """Rows as lines of CSV."""
    text = io.StringIO()
    csv.writer(text).writerows(rows)
    return text.getvalue()


def json_line(value: Any) -> str:
    """A value as one line of JSON."""
    # In ASCII, because some readers take other characters for the end of a line too.
    return json.dumps(value, separators=(",", ":")) + "\n"
