"""How long ago something was, in words."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final

from django.utils.timesince import timesince, timeuntil

_WEEK: Final = timedelta(days=7)


def told_moment(at: datetime, now: datetime) -> str:
    """How long before or after `now`: "5 minutes ago", "in 2 days"."""
    is_past = at <= now
    away = now - at if is_past else at - now
    if away < _WEEK:
        distance = _short(away)
    else:
        distance = (timesince(at, now, depth=1) if is_past else timeuntil(at, now, depth=1)).replace("\xa0", " ")
    if distance.startswith("0 "):
        return "just now"
    return f"{distance} ago" if is_past else f"in {distance}"


def _short(away: timedelta) -> str:
    """Less than a week, in the largest unit that fits; it needs no calendar."""
    if away.days:
        return _counted(away.days, "day")
    return _counted(away.seconds // 3600, "hour") if away.seconds >= 3600 else _counted(away.seconds // 60, "minute")


def _counted(count: int, name: str) -> str:
    return f"{count} {name}" if count == 1 else f"{count} {name}s"
