"""Addresses with a query."""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import urlencode
from uuid import UUID


def with_query(path: str, query: Mapping[str, object], **changes: object) -> str:
    """A path with a query, some of it said otherwise; what is blank is left out."""
    kept = {name: value for name, value in {**query, **changes}.items() if value not in {None, ""}}
    return f"{path}?{urlencode(kept)}" if kept else path


def uuid_or_none(said: str) -> UUID | None:
    """An id that an address names; what is none counts as not given."""
    try:
        return UUID(said)
    except ValueError:
        return None
