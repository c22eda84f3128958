"""Parts of pages that are made once for the same values, and never shown for others."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from enum import StrEnum
from typing import Any, NamedTuple

import pytest
from django import forms
from django.forms.renderers import DjangoTemplates
from django.template import Context, Template
from django.utils.safestring import SafeString, mark_safe
from django.utils.translation import gettext_lazy

from kilo_gateway.ui.moments import told_moment
from kilo_gateway.ui.remembered import KEPT_BYTES, KeptParts, key_of, remembered, remembered_for_each
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


@dataclass(frozen=True)
class Quiet:
    name: str
    of: str = field(compare=False)


@dataclass(frozen=True, eq=False)
class Apart:
    name: str


class Heir(Row):
    """It could hold anything."""


class Pair(NamedTuple):
    one: object
    two: object = ""


class HeirOfPair(Pair):
    """So could this."""


class Letter(StrEnum):
    A = "a"


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
    ("value", "other"),
    [
        (1, True),
        (1, 1.0),
        (0.0, -0.0),
        (Decimal("1.5"), Decimal("1.50")),
        (NOON, NOON.astimezone(timezone(timedelta(hours=2)))),
        (NOON, NOON.astimezone(timezone(timedelta(), "Lisbon"))),
        (NOON.replace(tzinfo=None), NOON),
        ("<b>", mark_safe("<b>")),
        ("a", Letter.A),
        (("a", "b"), ["a", "b"]),
        (("a", "b"), Pair("a", "b")),
        (Pair("a"), Pair("a", None)),
        (Pair(1), Pair(True)),
        ({"a": "b"}, ("a", "b")),
        (Quiet("a", "one organization's"), Quiet("a", "another's")),
        (Row("a"), Apart("a")),
        (Row("a", (1,)), Row("a", (True,))),
        (Apart("a"), Apart("b")),
        (gettext_lazy("a"), gettext_lazy("b")),
    ],
    ids=repr,
)
@pytest.mark.parametrize("around", [lambda value: value, lambda value: Row("x", value), lambda value: ("x", (value,))])
def test_what_looks_different_is_not_the_same(value: object, other: object, around: Callable[[object], object]) -> None:
    made: list[object] = []

    @remembered
    def part(one: object) -> SafeString:
        made.append(one)
        return SafeString(len(made))

    for first, second in ((value, other), (around(value), around(other))):
        del made[:]
        assert [part(first), part(second), part(first), part(second)] == ["1", "2", "1", "2"]

        def each_made(one: object) -> SafeString:
            return SafeString(repr(one))

        texts = remembered_for_each([first, second, first], each_made, beside=(repr(made), repr(around)))
        assert texts == [repr(first), repr(second), repr(first)]


def test_a_list_is_kept_as_it_was() -> None:
    @remembered
    def part(one: list[str]) -> SafeString:
        return SafeString(" ".join(one))

    words = ["a"]
    assert part(words) == "a"
    words.append("b")
    assert [part(words), part(["a"])] == ["a b", "a"]


@pytest.mark.parametrize(
    "value",
    [
        Changing("x"),
        Heir("x"),
        HeirOfPair("x"),
        Pair(Organization(name="a row")),
        Organization(name="a row"),
        Row("x", Organization(name="a row")),
        Row("x", (Organization(name="a row"),)),
        Row("x", [Organization(name="a row")]),
        Row("x", {"a": Organization(name="a row")}),
        object(),
    ],
    ids=[
        "changing",
        "heir",
        "heir-of-a-tuple",
        "in-a-named-tuple",
        "model",
        "model-inside",
        "in-a-tuple",
        "in-a-list",
        "in-a-dictionary",
        "object",
    ],
)
def test_what_may_hold_more_than_it_shows_is_refused(value: object) -> None:
    for tag in ('{% part "partials/icon.html" name=value %}', '{% parts "partials/icon.html" rows %}'):
        with pytest.raises(TypeError, match="a part cannot be kept by a "):
            drawn(tag, value=value, rows=[value])


class TestMemory:
    def test_there_are_never_more_bytes_than_may_be(self) -> None:
        """With what Python needs, an entry of these takes between 1,500 and 2,000 bytes; there are two halves."""
        parts = KeptParts(128 * 1024)
        for number in range(1_000):
            key = key_of((f"{number:0500}", 5, Row("x")))
            parts.keep(key, SafeString("x" * 500))
            assert parts.find(key) is not None
            assert max(len(parts._recent), len(parts._older)) <= 65_536 // 1_500
        assert len(parts._recent) + len(parts._older) >= 65_536 // 2_000

    def test_what_is_asked_for_stays(self) -> None:
        parts = KeptParts(128 * 1024)
        parts.keep("often", SafeString("asked for"))
        parts.keep("once", SafeString("never again"))
        for number in range(1_000):
            parts.keep(number, SafeString("x" * 1_000))
            assert parts.find("often") == "asked for"
        assert parts.find("once") is None

    def test_a_large_one_is_not_kept(self) -> None:
        parts = KeptParts(128 * 1024)
        parts.keep("text", SafeString("x" * 2_000))
        parts.keep(key_of(("x" * 2_000,)), SafeString("x"))
        assert not parts._recent


def test_nothing_else_of_the_page_reaches_a_part() -> None:
    shown = drawn('{% part "partials/switcher.html" name="Acme" plan="teams" %}', organizations=["hidden"])
    assert "Acme" in shown
    assert "menu-item" not in shown


class TestControls:
    class Form(forms.Form):
        default_renderer = RememberingRenderer()

        color = forms.ChoiceField(required=False)
        shade = forms.ChoiceField(required=False, widget=forms.RadioSelect, choices=[("d", "Dark"), ("l", "Light")])
        text = forms.CharField(required=False)
        key = forms.CharField(required=False, widget=forms.PasswordInput(render_value=True))

    @pytest.fixture
    def kept(self, monkeypatch: pytest.MonkeyPatch) -> dict[Hashable, SafeString]:
        """What is kept from now on."""
        parts = KeptParts(KEPT_BYTES)
        monkeypatch.setattr("kilo_gateway.ui.renderer.kept_parts", parts)
        return parts._recent

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
            ([("Warm", reds), ("", ""), *blues, ("Warm", blues)], {"color": "1", "shade": "l"}),
            (blues, {"color": "none of them", "shade": "none of them"}),
            ([("b", mark_safe("<Blue>")), (1, "One")], {}),
            (blues, {}),
        ]:
            shown = self.form(choices, **data)  # type: ignore[arg-type]
            expected = self.form(choices, **data)  # type: ignore[arg-type]
            expected.renderer = DjangoTemplates()
            assert [str(field) for field in shown] == [str(field) for field in expected]

    def test_what_was_typed_is_not_kept(self, kept: dict[Hashable, SafeString]) -> None:
        form = self.form([("r", "Red")], color="not-a-choice", text="a-typed-secret", key="another-secret")
        assert "a-typed-secret" in "".join(str(field) for field in form)
        assert len(kept) == 2, "the choices of the two fields with choices"
        for word in ("secret", "not-a-choice"):
            assert word not in repr(kept)

    def test_what_is_asked_for_and_is_no_choice_takes_no_memory(self, kept: dict[Hashable, SafeString]) -> None:
        choices = [(f"model-{number}", f"Model {number}") for number in range(200)]
        for number in range(20):
            str(self.form(choices, color=f"nonsense-{number}", shade=f"nonsense-{number}"))
            str(self.form(choices, color=f"model-{number}"))
        assert len(kept) == 200 + 20 + 2 + 2, "options, chosen ones, few choices right and wrong, empty fields"


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
