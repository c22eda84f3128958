"""What a name may be made of."""

from __future__ import annotations

import re
from typing import Final

from django.core.exceptions import ValidationError

# Control characters, line breaks, and what turns the direction of text: a name stands in sentences, lists and logs.
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069]")


def without_control_characters(name: str) -> None:
    """Raises ValidationError for a name that has some."""
    if _CONTROL.search(name):
        raise ValidationError("It may not have line breaks or other control characters.")


def as_name(text: str) -> str:
    """A text from elsewhere as a name: with spaces where it has control characters."""
    return " ".join(_CONTROL.sub(" ", text).split())
