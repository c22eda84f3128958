"""Large texts of a page that are drawn already, and are put in when its template has made the rest.

A template copies what it draws at each level: at every block, condition and include. For half a megabyte that takes
longer than all else that a page needs.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Self

from django.http import HttpRequest
from django.template.loader import render_to_string
from django.utils.safestring import SafeString

# What people wrote is escaped, so it cannot be taken for a mark even by somebody who knows this.
_SECRET: Final = secrets.token_hex(8)


@dataclass(frozen=True, slots=True, eq=False)
class Drawn:
    """What a template made, as it is sent. Threads share it."""

    body: bytes

    @classmethod
    def of(cls, text: SafeString) -> Self:
        """Ready to be put into pages."""
        return cls(text.encode())


def page_body(template_name: str, context: Mapping[str, Any], request: HttpRequest) -> bytes:
    """A template with what is `Drawn` in its context put in at the end; it can say `{{ name }}` of that, no more."""
    drawn = {name: value.body for name, value in context.items() if isinstance(value, Drawn)}
    marks = {name: f"<{name}-{_SECRET}/>" for name in drawn}
    safe = {name: SafeString(mark) for name, mark in marks.items()}
    body = render_to_string(template_name, {**context, **safe}, request).encode()
    # The largest one last: what it is put into is copied.
    for name in sorted(drawn, key=lambda name: len(drawn[name])):
        body = body.replace(marks[name].encode(), drawn[name])
    return body
