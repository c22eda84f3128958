"""The single requests of some days, newest first, page by page."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, Final

from django.http import HttpResponse
from django.template.loader import render_to_string
from django.utils.safestring import SafeString

from kilo_gateway.ui.drawn import Drawn
from kilo_gateway.ui.links import with_query
from kilo_gateway.ui.moments import told_moment
from kilo_gateway.ui.remembered import remembered
from organizations.pages.date_range import FROM, TO
from organizations.pages.frame import Page, PageRequest, organization_page
from routing.models import UsageRecord
from routing.pages.usage.forms import NARROWING, NONE, Days, RequestsForm, preset_days
from routing.pages.usage.links import preset_links, sections
from routing.pages.wording import UNKNOWN, count_short, dollars, milliseconds
from routing.usage.requests import RequestFilter, RequestPage, usage_requests
from routing.usage.sums import SumBy, SumsRead, usage_scope
from routing.usage_selectors import usage_offered

SIZE: Final = 50
PARTS: Final = {"requests": "usage/request_part.html"}
# The lists that were shown last are kept as they are drawn; one is about 70 kB.
KEPT: Final = 16
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
    """One request as a row of the list: its record, and what else the row depends on."""

    record: UsageRecord
    told: str
    member: str
    path: str

    @property
    def at(self) -> datetime:
        return self.record.created_at.astimezone(UTC)

    @property
    def href(self) -> str:
        return f"{self.path}/{self.record.request_id}"

    @property
    def outcome(self) -> str:
        return _outcome(self.record)[0]

    @property
    def tone(self) -> str:
        return _outcome(self.record)[1]

    @property
    def tokens(self) -> str:
        return _tokens(self.record)

    @property
    def cost(self) -> str:
        return _cost(self.record)[0]

    @property
    def cost_told(self) -> str:
        return _cost(self.record)[1]

    @property
    def duration(self) -> str:
        return milliseconds(self.record.duration_ms)


@dataclass(frozen=True, slots=True)
class Listing:
    """All that the list shows, or that its links say."""

    rows: tuple[RequestRow, ...]
    path: str
    newer: str
    older: str
    is_own: bool
    is_narrowed: bool


@organization_page("usage", methods=("GET",))
def requests(request: PageRequest, page: Page) -> HttpResponse:
    """The list and its filters. Five queries at most, two where nothing is filtered by."""
    scope = usage_scope(page.membership)
    query = request.GET.copy()
    if scope.is_own:
        # There is no filter for it, and so none that could show why nothing is found.
        query.pop("member", None)
    kept = {name: value for name in (*NARROWING, FROM, TO, "range") if (value := query.get(name))}
    form = RequestsForm(query) if kept.keys() - {"range"} else None
    today = datetime.now(UTC).date()
    days = preset_days(kept.get("range", ""), today) if form is None else form.days(today)
    path = page.url("usage-requests")
    offered = usage_offered(scope, days.first, days.end)
    found = usage_requests(
        scope,
        RequestFilter(since=days.since, until=days.until) if form is None else form.wanted(days),
        before=query.get("before", ""),
        after=query.get("after", ""),
        size=SIZE,
        fields=FIELDS,
        known={str(page.user.pk): page.user.email} if scope.is_own else offered.labels(SumBy.MEMBER),
    )
    listing = _listing(found, path, kept, is_own=scope.is_own)
    context: dict[str, Any] = {"is_own": scope.is_own, "sections": sections(page.url("usage"), path, days)}
    if form is None:
        context["filters"] = _no_filters(offered, days, path, is_own=scope.is_own)
        context["list"] = _kept(listing)
    else:
        context["filters"] = _filters(form, offered, days, path, is_own=scope.is_own)
        context["list"] = _drawn(listing)
    is_refused = form is not None and bool(form.errors)
    return page.render("usage/requests.html", context, partials=PARTS, status=422 if is_refused else None)


def _listing(found: RequestPage, path: str, kept: Mapping[str, str], *, is_own: bool) -> Listing:
    now = datetime.now(UTC)
    member = found.emails.get
    return Listing(
        rows=tuple(
            [
                RequestRow(
                    record, told_moment(record.created_at, now), member(str(record.user_id), "Former member"), path
                )
                for record in found.rows
            ]
        ),
        path=path,
        newer=with_query(path, kept, after=found.newer) if found.newer else "",
        older=with_query(path, kept, before=found.older) if found.older else "",
        is_own=is_own,
        is_narrowed=any(name in kept for name in NARROWING),
    )


def _drawn(listing: Listing) -> Drawn:
    shown = {name: getattr(listing, name) for name in ("rows", "path", "newer", "older", "is_own", "is_narrowed")}
    return Drawn.of(render_to_string("usage/request_list.html", shown))


@lru_cache(maxsize=KEPT)
def _kept(listing: Listing) -> Drawn:
    return _drawn(listing)


def _filters(form: RequestsForm, offered: SumsRead, days: Days, path: str, *, is_own: bool) -> SafeString:
    """The choice of days and the filter bar; its lists offer what was used in these days."""
    modes, models, errors = (offered.labels(by) for by in (SumBy.MODE, SumBy.MODEL, SumBy.ERROR))
    form.offer("mode", sorted((key or NONE, key or "No mode said") for key in modes))
    form.offer("model", sorted((key or NONE, key or "No model resolved") for key in models))
    form.offer("error", sorted((key, key) for key in errors if key))
    if not is_own:
        members = ((person, email) for person, email in offered.labels(SumBy.MEMBER).items() if email)
        form.offer("member", sorted(members, key=lambda pair: pair[1]))
    presets = preset_links(path, {name: form.data.get(name, "") for name in NARROWING})
    context = {"form": form, "is_own": is_own, "days": days, "presets": presets, "path": path}
    return render_to_string("usage/filters.html", context)


@remembered
def _no_filters(offered: SumsRead, days: Days, path: str, *, is_own: bool) -> SafeString:
    """The same when nothing is filtered by."""
    return _filters(RequestsForm({}), offered, days, path, is_own=is_own)


def _outcome(record: UsageRecord) -> tuple[str, str]:
    """How it ended, and the tone of that."""
    if record.status >= 400:
        return f"failed, {record.status}", "danger"
    if record.cancelled:
        return "cancelled", "neutral"
    return ("broke off", "warning") if record.error_type else ("answered", "ok")


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
