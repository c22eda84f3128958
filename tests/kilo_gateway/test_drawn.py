"""Large texts are put into a page when its template has made the rest."""

from __future__ import annotations

import re
from typing import Any

import pytest
from django.http import HttpRequest
from django.template import Context, Template
from django.template.loader import get_template
from django.test import RequestFactory
from django.utils.safestring import SafeString

from kilo_gateway.ui import drawn
from kilo_gateway.ui.drawn import Drawn, page_body
from kilo_gateway.ui.remembered import kept_parts


@pytest.fixture
def template(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Pages of templates that a test writes."""

    def body(source: str, **context: Any) -> str:
        def rendered(_name: str, given: dict[str, Any], _request: HttpRequest) -> SafeString:
            return Template(source).render(Context(given))

        monkeypatch.setattr(drawn, "render_to_string", rendered)
        return page_body("any.html", context, RequestFactory().get("/")).decode()

    return body


def test_it_stands_where_the_template_says(template: Any) -> None:
    large = Drawn.of(SafeString("<b>·</b>" * 3))
    small = Drawn.of(SafeString("<i>"))
    source = "{{ word }}({{ large }})[{% if small %}{{ small }}{{ small }}{% endif %}]"
    assert template(source, large=large, small=small, word="<") == "&lt;(<b>·</b><b>·</b><b>·</b>)[<i><i>]"
    assert template("{{ other }}", large=large, other="none") == "none"


def test_what_somebody_wrote_is_no_place_for_it(template: Any) -> None:
    mark = template("{{ large }}", large=Drawn(b"?")) and f"<large-{drawn._SECRET}/>"
    shown = template("{{ typed }}", large=Drawn(b"of somebody else"), typed=mark)
    assert "of somebody else" not in shown
    assert shown.startswith("&lt;large-")


class TestForms:
    """`form_part`: a part made once, with a form in it whose token is each answer's own."""

    def drawn(self, token: str, **values: Any) -> str:
        tag = '{% load ui %}{% form_part "partials/person_menu.html" email=email is_staff=False %}'
        return Template(tag).render(Context({"csrf_token": token, **values}))

    def test_the_token_is_never_kept(self) -> None:
        first = self.drawn("one", email="alice@example.com")
        kept = kept_parts._recent_bytes
        second = self.drawn("two", email="alice@example.com")
        assert kept_parts._recent_bytes == kept
        assert re.findall(r'name="csrfmiddlewaretoken" value="(\w+)"', first + second) == ["one", "two"]
        assert first.replace('"one"', '"two"') == second

    def test_it_stands_where_djangos_would(self) -> None:
        alone = Template('{% load ui %}{% include "partials/person_menu.html" %}').render(
            Context({"token": SafeString("<hole>"), "email": "a@example.com"})
        )
        shown = self.drawn("x", email="a@example.com")
        assert shown == alone.replace("<hole>", '<input type="hidden" name="csrfmiddlewaretoken" value="x">')

    def test_what_somebody_wrote_is_no_place_for_it(self) -> None:
        shown = self.drawn("secret", email="<token/>@example.com")
        assert shown.count("secret") == 1
        assert "&lt;token/&gt;@example.com" in shown
        assert shown.index("&lt;token/&gt;") < shown.index("secret")

    def test_a_value_of_another_person_is_another_part(self) -> None:
        assert "alice@" in self.drawn("x", email="alice@example.com")
        assert "alice@" not in self.drawn("x", email="bob@example.com")


def test_the_parts_of_the_head_are_what_they_stand_for() -> None:
    shown = get_template("partials/style.html").render({"file": "css/modes.css"})
    assert re.search(r'<link rel="stylesheet" href="[^"]*css/modes[^"]*\.css">', shown)
    shown = get_template("partials/script.html").render({"file": "js/modes.js"})
    assert re.search(r'<script src="[^"]*js/modes[^"]*\.js" defer></script>', shown)
