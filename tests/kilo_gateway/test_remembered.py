"""Parts of pages that are made once for the same values, and never shown for others."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django import forms
from django.forms.renderers import DjangoTemplates
from django.template import Context, Template
from django.utils.safestring import SafeString, mark_safe

from kilo_gateway.ui.moments import told_moment
from kilo_gateway.ui.remembered import remembered
from kilo_gateway.ui.renderer import RememberingRenderer
from organizations.models import Organization

NOON = datetime(2026, 3, 4, 12, tzinfo=UTC)


@dataclass(frozen=True)
class Row:
    name: str
    inner: object = ()


@dataclass
class Changing:
    name: str


def drawn(template: str, **values: Any) -> str:
    return Template("{% load ui %}" + template).render(Context(values))


def test_a_part_is_made_once_for_the_same_values() -> None:
    made: list[str] = []

    @remembered
    def part(text: str, **given: object) -> SafeString:
        made.append(text)
        return SafeString(f"{text} {given}")

    assert part("a", row=Row("x", ("y",))) == part("a", row=Row("x", ("y",)))
    assert made == ["a"]
    assert part("a", row=Row("x", ("z",))) != part("a", row=Row("x", ("y",)))
    assert part("a", row=1) != part("a", row=True)
    assert made == ["a"] * 4


def test_markup_is_not_taken_for_a_text_that_looks_like_it() -> None:
    text = "<b>bold</b>"
    for first, second in ((text, mark_safe(text)), (mark_safe(text), text)):  # noqa: S308 - that is the question
        shown = [drawn("{% badge text %}{% button text %}", text=one) for one in (first, second)]
        assert [text in one for one in shown] == [one is not text for one in (first, second)]


@pytest.mark.parametrize(
    "value",
    [
        ["a list"],
        {"a": "dictionary"},
        Changing("x"),
        Organization(name="a row"),
        Row("x", Organization(name="a row")),
        Row("x", (Organization(name="a row"),)),
        Row(mark_safe("markup")),
        object(),
    ],
    ids=["list", "dictionary", "changing", "model", "model-inside", "model-in-a-tuple", "markup-inside", "object"],
)
def test_what_can_change_is_refused(value: object) -> None:
    with pytest.raises(TypeError):
        drawn('{% part "partials/icon.html" name=value %}', value=value)


def test_nothing_else_of_the_page_reaches_a_part() -> None:
    shown = drawn('{% part "partials/switcher.html" name="Acme" plan="teams" %}', organizations=["hidden"])
    assert "Acme" in shown
    assert "menu-item" not in shown


class TestControls:
    class Form(forms.Form):
        default_renderer = RememberingRenderer()

        color = forms.ChoiceField(required=False)
        text = forms.CharField(required=False)
        key = forms.CharField(required=False, widget=forms.PasswordInput(render_value=True))

    def form(self, choices: list[tuple[str, str]], **data: str) -> TestControls.Form:
        form = self.Form(data)
        form.fields["color"].choices = choices  # type: ignore[attr-defined]
        return form

    def test_each_looks_as_django_draws_it(self) -> None:
        """Again and again, whatever was drawn before."""
        reds, blues = [("r", "Red"), ("", "None")], [("b", "<Blue>"), ("1", "One")]
        for choices, data in [
            (reds, {}),
            (blues, {}),
            (reds, {"color": "r"}),
            (blues, {"color": "1", "text": "typed", "key": "typed too"}),
            ([("b", mark_safe("<Blue>")), (1, "One")], {}),
            (blues, {}),
        ]:
            shown = self.form(choices, **data)  # type: ignore[arg-type]
            expected = self.form(choices, **data)  # type: ignore[arg-type]
            expected.renderer = DjangoTemplates()
            assert [str(field) for field in shown] == [str(field) for field in expected]

    def test_what_was_typed_is_not_kept(self, monkeypatch: pytest.MonkeyPatch) -> None:
        kept: list[str] = []
        monkeypatch.setattr("kilo_gateway.ui.renderer._drawn", lambda drawing: kept.append(str(drawing.context)) or "")
        form = self.form([("r", "Red")], color="r", text="a-typed-secret", key="another-secret")
        assert "a-typed-secret" in "".join(str(field) for field in form)
        assert len(kept) == 1
        assert "secret" not in kept[0]


@pytest.mark.parametrize(
    ("seconds", "told"),
    [
        (0, "just now"),
        (59, "just now"),
        (60, "1 minute ago"),
        (3_599, "59 minutes ago"),
        (7_200, "2 hours ago"),
        (86_400, "1 day ago"),
        (7 * 86_400 - 1, "6 days ago"),
        (7 * 86_400, "1 week ago"),
        (61 * 86_400, "2 months ago"),
        (-90, "in 1 minute"),
        (-3 * 86_400, "in 3 days"),
    ],
)
def test_how_long_ago(seconds: int, told: str) -> None:
    assert told_moment(NOON - timedelta(seconds=seconds), NOON) == told
