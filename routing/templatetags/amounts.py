"""Numbers in templates, as pages say them: `{% load amounts %}`."""

from __future__ import annotations

from django import template

from routing.pages import wording

register = template.Library()


@register.filter
def dollars(microdollars: int | None) -> str:
    """An amount of money; a dash for one that nobody knows."""
    return wording.UNKNOWN if microdollars is None else wording.dollars(microdollars)


@register.filter
def number(value: float | None) -> str:
    """A whole number with its thousands apart; a dash for none."""
    return wording.UNKNOWN if value is None else f"{value:,.0f}"


@register.filter
def share(part: int, whole: int) -> str:
    """Per cent of a whole."""
    return wording.percent(part, whole)


@register.filter
def duration(milliseconds: int | None) -> str:
    """A time that something took."""
    return wording.milliseconds(milliseconds)
