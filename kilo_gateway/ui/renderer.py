"""How forms draw their controls: as Django does, and only once for the same values.

A filter bar has a list of sixty models or members, of which each option is a template of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from itertools import groupby
from typing import Any, Final, TypeAlias

from django.forms.renderers import DjangoTemplates
from django.http import HttpRequest
from django.template import Context
from django.utils.safestring import SafeString

from kilo_gateway.ui.remembered import kept_parts, key_of

_WIDGETS: Final = "django/forms/widgets/"
_SELECT: Final = f"{_WIDGETS}select.html"
_CHOICES: Final = frozenset({f"{_WIDGETS}radio.html", f"{_WIDGETS}checkbox_select.html"})
_CHECKBOX: Final = f"{_WIDGETS}checkbox.html"
# What the template of a list has between two options.
_BETWEEN: Final = "\n  "

# A name, options, and which group it is.
_Group: TypeAlias = tuple[str | None, list[dict[str, Any]], int]


class RememberingRenderer(DjangoTemplates):
    """The `FORM_RENDERER` of this project."""

    def render(self, template_name: str, context: dict[str, Any], request: HttpRequest | None = None) -> SafeString:
        """As the renderer that it stands for; empty controls, and what can be chosen, are made once."""
        widget: dict[str, Any] = context.get("widget", {})
        draw = partial(super().render, template_name)
        if not template_name.startswith(_WIDGETS) or context.keys() != {"widget"} or request is not None:
            return SafeString(draw(context, request))
        if template_name == _SELECT:
            # For each that may be chosen there would be a whole list: only what is in it is kept.
            return SafeString(draw({"widget": widget | {"optgroups": self._drawn_groups(widget["optgroups"])}}))
        if template_name in _CHOICES:
            # The value says no more than the choices do, but for what is none of them.
            widget = widget | {"value": None}
        elif template_name != _CHECKBOX and widget.get("value"):
            # What was typed may be a secret.
            return SafeString(draw(context))
        return _kept_or_drawn(template_name, widget, draw)

    def _drawn_groups(self, groups: list[_Group]) -> list[_Group]:
        """The same groups with one option each, which draws all of them; those without a name are one."""
        drawn: list[_Group] = []
        for named, together in groupby(groups, key=_named_group):
            texts = [self._drawn_option(option) for _, options, _ in together for option in options]
            drawn.append((named and named[0], [{"template_name": _Drawn(texts)}], 0))
        return drawn

    def _drawn_option(self, option: dict[str, Any]) -> SafeString:
        name = option["template_name"]
        # As a part of another template it keeps the empty lines around it.
        return _kept_or_drawn(name, option, self.get_template(name).render)


def _named_group(group: _Group) -> tuple[str, int] | None:
    name, _, index = group
    return (name, index) if name else None


class _Drawn:
    """Stands where a template includes another one."""

    __slots__ = ("_text",)

    def __init__(self, texts: Iterable[SafeString]) -> None:
        self._text = SafeString(_BETWEEN.join(texts))

    def render(self, _context: Context) -> SafeString:
        return self._text


def _kept_or_drawn(template_name: str, widget: dict[str, Any], draw: Callable[[dict[str, Any]], str]) -> SafeString:
    try:
        key = key_of((template_name, widget))
    except TypeError:
        # It holds more than it shows, as a choice does that knows its row of the database.
        return SafeString(draw({"widget": widget}))
    text = kept_parts.find(key)
    if text is None:
        text = SafeString(draw({"widget": widget}))
        kept_parts.keep(key, text)
    return text
