"""The parts that pages are made of. `/styleguide` shows each of them; `docs/pages.md` lists them with their parameters.

Keywords that a part does not know become attributes of its element: `hx_get=url` is `hx-get="..."`, True an attribute
without a value, and None, False and "" none at all.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Sequence
from datetime import UTC, date, datetime
from typing import Any, Final, cast

from django import template
from django.forms import BoundField, CheckboxInput, DateInput, RadioSelect, Select
from django.forms.renderers import get_default_renderer
from django.forms.utils import flatatt
from django.template.defaulttags import CsrfTokenNode
from django.template.loader import get_template
from django.utils.safestring import SafeString

from kilo_gateway.charts import BarChart, Sparkline
from kilo_gateway.ui.moments import told_moment
from kilo_gateway.ui.remembered import remembered, remembered_for_each

register = template.Library()

TONES: Final = frozenset({"neutral", "ok", "warning", "danger", "info"})
ALERT_ICONS: Final = {"ok": "check-circle", "warning": "alert", "danger": "error", "info": "info"}
AVATAR_COLOURS: Final = 4


def attributes(given: dict[str, Any]) -> SafeString:
    """Keywords as attributes, escaped."""
    kept = {
        name.rstrip("_").replace("_", "-"): value for name, value in given.items() if value not in {None, False, ""}
    }
    return flatatt({name: value if value is True else str(value) for name, value in kept.items()})


def _rendered(name: str, given: dict[str, Any]) -> SafeString:
    return cast("SafeString", get_template(name).render(given))


# ---------------------------------------------------------------- parts made once


@register.simple_tag
def part(template_name: str, **given: Any) -> SafeString:
    """A template with these values and nothing else of the page; made once, and again only for other values. What it
    says may depend on nothing else: not on the time, and it has no form that is posted (`form_part` has).

    Raises:
        TypeError: a value may hold more than it shows, such as a row of the database.
    """
    return _part(template_name, **given)


# Stands for the token of a form in what is around it.
_TOKEN: Final = SafeString("<token/>")


@register.simple_tag(takes_context=True)
def form_part(context: template.Context, template_name: str, **given: Any) -> SafeString:
    """A part with a form, whose token is this answer's own: `{{ token }}`, once, where Django's tag would stand.

    Raises:
        TypeError: as `part`.
    """
    before, _, after = _part(template_name, token=_TOKEN, **given).partition(_TOKEN)
    return SafeString(f"{before}{CsrfTokenNode().render(context)}{after}")


@register.simple_tag
def parts(template_name: str, rows: Iterable[object], **given: Any) -> SafeString:
    """The same for each of many rows, each of which is `one` in the template."""

    def made(row: object) -> SafeString:
        return _rendered(template_name, {"one": row, **given})

    beside = (template_name, *given, *given.values())
    return SafeString("".join(remembered_for_each(rows, made, beside=beside)))


@remembered
def _part(template_name: str, **given: Any) -> SafeString:
    return _rendered(template_name, given)


def _checked_tone(tone: str) -> str:
    if tone not in TONES:
        raise ValueError(f"there is no tone {tone!r}")
    return tone


# ---------------------------------------------------------------- small marks


@register.simple_tag
def icon(name: str, *, size: str = "", label: str = "") -> SafeString:
    """A picture of `static/img/icons.svg`; with a label it says something by itself, else it is decoration."""
    return _part("partials/icon.html", name=name, size=size, label=label)


@register.simple_tag
def badge(text: object, tone: str = "neutral", *, icon: str = "", kind: str = "", **given: Any) -> SafeString:
    """A word about a state. `kind="model"` is for model ids."""
    return _badge(text if isinstance(text, str) else str(text), tone, icon, kind, **given)


@remembered
def _badge(text: str, tone: str, icon: str, kind: str, **given: Any) -> SafeString:
    shown = {"text": text, "tone": _checked_tone(tone), "icon": icon, "kind": kind, "attributes": attributes(given)}
    return _rendered("partials/badge.html", shown)


@register.simple_tag
def avatar(text: str, *, square: bool = False) -> SafeString:
    """The first letters of a name, for the eye only: the name has to stand beside it."""
    return _avatar(text, square)


@remembered
def _avatar(text: str, square: bool) -> SafeString:  # noqa: FBT001 - what the tag was given
    words = text.replace("@", " ").replace(".", " ").split()
    letters = "".join(word[0] for word in words[:2]) or "?"
    shown = {"letters": letters, "square": square, "colour": zlib.crc32(text.encode()) % AVATAR_COLOURS}
    return _rendered("partials/avatar.html", shown)


@register.simple_tag
def moment(at: datetime | None, *, empty: str = "never") -> SafeString:
    """How long ago, or in how long, with the exact time in UTC on hover."""
    if at is None:
        return _part("partials/moment.html", at=None, empty=empty)
    return _part("partials/moment.html", at=at.astimezone(UTC), told=told_moment(at, datetime.now(UTC)))


# ---------------------------------------------------------------- controls


@register.simple_tag
def button(text: str, *, refused: object = "", **given: Any) -> SafeString:
    """A button, or with `href` a link that looks like one; `_button` says what else it takes.

    Args:
        refused: Why this person may not: then it does nothing and says so, on hover, on focus and read out.
    """
    return _button(text, reason=str(refused), **given)


@remembered
def _button(
    text: str,
    *,
    variant: str = "secondary",
    size: str = "",
    icon: str = "",
    href: str = "",
    type: str = "button",  # noqa: A002 - the attribute's name
    overlay: bool = False,
    reason: str = "",
    only_icon: bool = False,
    tip: str = "",
    css: str = "",
    about: str = "",
    **given: Any,
) -> SafeString:
    """What `button` shows.

    Args:
        variant: primary, secondary, danger or ghost.
        size: small, wide, or the usual one.
        overlay: The link's page opens above this one; without JavaScript, in its place.
        about: What the button is about, read out after its text: needed where several have the same text.
        only_icon: The text is for screen readers and for the tip.
        tip: Where the words of `reason` are: "start", "end", or centred.
    """
    if overlay and href:
        given |= {"hx_get": href, "hx_target": "#overlay", "aria_haspopup": "dialog"}
    shown = {
        "text": text,
        "variant": variant,
        "size": size,
        "icon": icon,
        "href": href,
        "type": type,
        "reason": reason,
        "reason_id": f"reason-{zlib.crc32(f'{text}{reason}{about}'.encode()):x}" if reason else "",
        "only_icon": only_icon,
        "tip": tip,
        "css": css,
        "about": about,
        "attributes": attributes(given),
    }
    return _rendered("partials/button.html", shown)


@register.simple_block_tag
def once(content: SafeString) -> SafeString:
    """What stands at several places of a page, drawn once: `{% once as menu %}...{% endonce %}` and `{{ menu }}`."""
    return content


# Stands for the control in what is around it.
_CONTROL: Final = SafeString("<control/>")


@register.simple_tag
def field(bound: BoundField, *, switch: bool = False, grow: bool = False, **given: Any) -> SafeString:
    """A field of a form with its label, its help and what is wrong with it.

    Args:
        switch: A checkbox that turns something on and off.
        grow: Takes the room that the others in a filter bar leave.
    """
    widget = bound.field.widget
    kind = "input"
    if isinstance(widget, CheckboxInput):
        kind = "check"
    elif isinstance(widget, RadioSelect):
        kind = "choices"
    # Django's own attributes tie help and errors to the control.
    attrs = {name.rstrip("_").replace("_", "-"): value for name, value in given.items() if value not in {None, False}}
    if switch:
        attrs |= {"class": "switch", "role": "switch"}
    # One of several is always chosen, be it the one that says nothing.
    is_chosen = isinstance(widget, RadioSelect) and not widget.allow_multiple_selected
    is_filter = kind == "input" and getattr(bound.form, "is_filter", False)
    words = {
        "kind": kind,
        "label": bound.label,
        "label_for": bound.id_for_label,
        "help_text": bound.help_text,
        "described_by": (bound.aria_describedby or "") if kind == "choices" else "",
        "optional": not (bound.field.required or is_chosen or is_filter),
        "grow": grow,
        "error_id": f"{bound.auto_id}_error",
        "help_id": f"{bound.auto_id}_helptext",
    }
    notes = getattr(widget, "notes", {})
    if notes:
        noted = [(one, notes.get(str(one.data["value"]), "")) for one in bound]
        return _rendered("partials/field.html", words | {"noted": noted, "errors": bound.errors})
    control = _control(bound, attrs)
    if bound.errors:
        # They may say what was typed, which may be a secret; so may the control.
        return _rendered("partials/field.html", words | {"control": control, "errors": bound.errors})
    before, _, after = _part("partials/field.html", control=_CONTROL, **words).partition(_CONTROL)
    return SafeString(f"{before}{control}{after}")


def _control(bound: BoundField, attrs: dict[str, Any]) -> SafeString:
    """As Django draws it. A list of which nothing is chosen, as filter bars have them, is drawn once; so is a day that
    nobody typed.
    """
    widget, value = bound.field.widget, bound.value()
    is_list = type(widget) is Select and _is_blank(value)
    if (is_list or (isinstance(widget, DateInput) and type(value) is date)) and not bound.field.localize:
        given = bound.build_widget_attrs(attrs, widget)
        if bound.auto_id and "id" not in widget.attrs:
            given.setdefault("id", bound.auto_id)
        own, both = (*widget.attrs.items(),), (*given.items(),)
        try:
            if isinstance(widget, DateInput):
                return _dated(bound.html_name, widget.format_value(value) or "", widget.input_type, own, both)
            return _unchosen(bound.html_name, _fixed(widget.choices), own, both)
        except TypeError:  # a choice is more than texts
            pass
    return bound.as_widget(attrs=attrs)


def _is_blank(value: object) -> bool:
    """Zero is a choice."""
    return value is None or (isinstance(value, str) and not value)


def _fixed(choices: Iterable[tuple[object, Any]]) -> tuple[tuple[object, object], ...]:
    return tuple([(value, _fixed(said) if isinstance(said, (list, tuple)) else said) for value, said in choices])


@remembered
def _unchosen(
    name: str, choices: tuple[Any, ...], own: tuple[tuple[str, Any], ...], given: tuple[tuple[str, Any], ...]
) -> SafeString:
    return Select(dict(own), choices=choices).render(name, None, dict(given), get_default_renderer())


@remembered
def _dated(
    name: str, told: str, input_type: str, own: tuple[tuple[str, Any], ...], given: tuple[tuple[str, Any], ...]
) -> SafeString:
    widget = DateInput(dict(own))
    widget.input_type = input_type
    return widget.render(name, told, dict(given), get_default_renderer())


@register.inclusion_tag("partials/switch.html")
def switch(
    label: str,
    *,
    on: bool,
    name: str = "enabled",
    refused: object = "",
    tip: str = "end",
) -> dict[str, Any]:
    """A button inside a form that turns something on or off: it sends the other state, `on` or `off`, as `name`."""
    reason = str(refused)
    reason_id = f"reason-{zlib.crc32(f'{label}{name}{reason}'.encode()):x}" if reason else ""
    return {"label": label, "on": on, "name": name, "reason": reason, "reason_id": reason_id, "tip": tip}


# ---------------------------------------------------------------- surfaces


@register.simple_block_tag(takes_context=True)
def alert(
    context: template.Context, content: str, *, tone: str = "info", title: str = "", focus: bool = False
) -> SafeString:
    """Something that has to be known before going on. With `focus` it gets the focus when it comes."""
    given = {"content": content, "tone": _checked_tone(tone), "icon": ALERT_ICONS[tone], "title": title, "focus": focus}
    return _rendered("partials/alert.html", given)


@register.simple_block_tag
def empty(content: str, *, title: str, icon: str = "search") -> SafeString:
    """What stands where there is nothing yet: why, and in the block what to do about it."""
    return _rendered("partials/empty.html", {"content": content, "title": title, "icon": icon})


@register.inclusion_tag("partials/snippet.html")
def snippet(text: str, *, id: str, label: str, wrap: bool = False) -> dict[str, Any]:  # noqa: A002 - the attribute
    """Text to take along, with a button that copies it."""
    return {"text": text, "id": id, "label": label, "wrap": wrap}


@register.simple_tag
def tabs(entries: Sequence[object], current: str, *, label: str, part: str = "") -> SafeString:
    """Links to the parts of a page; each entry has `key`, `label`, `href` and perhaps `count`.

    Args:
        part: The id of the element that alone changes, the tabs in it; without JavaScript the page goes there.
    """
    return _part("partials/tabs.html", entries=tuple(entries), current=current, label=label, part=part)


@register.simple_tag
def pages(*, newest: str = "", older: str = "", note: str = "") -> SafeString:
    """The way through a list that is read by cursor."""
    return _part("partials/pages.html", newest=newest, older=older, note=note)


@register.simple_tag
def tooltip(text: str, explanation: str, *, id: str, tip: str = "") -> SafeString:  # noqa: A002 - the attribute
    """A word that explains itself on hover and focus, and to screen readers."""
    return _part("partials/tooltip.html", text=text, explanation=explanation, id=id, tip=tip)


@register.simple_tag
def bar_chart(chart: BarChart, *, label: str) -> SafeString:
    """A chart of `kilo_gateway.charts.bar_chart`; the label says in words what it shows."""
    return _part("partials/bar_chart.html", chart=chart, label=label)


@register.simple_tag
def sparkline(line: Sparkline, *, label: str) -> SafeString:
    """A line of `kilo_gateway.charts.sparkline`, as small as a word."""
    return _part("partials/sparkline.html", line=line, label=label)
