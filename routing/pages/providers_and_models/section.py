"""The section about the policy as it is drawn: with both lists it is nearly the whole page."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Final
from uuid import UUID

from django.template.loader import render_to_string
from django.utils.safestring import SafeString

from kilo_gateway.ui.drawn import Drawn
from routing.pages.providers_and_models.forms import FilterForm
from routing.pages.providers_and_models.lists import Lists

# Each is about half a megabyte.
KEPT: Final = 8
# Stands for the answer to what was posted, which is every answer's own.
_ANSWER: Final = SafeString("<answer/>")


@dataclass(frozen=True, slots=True)
class Around:
    """What the section depends on beside the lists.

    Attributes:
        refused: Why this person may not change the policy; blank for whoever may.
    """

    organization_id: UUID
    tab: str
    is_enterprise: bool
    is_in_force: bool
    refused: str

    @property
    def can_edit(self) -> bool:
        return not self.refused


@dataclass(frozen=True, slots=True)
class Section:
    """What stands before the answer, and what after it."""

    before: Drawn
    after: Drawn


@lru_cache(maxsize=KEPT)
def unfiltered_section(lists: Lists, around: Around) -> Section:
    """The section with filters that nobody has set, made once for the same lists."""
    return section(lists, around, FilterForm(lists.modalities, {}))


def section(lists: Lists, around: Around, filters: FilterForm) -> Section:
    """The section with filters as they were set. They may say anything, so it is made anew."""
    context = {"lists": lists, "around": around, "filters": filters, "tab": around.tab, "answer": _ANSWER}
    before, _, after = render_to_string("providers_and_models/policy.html", context).partition(_ANSWER)
    return Section(Drawn.of(SafeString(before)), Drawn.of(SafeString(after)))
