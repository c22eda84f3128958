"""Parts of an address that are more than text; what does not match is an address that does not exist."""

from __future__ import annotations

from django.urls import register_converter
from django.urls.converters import StringConverter


class ModeSlugConverter(StringConverter):
    """The slug of a mode."""

    regex = "[a-z0-9-]{1,50}"


class VersionConverter(StringConverter):
    """A routing version."""

    regex = "[0-9]{1,18}"

    def to_python(self, value: str) -> int:  # type: ignore[override]  # the base class is about text
        return int(value)


register_converter(ModeSlugConverter, "mode_slug")
register_converter(VersionConverter, "version")
