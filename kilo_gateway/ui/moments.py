"""How long ago something was, in words."""

from __future__ import annotations

from datetime import datetime
from typing import Final

from django.utils.timesince import timesince, timeuntil

_WEEK: Final = 7 * 86_400
_UNITS: Final = (("day", 86_400), ("hour", 3_600), ("minute", 60))


def told_moment(at: datetime, now: datetime) -> str:
    """How long before or after `now`: "5 minutes ago", "in 2 days"."""
    is_past = at <= now
    seconds = int(abs((now - at).total_seconds()))
    if seconds < _WEEK:
        distance = _short(seconds)
    else:
        distance = (timesince(at, now, depth=1) if is_past else timeuntil(at, now, depth=1)).replace("\xa0", " ")
    if distance.startswith("0 "):
        return "just now"
    return f"{distance} ago" if is_past else f"in {distance}"


def _short(seconds: int) -> str:
    """Less than a week, in the largest unit that fits; it needs no calendar."""
    name, size = next((unit for unit in _UNITS if seconds >= unit[1]), _UNITS[-1])
    count = seconds // size
    return f"{count} {name}{'s' * (count != 1)}"
