"""A range of days in the address of a page: `from` and `to`, both included, days of UTC."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from typing import Any, Final

from django import forms

FROM: Final = "from"
TO: Final = "to"


class DayInput(forms.DateInput):
    """The browser's own calendar."""

    input_type = "date"

    def __init__(self, **attributes: Any) -> None:
        super().__init__(attributes, format="%Y-%m-%d")


class DateRangeForm(forms.Form):
    """Both ends may be left out."""

    is_filter = True

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        # `from` cannot be the name of an attribute.
        for name, label in ((FROM, "From"), (TO, "To")):
            self.fields[name] = forms.DateField(label=label, required=False, widget=DayInput())

    def clean(self) -> dict[str, Any]:
        found = super().clean() or {}
        if self.first and self.last and self.last < self.first:
            self.add_error(TO, "It is before the first day.")
        return found

    @property
    def first(self) -> date | None:
        return self.cleaned_data.get(FROM)

    @property
    def last(self) -> date | None:
        return self.cleaned_data.get(TO)

    @property
    def since(self) -> datetime | None:
        """The beginning of the first day."""
        return None if self.first is None else start_of(self.first)

    @property
    def until(self) -> datetime | None:
        """The end of the last day; the last day of the calendar has none."""
        return None if self.last in {None, date.max} else start_of(self.last + timedelta(days=1))


def start_of(day: date) -> datetime:
    """The first moment of a day of UTC."""
    return datetime.combine(day, time.min, UTC)
