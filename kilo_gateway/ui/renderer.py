"""How forms draw their controls: as Django does, and only once for the same values.

A filter bar has a list of sixty models or members, of which each option is a template of its own.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from functools import lru_cache
from typing import Any, Final

from django.forms.renderers import DjangoTemplates
from django.http import HttpRequest
from django.utils.functional import Promise
from django.utils.safestring import SafeString

from kilo_gateway.ui.remembered import KEPT

_WIDGETS: Final = "django/forms/widgets/"
# What was typed is not kept, because it may be a secret; what was chosen is one of the choices.
_CHOOSING: Final = frozenset({f"{_WIDGETS}{kind}.html" for kind in ("select", "radio", "checkbox_select", "checkbox")})
_PLAIN: Final = (str, int, float, date, type(None))


class _UnplainError(Exception):
    """A context has a value that could change."""


class _Drawing:
    """A widget's template with its context, which is the same as another one when all values in it are."""

    __slots__ = ("_key", "context", "template_name")

    def __init__(self, template_name: str, context: dict[str, Any]) -> None:
        self.template_name = template_name
        self.context = context
        self._key = (template_name, _plain(context))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Drawing) and self._key == other._key

    def __hash__(self) -> int:
        return hash(self._key)


class RememberingRenderer(DjangoTemplates):
    """The `FORM_RENDERER` of this project."""

    def render(self, template_name: str, context: dict[str, Any], request: HttpRequest | None = None) -> SafeString:
        """As the renderer that it stands for; empty controls, and those with choices, are made once."""
        if request is None and _is_kept(template_name, context):
            try:
                return _drawn(_Drawing(template_name, context))
            except _UnplainError:
                pass
        return SafeString(super().render(template_name, context, request))


_plain_renderer: Final = DjangoTemplates()


def _is_kept(template_name: str, context: Mapping[str, Any]) -> bool:
    widget = context.get("widget")
    if not template_name.startswith(_WIDGETS) or not isinstance(widget, dict):
        return False
    return template_name in _CHOOSING or not widget.get("value")


@lru_cache(maxsize=KEPT)
def _drawn(drawing: _Drawing) -> SafeString:
    return SafeString(_plain_renderer.render(drawing.template_name, drawing.context))


def _plain(value: object) -> object:
    """The value with all types in it, so that what is equal looks the same."""
    if isinstance(value, dict):
        return tuple([(name, _plain(one)) for name, one in value.items()])
    if isinstance(value, (list, tuple)):
        return tuple([_plain(one) for one in value])
    if isinstance(value, Promise):
        return str(value)
    if not isinstance(value, _PLAIN):
        raise _UnplainError
    return type(value), value
