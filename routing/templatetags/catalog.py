"""The catalog in templates: `{% load catalog %}`."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from django import template

from routing.catalog.status import catalog_status
from routing.models import Installation

register = template.Library()


@register.inclusion_tag("partials/catalog_line.html")
def catalog_line() -> dict[str, Any]:
    """One line that says where the list of models is from, and how old it is; nothing without one. One query."""
    try:
        status = catalog_status()
    except Installation.DoesNotExist:
        return {"status": None}
    return {"status": status, "is_stale": status.is_stale(datetime.now(UTC))}
