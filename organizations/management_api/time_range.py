"""A range of time in an address: `from` and `to`."""

from __future__ import annotations

from typing import Any

from rest_framework import serializers

from organizations.management_api.shapes import Shape


class TimeRange(Shape):
    """Both ends may be left out. A date is its first moment in UTC."""

    # `from` cannot be the name of an attribute.
    def get_fields(self) -> dict[str, Any]:
        ends = {
            "from": serializers.DateTimeField(required=False, help_text="Then or later; a date or a time in ISO 8601."),
            "to": serializers.DateTimeField(required=False, help_text="Before then."),
        }
        return {**super().get_fields(), **ends}

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        if "from" in attrs and "to" in attrs and attrs["from"] >= attrs["to"]:
            raise serializers.ValidationError({"to": ["It must be after `from`."]})
        return attrs
