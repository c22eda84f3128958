"""What was used in some days, summed up; and the same as a file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from typing import Final, cast

from django.http import HttpResponse, StreamingHttpResponse
from django.template.loader import render_to_string
from django.utils.safestring import SafeString

from kilo_gateway.ui.drawn import Drawn
from kilo_gateway.ui.links import with_query
from kilo_gateway.ui.remembered import remembered
from organizations.pages.date_range import FROM, TO
from organizations.pages.frame import Page, PageRequest, organization_page
from routing.pages.usage.charts import KINDS, chart_kind, usage_chart
from routing.pages.usage.forms import Asked, Days, DaysForm, preset_days
from routing.pages.usage.links import Link, preset_links, sections
from routing.pages.usage.tables import breakdown, numbers, table_links, table_of
from routing.pages.wording import count_short, milliseconds, percent
from routing.usage.export import usage_csv
from routing.usage.sums import usage_scope
from routing.usage_selectors import UsagePage, UsageRead, usage_read

PARTS: Final = {"usage-body": "usage/summary.html"}
# What was shown last is kept as it is drawn, about 40 kB each.
KEPT: Final = 16


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
    query = request.GET
    today = datetime.now(UTC).date()
    form = DaysForm(query) if query.get(FROM) or query.get(TO) else None
    days = preset_days(query.get("range", ""), today) if form is None else form.days(today)
    asked = Asked.of(query)
    path, requests_path = page.url("usage"), page.url("usage-requests")
    by = table_of(asked, is_own=scope.is_own)
    read = usage_read(scope, days.first, days.last, by.key)
    context = {
        "days": days,
        "is_own": scope.is_own,
        "sections": sections(path, requests_path, days),
        "range": _usual_range(path, days, asked) if form is None else _range(form, path, days, asked),
        "body": _body(read, days, asked, path=path, requests_path=requests_path, is_own=scope.is_own),
        "export": with_query(page.url("usage-export"), days.query),
    }
    is_refused = form is not None and bool(form.errors)
    return page.render("usage/page.html", context, partials=PARTS, status=422 if is_refused else None)


def _range(form: DaysForm, path: str, days: Days, asked: Asked) -> SafeString:
    """The choice of days, with the form as it was filled in."""
    presets = preset_links(path, asked.query)
    context = {"form": form, "path": path, "days": days, "kept": asked.query, "presets": presets}
    return render_to_string("usage/range.html", context)


@remembered
def _usual_range(path: str, days: Days, asked: Asked) -> SafeString:
    """The same when nobody filled it in, with the days that are shown."""
    return _range(DaysForm(initial={FROM: days.first, TO: days.last}), path, days, asked)


@lru_cache(maxsize=KEPT)
def _body(read: UsageRead, days: Days, asked: Asked, *, path: str, requests_path: str, is_own: bool) -> Drawn:
    """What the page shows of what was read, made once for the same."""
    found = read.page()
    by = table_of(asked, is_own=is_own)
    context = {
        "days": days,
        "is_own": is_own,
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
        "chart": usage_chart(chart_kind(asked.chart), found.days),
        "chart_links": [
            Link(one.key, one.label, with_query(path, {**days.query, **asked.query}, chart=one.key)) for one in KINDS
        ],
        "breakdown": breakdown(found, by, asked, days=days, page_path=path, requests_path=requests_path),
        "breakdown_links": table_links(found, asked, days, path),
    }
    return Drawn.of(render_to_string("usage/body.html", context))


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
