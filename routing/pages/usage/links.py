"""The ways between the pages about usage."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

from kilo_gateway.ui.links import with_query
from organizations.pages.frame import Page
from routing.pages.usage.forms import PRESETS, Days, preset_days


@dataclass(frozen=True, slots=True)
class Link:
    """An entry of tabs, or of a choice of days."""

    key: str
    label: str
    href: str
    count: int | None = None


def sections(page: Page, days: Days) -> list[Link]:
    """The two pages about usage, for the same days."""
    return [
        Link("summary", "Summary", with_query(page.url("usage"), days.query)),
        Link("requests", "Requests", with_query(page.url("usage-requests"), days.query)),
    ]


def preset_links(path: str, query: Mapping[str, str]) -> list[Link]:
    """The usual ranges of days; the rest of the query stays."""
    kept = {name: value for name, value in query.items() if name not in {"range", "from", "to"}}
    today = datetime.now(UTC).date()
    return [
        Link(key, label, with_query(path, kept, **preset_days(key, today).query)) for key, (label, _) in PRESETS.items()
    ]
