"""`/styleguide`: every part that pages are made of, in every state, for members of staff."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import ClassVar, Final

from django import forms
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import render

from kilo_gateway.api_errors import method_not_allowed
from kilo_gateway.charts import BarChart, Column, bar_chart, sparkline
from kilo_gateway.error_pages import error_page
from kilo_gateway.ui.forms import NotedRadios

_SPRITE: Final = Path(__file__).resolve().parents[2] / "static" / "img" / "icons.svg"
ICONS: Final = re.findall(r'<symbol id="([^"]+)"', _SPRITE.read_text())


class ExampleForm(forms.Form):
    """One field of each kind."""

    name = forms.CharField(label="Name", help_text="Shown to everybody in the organization.")
    email = forms.EmailField(label="Email address")
    slug = forms.CharField(label="Slug", required=False)
    role = forms.ChoiceField(label="Role", choices=[("member", "Member"), ("admin", "Admin")])
    model = forms.CharField(
        label="Model",
        required=False,
        widget=forms.TextInput({"list": "model-options", "data-combobox": True, "autocomplete": "off"}),
    )
    notes = forms.CharField(label="Notes", widget=forms.Textarea({"rows": 3}), required=False)
    behaviour = forms.ChoiceField(
        label="Default model",
        widget=NotedRadios(notes={"auto": "The organization's routes decide.", "specific": "Always the same."}),
        choices=[("auto", "By mode"), ("specific", "One model for everything")],
        initial="auto",
    )
    remember = forms.BooleanField(label="Remember this", help_text="Until the end of the session.", required=False)
    enabled = forms.BooleanField(label="Enabled", required=False, initial=True)


@dataclass(frozen=True, slots=True)
class Tab:
    """An entry of the tabs."""

    key: str
    label: str
    count: int | None
    href: str = "/styleguide"


class Example:
    """What the page's template shows; the same at each call."""

    tabs: ClassVar = (Tab("models", "Models", 412), Tab("providers", "Providers", 38), Tab("notes", "Notes", None))
    models: ClassVar = (
        {"label": "Auto tiers", "choices": [{"id": "kilo-auto/balanced", "name": "Auto Balanced", "note": ""}]},
        {
            "label": "Hosted models",
            "choices": [
                {"id": "anthropic/claude-sonnet-5", "name": "Claude Sonnet 5", "note": "$2.00 / $10.00 · 1M"},
                {"id": "openai/gpt-5-mini", "name": "GPT-5 Mini", "note": "$0.25 / $2.00 · 400K"},
            ],
        },
    )
    tones: ClassVar = ("neutral", "ok", "warning", "danger", "info")
    snippet: ClassVar = 'curl https://gateway.example.com/api/gateway/v1/models \\\n  -H "Authorization: Bearer $KEY"'

    @staticmethod
    def chart() -> BarChart:
        """Thirty days of two series."""
        days = [(day, 40 + (day * 37) % 60, 15 + (day * 23) % 40) for day in range(1, 31)]
        return bar_chart(
            [
                Column(f"{day} Nov", (hosted, own), f"{day} November: {hosted} hosted, {own} own")
                for day, hosted, own in days
            ]
        )


def page(request: HttpRequest) -> HttpResponse:
    """All parts. 404 for whoever is no member of staff, as if it were not there."""
    if request.method not in {"GET", "HEAD"}:
        return error_page(request, method_not_allowed("GET"))
    if not (request.user.is_authenticated and request.user.is_active and getattr(request.user, "is_staff", False)):
        raise Http404
    now = datetime.now(UTC)
    context = {
        "icons": ICONS,
        "example": Example,
        "chart": Example.chart(),
        "line": sparkline([4, 6, 5, 9, 8, 12, 10, 14, 13, 18]),
        "form": ExampleForm(),
        "refused_form": ExampleForm(
            {"name": "", "email": "alice", "role": "member", "behaviour": "auto"}, auto_id="wrong_%s"
        ),
        "earlier": now - timedelta(days=3),
        "later": now + timedelta(hours=5),
    }
    return render(request, "styleguide/page.html", context)
