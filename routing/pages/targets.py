"""Choosing a target: a text field with all that may be chosen, by group, which scripts turn into a searchable list.

A form has a `TargetField`, and its page includes `partials/model_options.html` once with `groups` of `target_choices`.
Without scripts the browser itself offers the list below the field.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from django import forms

from kilo_gateway.api_errors import temporarily_unavailable
from organizations.models import Organization
from routing.catalog.cache import CatalogUnreadable
from routing.domain.types import AUTO_PREFIX, MAX_TARGET_LENGTH, ORGANIZATION_AUTO, RefusalCode, Tier
from routing.pages.wording import UNKNOWN, price_per_million, tokens_short
from routing.selectors import Offer, model_entries, offer_to

OPTIONS_ID: Final = "model-options"
CONCRETE_OPTIONS_ID: Final = "concrete-model-options"
TIERS: Final = "Auto tiers"
DIRECT: Final = "With your provider keys"
HOSTED: Final = "Hosted models"
# In the catalog, and never a target.
NO_TARGETS: Final = frozenset({ORGANIZATION_AUTO, Tier.EFFICIENT.model_id})


@dataclass(frozen=True, slots=True)
class TargetChoice:
    """A model that may be a target; `note` is what helps to choose: prices per million tokens, the context."""

    id: str
    name: str
    note: str


@dataclass(frozen=True, slots=True)
class TargetGroup:
    """Choices of one kind."""

    label: str
    choices: list[TargetChoice]


def offered(organization: Organization) -> Offer:
    """`offer_to` for pages: 503 while the catalog cannot be read. One query, three with providers of its own."""
    try:
        return offer_to(organization)
    except CatalogUnreadable as error:
        message = "The model catalog cannot be read at the moment."
        raise temporarily_unavailable(message, code=RefusalCode.CATALOG_UNAVAILABLE.value) from error


def target_choices(offer: Offer) -> list[TargetGroup]:
    """All that the organization may choose as a target now: auto tiers (none under a model policy), models behind its
    own provider keys, hosted models. No query, and the same list that its clients are told.
    """
    groups: dict[str, list[TargetChoice]] = {TIERS: [], DIRECT: [], HOSTED: []}
    for entry in model_entries(offer):
        if entry["id"] not in NO_TARGETS:
            groups[_kind(entry)].append(TargetChoice(entry["id"], entry["name"], _note(entry)))
    return [TargetGroup(label, choices) for label, choices in groups.items() if choices]


def _kind(entry: Mapping[str, Any]) -> str:
    if entry["id"].startswith(AUTO_PREFIX):
        return TIERS
    return DIRECT if entry.get("hasUserByokAvailable") else HOSTED


def _note(entry: Mapping[str, Any]) -> str:
    kind = _kind(entry)
    context = tokens_short(entry["context_length"])
    if kind != HOSTED:
        return "" if kind == TIERS else context
    if entry.get("isFree"):
        return f"free · {context}"
    prices = [price_per_million(entry["pricing"].get(key)) for key in ("prompt", "completion")]
    return context if UNKNOWN in prices else f"{' / '.join(prices)} · {context}"


def concrete_choices(groups: Iterable[TargetGroup]) -> list[TargetGroup]:
    """Those of `target_choices` that stand for one model, as a default model does."""
    return [group for group in groups if group.label != TIERS]


class TargetInput(forms.TextInput):
    """A field with a list of `partials/model_options.html`; scripts make a combobox of it."""

    def __init__(self, options_id: str, **attributes: Any) -> None:
        super().__init__(
            {
                "list": options_id,
                "data-combobox": True,
                "autocomplete": "off",
                "autocapitalize": "none",
                "spellcheck": "false",
                "class": "mono",
                **attributes,
            }
        )


class TargetField(forms.CharField):
    """The id of a model. It checks no more than the length: what a target may be, the services decide."""

    def __init__(
        self, *, placeholder: str = "Search by name or id", options_id: str = OPTIONS_ID, **options: Any
    ) -> None:
        widget = TargetInput(options_id, placeholder=placeholder)
        super().__init__(max_length=MAX_TARGET_LENGTH, widget=widget, **options)
