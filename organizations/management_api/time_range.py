"""A range of time in an address: `from` and `to`."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from typing import Any, Final

from rest_framework import serializers

from organizations.management_api.shapes import Shape

NO_MOMENT: Final = "It must be a date or a time in ISO 8601, such as 2026-05-01 or 2026-05-01T12:00:00Z."


class Moment(serializers.DateTimeField):
    """A time; or a date, which is a day of UTC and stands for its first moment, or for the one after its last."""

    default_error_messages = {"invalid": NO_MOMENT}

    def __init__(self, *, ends_range: bool = False, **options: Any) -> None:
        self.ends_range = ends_range
        super().__init__(**options)

    def to_internal_value(self, value: Any) -> datetime:
        try:
            day = date.fromisoformat(value)
        except (TypeError, ValueError):
            return super().to_internal_value(value)
        first = datetime.combine(day, time.min, UTC)
        if not self.ends_range:
            return first
        # The calendar's last day is followed by none.
        return datetime.max.replace(tzinfo=UTC) if day == date.max else first + timedelta(days=1)


class TimeRange(Shape):
    """Both ends may be left out; a day at either end is in it as a whole."""

    # `from` cannot be the name of an attribute.
    def get_fields(self) -> dict[str, Any]:
        ends = {
            "from": Moment(
                required=False, help_text="Then or later: a time in ISO 8601, or a date, which is included."
            ),
            "to": Moment(
                ends_range=True, required=False, help_text="Before that time, or until the end of that date, in UTC."
            ),
        }
        return {**super().get_fields(), **ends}

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        if "from" in attrs and "to" in attrs and attrs["from"] >= attrs["to"]:
            raise serializers.ValidationError({"to": ["It must be after `from`."]})
        return attrs
