"""Usage records for tests, and their sums as plain Python counts them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

from routing.models import UsageGrain, UsageRecord, UsageRollup
from routing.usage.sums import SUMS

NOON = datetime(2026, 5, 10, 12, tzinfo=UTC)
GRAINS = {
    UsageGrain.DAY: (),
    UsageGrain.MODE: ("mode",),
    UsageGrain.MODEL: ("resolved_model",),
    UsageGrain.MEMBER: ("user_id",),
    UsageGrain.ERROR: ("user_id", "error_type"),
    UsageGrain.DETAIL: ("user_id", "mode", "resolved_model"),
}
Rollups = dict[tuple[Any, ...], dict[str, int]]


def fields(organization_id: UUID | None, user_id: UUID, **others: Any) -> dict[str, Any]:
    return {
        "request_id": uuid4(),
        "created_at": NOON,
        "organization_id": organization_id,
        "user_id": user_id,
        "api_kind": "chat_completions",
        "requested_model": "kilo-auto/org",
        "mode": "code",
        "resolved_model": "a/b",
        "status": 200,
        "duration_ms": 5,
    } | others


def used(organization_id: UUID | None, user_id: UUID, **others: Any) -> UsageRecord:
    return UsageRecord.objects.create(**fields(organization_id, user_id, **others))


def of_record(record: UsageRecord) -> dict[str, int]:
    market = record.market_cost_microdollars
    return {
        "requests": 1,
        "failed_requests": int(record.status >= 400),
        "cancelled_requests": int(record.cancelled),
        "byok_requests": int(record.is_byok),
        "unpriced_requests": int(record.status < 400 and market is None),
        "hosted_cost_microdollars": record.hosted_cost_microdollars or 0,
        "market_cost_microdollars": market or 0,
        "byok_market_cost_microdollars": (market or 0) if record.is_byok else 0,
        "duration_ms": record.duration_ms,
        "first_byte_requests": int(record.time_to_first_byte_ms is not None),
        "first_byte_ms": record.time_to_first_byte_ms or 0,
        **{name: getattr(record, name) or 0 for name in SUMS if name.endswith("_tokens")},
    }


def expected(records: Iterable[UsageRecord]) -> Rollups:
    """What the roll-ups have to say of these records."""
    found: Rollups = defaultdict(lambda: dict.fromkeys(SUMS, 0))
    for record in records:
        told = {"user_id": record.user_id, "mode": record.mode[:100], "resolved_model": record.resolved_model}
        told["error_type"] = record.error_type
        for grain, names in GRAINS.items():
            if grain is UsageGrain.ERROR and not record.error_type and record.status < 400:
                continue
            about = [told[name] if name in names else (None if name == "user_id" else "") for name in told]
            key = (record.organization_id, grain.value, record.created_at.astimezone(UTC).date(), *about)
            for name, value in of_record(record).items():
                found[key][name] += value
    return dict(found)


def kept() -> Rollups:
    """What they say."""
    names = ("organization_id", "grain", "day", "user_id", "mode", "resolved_model", "error_type")
    return {
        tuple(getattr(row, name) for name in names): {name: getattr(row, name) for name in SUMS}
        for row in UsageRollup.objects.all()
    }
