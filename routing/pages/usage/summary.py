"""What was used in some days, summed up; and the same as a file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final, cast

from django.http import HttpResponse, StreamingHttpResponse

from kilo_gateway.ui.links import with_query
from organizations.pages.frame import Page, PageRequest, organization_page
from routing.pages.usage.charts import KINDS, chart_kind, usage_chart
from routing.pages.usage.forms import Days, DaysForm
from routing.pages.usage.links import Link, preset_links, sections
from routing.pages.usage.tables import BY, breakdown, numbers, tables_of
from routing.pages.wording import count_short, milliseconds, percent
from routing.usage.export import usage_csv
from routing.usage.sums import usage_scope
from routing.usage_selectors import UsagePage, usage_page

PARTS: Final = {"usage-body": "usage/summary.html"}


@dataclass(frozen=True, slots=True)
class Change:
    """How much a total differs from that of the days before; `told` says it as a sentence's end."""

    text: str
    told: str


@dataclass(frozen=True, slots=True)
class Tokens:
    """Tokens of one kind, and their share of all in per cent; `is_part` of the kind above it."""

    label: str
    count: str
    share: float
    share_told: str
    is_part: bool = False


@dataclass(frozen=True, slots=True)
class ErrorRow:
    """A kind of error and how often it came."""

    name: str
    count: str
    share: float
    href: str


@organization_page("usage", methods=("GET",))
def usage(request: PageRequest, page: Page) -> HttpResponse:
    """Totals, charts and tables of some days. One query."""
    scope = usage_scope(page.membership)
    form = DaysForm(request.GET)
    today = datetime.now(UTC).date()
    days = form.days(today)
    found = usage_page(scope, days.first, days.last)
    asked = request.GET.dict()
    path, requests_path = page.url("usage"), page.url("usage-requests")
    shown = {name: asked.get(name, "") for name in ("by", "sort", "chart")}
    kept = {**days.query, **shown}
    tables = tables_of(found)
    context = {
        "days": days,
        "kept": shown,
        "form": _shown(form, days),
        "sections": sections(page, days),
        "presets": preset_links(path, kept),
        "is_own": scope.is_own,
        "totals": found.totals,
        "numbers": numbers(found.totals),
        "unpriced": f"{found.totals['unpriced_requests']:,}",
        "failed": f"{found.totals['failed_requests']:,}",
        "cancelled": f"{found.totals['cancelled_requests']:,}",
        "first_byte": milliseconds(_mean(found.totals, "first_byte_ms", "first_byte_requests")),
        "changes": {
            name: _change(found, name, days)
            for name in ("requests", "hosted_cost_microdollars", "byok_market_cost_microdollars")
        },
        "error_rate_before": percent(found.previous["failed_requests"], found.previous["requests"]),
        "tokens": _tokens(found.totals),
        "errors": _errors(found, requests_path, days),
        "chart": usage_chart(chart_kind(asked.get("chart", "")), found.days),
        "chart_links": [Link(one.key, one.label, with_query(path, kept, chart=one.key)) for one in KINDS],
        "breakdown": breakdown(found, asked, days=days, page_path=path, requests_path=requests_path),
        "breakdown_links": [
            Link(one.key, one.label, with_query(path, kept, by=one.key, sort=""), len(tables[one.key].groups))
            for one in BY
            if one.key in tables
        ],
        "export": with_query(page.url("usage-export"), days.query),
    }
    return page.render("usage/page.html", context, partials=PARTS, status=422 if form.errors else None)


@organization_page("usage", methods=("GET",))
def export(request: PageRequest, page: Page) -> HttpResponse:
    """The days as CSV, streamed: a line for each day, mode, model and member."""
    scope = usage_scope(page.membership)
    days = DaysForm(request.GET).days(datetime.now(UTC).date())
    name = f"usage-{days.first}-to-{days.last}.csv"
    answer = StreamingHttpResponse(
        usage_csv(scope, days.first, days.last) if request.method == "GET" else (),
        content_type="text/csv; charset=utf-8",
        headers={"Content-Disposition": f'attachment; filename="{name}"'},
    )
    return cast("HttpResponse", answer)  # what pages answer; it differs in nothing that the frame touches


def _shown(form: DaysForm, days: Days) -> DaysForm:
    """The form as it was filled in; when it was not, with the days that are shown."""
    return form if form.first or form.last or form.errors else DaysForm(initial={"from": days.first, "to": days.last})


def _mean(sums: Mapping[str, int], name: str, count: str) -> float | None:
    return sums[name] / sums[count] if sums[count] else None


def _change(found: UsagePage, name: str, days: Days) -> Change:
    before = f"the {days.count} days before" if days.count > 1 else "the day before"
    change = found.change(name)
    if change is None:
        return Change("", f"nothing in {before}" if found.totals[name] else "")
    if round(change * 100) == 0:
        return Change("±0%", f"as in {before}")
    return Change(f"{'+' if change > 0 else '-'}{count_short(abs(change) * 100)}%", f"on {before}")


def _tokens(sums: Mapping[str, int]) -> list[Tokens]:
    whole = sums["input_tokens"] + sums["output_tokens"]
    kinds = (
        ("Input", "input_tokens", False),
        ("Read from a cache", "cache_read_tokens", True),
        ("Written to a cache", "cache_write_tokens", True),
        ("Output", "output_tokens", False),
        ("Reasoning", "reasoning_tokens", True),
    )
    return [
        Tokens(
            label=label,
            count=f"{sums[name]:,}",
            share=round(min(sums[name] / whole * 100, 100), 2) if whole else 0,
            share_told=percent(sums[name], whole),
            is_part=is_part,
        )
        for label, name, is_part in kinds
    ]


def _errors(found: UsagePage, path: str, days: Days) -> list[ErrorRow]:
    whole = sum(group.sums["requests"] for group in found.errors.groups)
    return [
        ErrorRow(
            str(group.key) or "no type",
            f"{group.sums['requests']:,}",
            round(group.sums["requests"] / whole * 100, 2),
            with_query(path, days.query, **({"error": group.key} if group.key else {"outcome": "failed"})),
        )
        for group in found.errors.groups
    ]
