"""Widgets for forms of pages."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django import forms


class NotedRadios(forms.RadioSelect):
    """Radio buttons with a sentence below each label, by value."""

    def __init__(self, *args: Any, notes: Mapping[str, str], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.notes = dict(notes)


class NotedCheckboxes(forms.CheckboxSelectMultiple):
    """The same with checkboxes, of which several can be chosen."""

    def __init__(self, *args: Any, notes: Mapping[str, str], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.notes = dict(notes)
