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
from routing.usage.sums import Range, SumBy, UsageScope, usage_scope, usage_sums
from routing.usage_selectors import MAX_GROUPS

SIZE: Final = 50
RESULTS: Final = "requests"
# What a row of the list is made of.
FIELDS: Final = (
    "request_id",
    "mode",
    "resolved_model",
    "is_byok",
    "cancelled",
    "status",
    "error_type",
    "input_tokens",
    "output_tokens",
    "hosted_cost_microdollars",
    "market_cost_microdollars",
    "duration_ms",
)


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
    """The list and its filters. Four queries at most."""
    scope = usage_scope(page.membership)
    form = RequestsForm(request.GET)
    today = datetime.now(UTC).date()
    days = form.days(today)
    known = _offer(form, scope, days)
    path = page.url("usage-requests")
    kept = {name: value for name, value in request.GET.dict().items() if name in {*form.fields, "range"}}
    found = usage_requests(
        scope,
        form.wanted(days),
        before=request.GET.get("before", ""),
        after=request.GET.get("after", ""),
        size=SIZE,
        fields=FIELDS,
        known=known if known is not None else {page.user.pk: page.user.email},
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


def _offer(form: RequestsForm, scope: UsageScope, days: Days) -> dict[UUID, str] | None:
    """Fill the lists of the form with what was used in these days. One query.

    Returns the addresses of the members who used it, blank for one who is gone; None where it is one member's.
    """
    by = [SumBy.MODE, SumBy.MODEL, SumBy.ERROR, *([] if scope.is_own else [SumBy.MEMBER])]
    found = usage_sums(scope, dict.fromkeys(by, Range(days.first, days.end)), limit=MAX_GROUPS, names=["requests"])
    modes, models, errors = ([str(group.key) for group in found[one]] for one in by[:3])
    form.offer("mode", sorted((key or NONE, key or "No mode said") for key in modes))
    form.offer("model", sorted((key or NONE, key or "No model resolved") for key in models))
    form.offer("error", sorted((key, key) for key in errors if key))
    if scope.is_own:
        del form.fields["member"]
        return None
    emails = {UUID(str(group.key)): group.label for group in found[SumBy.MEMBER]}
    members = ((str(person), email) for person, email in emails.items() if email)
    form.offer("member", sorted(members, key=lambda pair: pair[1]))
    return emails


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
    cost, cost_told = _cost(record)
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
        cost=cost,
        cost_told=cost_told,
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
