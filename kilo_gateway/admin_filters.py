"""Filters of the staff's log pages: fields of one form above the list, in place of links beside it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from datetime import UTC, datetime, time, timedelta
from typing import Any
from uuid import UUID

from django.contrib import admin
from django.contrib.admin.options import IncorrectLookupParameters
from django.contrib.admin.views.main import ChangeList
from django.db.models import QuerySet
from django.http import HttpRequest

Rows = QuerySet[Any]


class FieldFilter(admin.SimpleListFilter, ABC):
    """A field to type in.

    Attributes:
        is_indexed: Whether an index yields what it lets pass in the order of the list.
    """

    template = "admin/partials/filter_field.html"
    input_type = "text"
    placeholder = ""
    is_indexed: bool = True

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[Any, str]]:
        return []

    def has_output(self) -> bool:
        return True

    def value(self) -> str:
        """What was typed in, trimmed; blank when nothing was."""
        value = str(super().value() or "").strip()
        if "\0" in value:
            raise IncorrectLookupParameters("A filter holds a character that no text in the database has.")
        return value

    def choices(self, changelist: ChangeList) -> Iterator[Any]:
        """The field itself, as its template shows it."""
        yield {"value": self.value(), "options": self.lookup_choices}

    def queryset(self, request: HttpRequest, queryset: Rows) -> Rows:
        value = self.value()
        return self.narrow(queryset, value) if value else queryset

    @abstractmethod
    def narrow(self, rows: Rows, value: str) -> Rows:
        """The rows that this value lets pass; raises `IncorrectLookupParameters` for a value that is none."""


class ChoiceFilter(FieldFilter):
    """A field to choose from; `lookups` says what."""

    input_type = "select"

    def value(self) -> str:
        value = super().value()
        if value and value not in {str(choice) for choice, _ in self.lookup_choices}:
            raise IncorrectLookupParameters(f"There is no such choice of {self.title}.")
        return value


class FromDate(FieldFilter):
    """From the beginning of a day, in UTC; for lists of a `LogAdmin`."""

    title = "From"
    parameter_name = "from"
    input_type = "date"

    def narrow(self, rows: Rows, value: str) -> Rows:
        return rows.filter(moment__gte=_beginning(value))


class ToDate(FieldFilter):
    """To the end of a day, in UTC; for lists of a `LogAdmin`."""

    title = "To"
    parameter_name = "to"
    input_type = "date"

    def narrow(self, rows: Rows, value: str) -> Rows:
        try:
            end = _beginning(value) + timedelta(days=1)
        except OverflowError as error:
            raise IncorrectLookupParameters(str(error)) from error
        return rows.filter(moment__lt=end)


def _beginning(day: str) -> datetime:
    try:
        return datetime.combine(datetime.strptime(day, "%Y-%m-%d").date(), time(), UTC)  # noqa: DTZ007 - only its date
    except ValueError as error:
        raise IncorrectLookupParameters(str(error)) from error


def as_uuid(text: str) -> UUID | None:
    """The id that a text is, if it is one."""
    try:
        return UUID(text.strip())
    except ValueError:
        return None
