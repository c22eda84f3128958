"""The receipt of one request: what was decided for it, and what became of it."""

from __future__ import annotations

from urllib.parse import urlencode
from uuid import UUID

from django.http import HttpResponse

from organizations.models import SettingsVersion
from organizations.pages.frame import Page, PageRequest, organization_page
from organizations.pages.navigation import organization_path
from routing.models import UsageRecord
from routing.usage.requests import Receipt, usage_receipt
from routing.usage.sums import usage_scope


@organization_page("usage", methods=("GET",))
def receipt(request: PageRequest, page: Page, request_id: UUID) -> HttpResponse:
    """One request of the organization; who may not see everybody's usage sees the decision for another's, and no more.

    Four queries at most.

    A page with 404 when there is none: the records of a second may still be on their way, and old ones are pruned.
    """
    scope = usage_scope(page.membership)
    usage_page = f"{organization_path(page.organization.pk)}usage"
    found = usage_receipt(scope, request_id)
    if found is None:
        context = {"request_id": request_id, "usage_page": usage_page}
        return page.render("receipt/none.html", context, status=404)
    record = found.record
    context = {
        "receipt": found,
        "record": record,
        "usage_page": usage_page,
        "headers": "\n".join(f"{name}: {value}" for name, value in found.headers.items()),
        "version": _version_in_force(page, found),
        "explain": f"{page.url('explain')}?{urlencode(_question(record))}",
        "waited": _waited(record),
    }
    return page.render("receipt/page.html", context)


def _version_in_force(page: Page, found: Receipt) -> int | None:
    """The kept version of the settings by which it was decided."""
    if found.record.routing_version is None:
        return None
    versions = SettingsVersion.objects.filter(
        organization_id=page.organization.pk, routing_version__lte=found.record.routing_version
    )
    return versions.order_by("-routing_version").values_list("routing_version", flat=True).first()


def _question(record: UsageRecord) -> dict[str, str]:
    return {"mode": record.mode, "model": record.requested_model, "api_kind": record.api_kind}


def _waited(record: UsageRecord) -> float | None:
    """Per cent of the whole time that the first byte took."""
    first = record.time_to_first_byte_ms
    if first is None or not record.duration_ms:
        return None
    return round(min(first / record.duration_ms, 1) * 100, 1)
