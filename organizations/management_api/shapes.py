"""Shapes of bodies and queries: which fields there are and of what type. What a value means, the services decide.

Nothing is guessed: text is text, true is true, and a field that nobody asked for is refused, because one that is
misspelt would else be passed over in silence.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

from django.core.validators import RegexValidator
from rest_framework import serializers
from rest_framework.settings import api_settings

from organizations.management_api.converters import ModeSlugConverter

MAX_UNKNOWN_NAMED = 10


class Shape(serializers.Serializer[Any]):
    """A body or a part of one, with exactly these fields."""

    def to_internal_value(self, data: Any) -> Any:
        if not isinstance(data, Mapping):
            raise serializers.ValidationError({api_settings.NON_FIELD_ERRORS_KEY: ["It must be an object."]})
        unknown = [str(name)[:100] for name in data if name not in self.fields][:MAX_UNKNOWN_NAMED]
        errors: dict[str, Any] = {name: ["There is no such field."] for name in unknown}
        value: Any = {}
        try:
            value = super().to_internal_value(data)
        except serializers.ValidationError as error:
            errors |= cast("dict[str, Any]", error.detail)
        if errors:
            raise serializers.ValidationError(errors)
        return value


class Nothing(Shape):
    """No field at all."""


class Text(serializers.CharField):
    """Text as it was sent: no number is taken for text, and nothing is trimmed."""

    def __init__(self, **options: Any) -> None:
        super().__init__(trim_whitespace=False, **options)

    def to_internal_value(self, data: Any) -> str:
        if not isinstance(data, str):
            self.fail("invalid")
        return super().to_internal_value(data)


class Slug(Text):
    """The slug of a mode."""

    def __init__(self, **options: Any) -> None:
        pattern = rf"^{ModeSlugConverter.regex}\Z"
        super().__init__(
            validators=[RegexValidator(pattern, "It has 1 to 50 characters: small letters, digits and hyphens.")],
            **options,
        )


class Texts(serializers.ListField):
    """A list of texts."""

    def __init__(self, **options: Any) -> None:
        super().__init__(child=Text(), **options)


class Flag(serializers.BooleanField):
    """True or false, and nothing that could be meant so."""

    def to_internal_value(self, data: Any) -> bool:
        if not isinstance(data, bool):
            self.fail("invalid", input=data)
        return data


class QueryFlag(serializers.BooleanField):
    """The word `true` or `false` in an address."""

    def to_internal_value(self, data: Any) -> bool:
        if data not in {"true", "false"}:
            self.fail("invalid", input=data)
        return bool(data == "true")
