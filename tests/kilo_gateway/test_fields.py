"""Controls of forms as the tag `field` draws them: as Django does, the second time too."""

from __future__ import annotations

from typing import Any

import pytest
from django import forms
from django.template import Context, Template
from django.utils.safestring import mark_safe

CHOICES: list[list[Any]] = [
    [("", "Any"), ("a", "A & B"), ("c", "C")],
    [("", "Any"), ("Group", [("a", "A"), ("c", "C")])],
    [("a", "A"), ("c", "C")],
    [("", "Any"), ("a", mark_safe("<i>A</i>"))],
    [(0, "None"), ("a", "A")],
]


def form_of(choices: list[Any], data: dict[str, str] | None, initial: object, **attrs: str) -> forms.Form:
    field = forms.ChoiceField(choices=choices, initial=initial, help_text="Help.", widget=forms.Select(attrs))
    return type("OneField", (forms.Form,), {"one": field})(data)


@pytest.mark.parametrize("choices", CHOICES)
@pytest.mark.parametrize(
    ("data", "initial"), [(None, None), (None, 0), (None, "a"), ({}, None), ({"one": ""}, "a"), ({"one": "c"}, "")]
)
@pytest.mark.parametrize("attrs", [{}, {"id": "own", "class": "wide"}])
def test_a_list_is_as_django_draws_it(
    choices: list[Any], data: dict[str, str] | None, initial: object, attrs: dict[str, str]
) -> None:
    template = Template("{% load ui %}{% field form.one data_submit_on_change=True %}")
    for _ in range(2):
        form = form_of(choices, data, initial, **attrs)
        expected = form["one"].as_widget(attrs={"data-submit-on-change": True})
        assert expected in template.render(Context({"form": form}))
