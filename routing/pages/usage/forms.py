"""What the pages about usage are asked for in their address."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any, Final

from django import forms

from organizations.pages.date_range import FROM, TO, DateRangeForm, start_of
from routing.usage.requests import Outcome, RequestFilter
from routing.usage_selectors import LONGEST_DAYS

# Days up to today, by what the address says.
PRESETS: Final[Mapping[str, tuple[str, int]]] = {
    "7d": ("7 days", 7),
    "30d": ("30 days", 30),
    "90d": ("90 days", 90),
    "12m": ("12 months", 365),
}
DEFAULT_PRESET: Final = "30d"
# Stands for a blank mode or model, because a blank choice means all of them.
NONE: Final = "(none)"
ANY: Final = ("", "Any")
OUTCOMES: Final = (
    ANY,
    (Outcome.ANSWERED.value, "Answered"),
    (Outcome.FAILED.value, "Failed"),
    (Outcome.CANCELLED.value, "Cancelled by the client"),
)
PAID_BY: Final = (ANY, ("hosted", "Hosted"), ("own", "Own provider key"))
# What single requests can be narrowed down by, beside the days.
NARROWING: Final = ("mode", "model", "member", "outcome", "error", "paid_by")


@dataclass(frozen=True, slots=True)
class Days:
    """A range of days, both ends included.

    Attributes:
        preset: The name of the preset that it is; blank for days of the person's choice.
    """

    first: date
    last: date
    preset: str = ""

    @property
    def count(self) -> int:
        return (self.last - self.first).days + 1

    @property
    def since(self) -> datetime:
        return start_of(self.first)

    @property
    def end(self) -> date:
        """The day after the last; the calendar's last day has none."""
        return date.fromordinal(min(self.last.toordinal() + 1, date.max.toordinal()))

    @property
    def until(self) -> datetime:
        return start_of(self.end)

    @property
    def query(self) -> dict[str, str]:
        """What leads to the same days."""
        if self.preset:
            return {} if self.preset == DEFAULT_PRESET else {"range": self.preset}
        return {FROM: self.first.isoformat(), TO: self.last.isoformat()}


def preset_days(preset: str, today: date) -> Days:
    """The days of a preset; of the usual one for a word that is none."""
    known = preset if preset in PRESETS else DEFAULT_PRESET
    return Days(today - timedelta(days=PRESETS[known][1] - 1), today, known)


MAX_WORD: Final = 40


@dataclass(frozen=True, slots=True)
class Asked:
    """What the address of the page about usage asks for beside the days, as it says it; blank for what it does not."""

    by: str
    sort: str
    chart: str

    @classmethod
    def of(cls, query: Mapping[str, str]) -> Asked:
        # Longer than any of the words that mean something: what is asked for is repeated in many links.
        return cls(*(query.get(name, "")[:MAX_WORD] for name in ("by", "sort", "chart")))

    @property
    def query(self) -> dict[str, str]:
        """What asks for the same."""
        return {"by": self.by, "sort": self.sort, "chart": self.chart}


class DaysForm(DateRangeForm):
    """A preset, or days of one's own choice, at most a year of them."""

    def clean(self) -> dict[str, Any]:
        found = super().clean()
        if not self.errors and self.first and self.last and self.last - self.first >= timedelta(days=LONGEST_DAYS):
            self.add_error(TO, f"A range has at most {LONGEST_DAYS} days.")
        return found

    def days(self, today: date) -> Days:
        """What was asked for; of what makes no sense, the usual days. An end that is not said is a month away."""
        if not self.is_valid() or not (self.first or self.last):
            return preset_days(self.data.get("range", ""), today)
        month = timedelta(days=PRESETS[DEFAULT_PRESET][1] - 1)
        if self.first is None:
            assert self.last is not None  # noqa: S101 - one of them is said
            return Days(self.last - min(month, self.last - date.min), self.last)
        open_end = min(max(today - self.first, timedelta(0)), timedelta(days=LONGEST_DAYS - 1))
        return Days(self.first, self.last or self.first + open_end)


class RequestsForm(DaysForm):
    """Which single requests are wanted. The choices are what was used in the days that are asked for."""

    mode = forms.CharField(required=False, max_length=500, widget=forms.Select)
    model = forms.CharField(required=False, max_length=200, widget=forms.Select)
    member = forms.UUIDField(required=False, widget=forms.Select)
    outcome = forms.ChoiceField(required=False, choices=OUTCOMES)
    error = forms.CharField(label="Error type", required=False, max_length=60, widget=forms.Select)
    paid_by = forms.ChoiceField(label="Paid by", required=False, choices=PAID_BY)

    def offer(self, name: str, choices: Iterable[tuple[str, str]]) -> None:
        """Fill a list; what the address says stays in it, whether it was used or not."""
        widget = self.fields[name].widget
        assert isinstance(widget, forms.Select)  # noqa: S101 - for the type
        offered = dict([ANY, *choices])
        said = self.data.get(name, "")
        offered.setdefault(said, said)
        widget.choices = list(offered.items())

    def wanted(self, days: Days) -> RequestFilter:
        """What the selector is asked for; what makes no sense does not matter."""
        said = self.cleaned_data if self.is_valid() else {}
        return RequestFilter(
            user_id=said.get("member"),
            mode=_or_none(said.get("mode", "")),
            model=_or_none(said.get("model", "")),
            outcome=Outcome(said["outcome"]) if said.get("outcome") else None,
            error_type=said.get("error", ""),
            is_byok={"own": True, "hosted": False}.get(said.get("paid_by", "")),
            since=days.since,
            until=days.until,
        )


def _or_none(said: str) -> str | None:
    return "" if said == NONE else (said or None)
