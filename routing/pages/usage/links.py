"""The ways between the pages about usage."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from kilo_gateway.ui.links import with_query
from routing.pages.usage.forms import DEFAULT_PRESET, PRESETS, Days


@dataclass(frozen=True, slots=True)
class Link:
    """An entry of tabs, or of a choice of days."""

    key: str
    label: str
    href: str
    count: int | None = None


def sections(summary_path: str, requests_path: str, days: Days) -> list[Link]:
    """The two pages about usage, for the same days."""
    return [
        Link("summary", "Summary", with_query(summary_path, days.query)),
        Link("requests", "Requests", with_query(requests_path, days.query)),
    ]


def preset_links(path: str, query: Mapping[str, str]) -> list[Link]:
    """The usual ranges of days; the rest of the query stays."""
    kept = {name: value for name, value in query.items() if name not in {"range", "from", "to"}}
    return [
        Link(key, label, with_query(path, kept, range="" if key == DEFAULT_PRESET else key))
        for key, (label, _) in PRESETS.items()
    ]
