"""What the tests of the staff's pages share."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any
from urllib.parse import quote
from uuid import uuid4

from django.contrib import admin
from django.test import Client
from django.urls import reverse

from organizations import audit
from organizations.models import AuditAction, AuditLog, Organization, User, Via
from routing.models import UsageRecord

PASSWORD = "correct-horse-battery-1"


def address(name: str, *args: Any, **query: Any) -> str:
    found = reverse(f"admin:{name}", args=args)
    return f"{found}?{'&'.join(f'{key}={quote(str(value))}' for key, value in query.items())}" if query else found


def newest_audit() -> AuditLog:
    return AuditLog.objects.order_by("-pk")[0]


def text_of(response: Any) -> str:
    content = b"".join(response.streaming_content) if response.streaming else response.content
    return content.decode()


def every_list() -> list[str]:
    return [f"{model._meta.app_label}_{model._meta.model_name}_changelist" for model in admin.site._registry]


def run_action(page: Client, name: str, action: str, rows: list[Any], **fields: str) -> Any:
    selected = {"action": action, "_selected_action": [str(row.pk) for row in rows], **fields}
    return page.post(address(f"{name}_changelist"), selected, follow=True)


def write_audit(organization: Organization | None, message: str = "Something changed", **fields: Any) -> AuditLog:
    actor = audit.Actor(via=Via.WEB, id=uuid4(), email="alice@example.com", name="Alice")
    return audit.record(
        **{
            "action": AuditAction.MODE_UPDATED,
            "organization": organization,
            "actor": actor,
            "message": message,
            **fields,
        }
    )


def make_usage(organization: Organization, user: User, **fields: Any) -> UsageRecord:
    return UsageRecord.objects.create(
        **{
            "request_id": uuid4(),
            "created_at": datetime.now(UTC),
            "organization_id": organization.pk,
            "user_id": user.pk,
            "api_kind": "chat_completions",
            "requested_model": "kilo-auto/org",
            "resolved_model": "a/b",
            "status": 200,
            "duration_ms": 12,
            "hosted_cost_microdollars": 1_234,
            **fields,
        }
    )
