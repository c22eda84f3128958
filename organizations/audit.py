"""Writing the audit log, and checking that nobody rewrote it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Self
from uuid import UUID

from django.db import connection, transaction
from django.utils import timezone

from kilo_gateway import logs
from organizations.models import AuditAction, AuditLog, Organization, User, Via

# The chain of rows that belong to no organization (sign-ins, say) has no row to lock: it has this advisory lock.
_NO_ORGANIZATION_LOCK = 0x4B494C4F_41554449


@dataclass(frozen=True, slots=True)
class Actor:
    """Who makes a change and by which way, as the audit log will keep it."""

    via: Via
    id: UUID | None = None
    email: str = ""
    name: str = ""
    address: str | None = None

    @classmethod
    def of(cls, user: User, via: Via, address: str | None = None) -> Self:
        """A person, as he is called now."""
        return cls(via=via, id=user.pk, email=user.email, name=user.name, address=address)


SYSTEM = Actor(via=Via.SYSTEM)
COMMAND = Actor(via=Via.COMMAND)

Changes = Mapping[str, tuple[Any, Any]]


def record(
    action: AuditAction,
    *,
    organization: Organization | None,
    actor: Actor,
    message: str,
    changes: Changes | None = None,
    target_kind: str = "",
    target_id: str = "",
) -> AuditLog:
    """Append one row, in the transaction of the change that it tells of.

    Takes the lock on the organization's row if the caller does not hold it yet, because the chain of an organization
    has one writer at a time. Three statements.

    Args:
        message: One line for a person; line breaks in it are replaced.
        changes: `{field: (before, after)}` of JSON values; never a secret.

    Raises:
        TransactionManagementError: called outside a transaction.
    """
    _lock_chain(organization)
    last = AuditLog.objects.filter(organization=organization).order_by("-sequence").first()
    row = AuditLog(
        organization=organization,
        sequence=last.sequence + 1 if last else 1,
        created_at=timezone.now(),
        action=action,
        actor_id=actor.id,
        actor_email=actor.email,
        actor_name=actor.name,
        via=actor.via,
        address=actor.address,
        request_id=logs.request_id.get(),
        target_kind=target_kind,
        target_id=target_id[:200],
        changes={field: list(pair) for field, pair in (changes or {}).items()},
        message=" ".join(message.splitlines()),
        previous_hash=last.hash if last else "",
    )
    row.hash = row_hash(row)
    row.save(force_insert=True)
    return row


def _lock_chain(organization: Organization | None) -> None:
    if organization is not None:
        Organization.objects.select_for_update(no_key=True).only("pk").get(pk=organization.pk)
        return
    if not transaction.get_connection().in_atomic_block:
        raise transaction.TransactionManagementError("The audit log is written inside a transaction.")
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(%s)", [_NO_ORGANIZATION_LOCK])


def row_hash(row: AuditLog) -> str:
    """SHA-256 over the canonical JSON of everything that a row says, the hash of the row before it included."""
    content = {
        "organization": str(row.organization_id) if row.organization_id else None,
        "sequence": row.sequence,
        "created_at": row.created_at.isoformat(timespec="microseconds"),
        "action": str(row.action),
        "actor_id": str(row.actor_id) if row.actor_id else None,
        "actor_email": row.actor_email,
        "actor_name": row.actor_name,
        "via": str(row.via),
        "address": row.address,
        "request_id": row.request_id,
        "target_kind": row.target_kind,
        "target_id": row.target_id,
        "changes": row.changes,
        "message": row.message,
        "previous_hash": row.previous_hash,
    }
    canonical = json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(canonical.encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class BrokenLink:
    """The first row of a chain that does not fit, and why."""

    organization_id: UUID | None
    sequence: int
    row_id: int
    reason: str


def verify_chain(organization_id: UUID | None) -> tuple[int, BrokenLink | None]:
    """Walk one chain from its first row: how many rows fit, and the first that does not. Reads in batches."""
    previous_hash, count = "", 0
    for row in _rows_of(organization_id):
        reason = _misfit(row, count + 1, previous_hash)
        if reason:
            return count, BrokenLink(organization_id, row.sequence, row.pk, reason)
        previous_hash, count = row.hash, count + 1
    return count, None


def _rows_of(organization_id: UUID | None) -> Iterator[AuditLog]:
    rows = AuditLog.objects.filter(organization__isnull=True)
    if organization_id is not None:
        rows = AuditLog.objects.filter(organization_id=organization_id)
    return rows.order_by("sequence").iterator(chunk_size=1000)


def _misfit(row: AuditLog, expected_sequence: int, previous_hash: str) -> str:
    if row.sequence != expected_sequence:
        return f"row {expected_sequence} is missing"
    if row.previous_hash != previous_hash:
        return "it does not follow the row before it"
    if row.hash != row_hash(row):
        return "its content was changed"
    return ""
