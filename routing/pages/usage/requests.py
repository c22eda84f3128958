"""The single requests of some days, newest first, page by page."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final
from uuid import UUID

from django.http import HttpResponse

from kilo_gateway.ui.links import with_query
from kilo_gateway.ui.moments import told_moment
from organizations.pages.frame import Page, PageRequest, organization_page
from routing.models import UsageRecord
from routing.pages.usage.forms import NONE, Days, RequestsForm
from routing.pages.usage.links import preset_links, sections
from routing.pages.wording import UNKNOWN, count_short, dollars, milliseconds
from routing.usage.requests import RequestPage, usage_requests
from routing.usage.sums import Range, SumBy, UsageScope, usage_groups, usage_scope
from routing.usage_selectors import MAX_GROUPS, person_emails

SIZE: Final = 50
RESULTS: Final = "requests"


@dataclass(frozen=True, slots=True)
class RequestRow:
    """One request as a row of the list."""

    at: datetime
    told: str
    mode: str
    model: str
    is_byok: bool
    error_type: str
    member: str
    href: str
    outcome: str
    tone: str
    tokens: str
    cost: str
    cost_told: str
    duration: str


@organization_page("usage", methods=("GET",))
def requests(request: PageRequest, page: Page) -> HttpResponse:
    """The list and its filters. Nine queries at most."""
    scope = usage_scope(page.membership)
    form = RequestsForm(request.GET)
    today = datetime.now(UTC).date()
    days = form.days(today)
    _offer(form, scope, days)
    path = page.url("usage-requests")
    kept = {name: value for name, value in request.GET.dict().items() if name in {*form.fields, "range"}}
    found = usage_requests(
        scope, form.wanted(days), before=request.GET.get("before", ""), after=request.GET.get("after", ""), size=SIZE
    )
    context = {
        "days": days,
        "form": form,
        "is_own": scope.is_own,
        "sections": sections(page, days),
        "presets": preset_links(path, kept),
        "path": path,
        "rows": _rows(found, path),
        "is_narrowed": any(form.data.get(name) for name in ("mode", "model", "member", "outcome", "error", "paid_by")),
        "newer": with_query(path, kept, after=found.newer) if found.newer else "",
        "older": with_query(path, kept, before=found.older) if found.older else "",
    }
    return page.render(
        "usage/requests.html",
        context,
        partials={RESULTS: "usage/request_part.html"},
        status=422 if form.errors else None,
    )


def _offer(form: RequestsForm, scope: UsageScope, days: Days) -> None:
    """Fill the lists of the form with what was used in these days. Five queries, three of one member's."""
    span = Range(days.first, days.end)

    def keys(by: SumBy) -> list[str]:
        return [str(group.key) for group in usage_groups(scope, by, span, limit=MAX_GROUPS)]

    form.offer("mode", sorted((key or NONE, key or "No mode said") for key in keys(SumBy.MODE)))
    form.offer("model", sorted((key or NONE, key or "No model resolved") for key in keys(SumBy.MODEL)))
    form.offer("error", sorted((key, key) for key in keys(SumBy.ERROR) if key))
    if scope.is_own:
        del form.fields["member"]
        return
    emails = person_emails(UUID(key) for key in keys(SumBy.MEMBER))
    form.offer("member", sorted(((str(pk), email) for pk, email in emails.items()), key=lambda pair: pair[1]))


def _rows(found: RequestPage, path: str) -> list[RequestRow]:
    now = datetime.now(UTC)
    return [
        _row(record, found.emails.get(record.user_id, ""), f"{path}/{record.request_id}", now) for record in found.rows
    ]


def _row(record: UsageRecord, email: str, href: str, now: datetime) -> RequestRow:
    outcome, tone = "answered", "ok"
    if record.status >= 400:
        outcome, tone = f"failed, {record.status}", "danger"
    elif record.cancelled:
        outcome, tone = "cancelled", "neutral"
    elif record.error_type:
        outcome, tone = "broke off", "warning"
    return RequestRow(
        at=record.created_at.astimezone(UTC),
        told=told_moment(record.created_at, now),
        mode=record.mode,
        model=record.resolved_model,
        is_byok=record.is_byok,
        error_type=record.error_type,
        member=email or "Former member",
        href=href,
        outcome=outcome,
        tone=tone,
        tokens=_tokens(record),
        cost=_cost(record)[0],
        cost_told=_cost(record)[1],
        duration=milliseconds(record.duration_ms),
    )


def _tokens(record: UsageRecord) -> str:
    if record.input_tokens is None and record.output_tokens is None:
        return UNKNOWN
    return f"{count_short(record.input_tokens or 0)} → {count_short(record.output_tokens or 0)}"


def _cost(record: UsageRecord) -> tuple[str, str]:
    """What is shown, and what it means."""
    if record.status >= 400:
        return UNKNOWN, "It was not answered"
    if record.market_cost_microdollars is None:
        return "unknown", "No source knows the price of this model"
    if record.is_byok:
        return dollars(record.market_cost_microdollars), "Market cost; paid to the provider with an own key"
    return dollars(record.hosted_cost_microdollars or 0), "Hosted cost"
