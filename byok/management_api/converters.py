"""Parts of an address that are more than text; what does not match is an address that does not exist."""

from __future__ import annotations

from django.urls import register_converter
from django.urls.converters import StringConverter


class CustomProviderConverter(StringConverter):
    """The id of a custom provider."""

    regex = "custom-[a-z0-9-]{1,40}"


register_converter(CustomProviderConverter, "custom_provider")
