"""The forms of Providers & Models: they check shape, the services decide."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Final

from django import forms

from kilo_gateway.ui.forms import NotedRadios
from routing.domain.cost import MICRODOLLARS
from routing.pages.providers_and_models.rows import FREE, NO_RETENTION, NO_TRAINING, RETAINS, TRAINS
from routing.pages.targets import CONCRETE_OPTIONS_ID, TargetField
from routing.services.spending_limits import MAX_MICRODOLLARS

ALLOWED, DENIED, CHANGED = "allowed", "denied", "changed"
BEHAVIOURS: Final = (("auto", "Organization Auto"), ("specific", "One model"), ("global", "The installation's default"))
BEHAVIOURS_TOLD: Final = {
    "auto": "Each mode's route decides, and the fallback for every mode without one.",
    "specific": "Clients start with the model that you choose here, whatever the mode. Routes are kept, inactive.",
    "global": "Clients start with what the operator of the installation chose. Routes are kept, inactive.",
}
COLLECTION: Final = (("", "Not set"), ("deny", "Deny"), ("allow", "Allow"))
COLLECTION_TOLD: Final = {
    "": "The hosted upstream's own default applies.",
    "deny": "Hosted requests go only to providers that neither store nor train on prompts.",
    "allow": "Providers that store or train on prompts may be used.",
}


class FilterForm(forms.Form):
    """What of the two lists is shown. Every filter narrows."""

    is_filter = True

    q = forms.CharField(label="Search", required=False, max_length=200, widget=forms.TextInput({"type": "search"}))
    show = forms.ChoiceField(
        label="Show",
        required=False,
        choices=[("", "All"), (ALLOWED, "Allowed"), (DENIED, "Denied"), (CHANGED, "Changed")],
    )
    training = forms.ChoiceField(
        label="Training",
        required=False,
        choices=[("", "Any"), (NO_TRAINING, "Never trains on prompts"), (TRAINS, "May train on prompts")],
    )
    retention = forms.ChoiceField(
        label="Retention",
        required=False,
        choices=[("", "Any"), (NO_RETENTION, "Never retains prompts"), (RETAINS, "May retain prompts")],
    )
    input = forms.ChoiceField(label="Input", required=False)
    price = forms.ChoiceField(label="Price", required=False, choices=[("", "Any"), (FREE, "Free")])

    def __init__(self, modalities: Iterable[str], *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        field = self.fields["input"]
        assert isinstance(field, forms.ChoiceField)  # noqa: S101 - for the type
        field.choices = [("", "Any"), *((kind, kind.capitalize()) for kind in modalities)]
        for name in ("show", "training", "retention", "input", "price"):
            self.fields[name].widget.attrs["data-narrows"] = name

    @property
    def narrowing(self) -> Narrowing:
        """The filters that are set; what is malformed filters nothing."""
        given = self.cleaned_data if self.is_bound and self.is_valid() else {}
        return Narrowing(tuple((name, value) for name, value in given.items() if value))


@dataclass(frozen=True, slots=True)
class Narrowing:
    """Filters by name, those only that are set."""

    chosen: tuple[tuple[str, str], ...]

    def shows(self, words: str, marks: Iterable[str], *, allowed: bool, changed: bool, of_model: bool) -> bool:
        """Whether a row is shown. Price and input are about models only."""
        if not self.chosen:
            return True
        chosen = dict(self.chosen)
        names = ("training", "retention", "input", "price") if of_model else ("training", "retention")
        state = {ALLOWED: allowed, DENIED: not allowed, CHANGED: changed}.get(chosen.get("show", ""), True)
        return (
            state
            and all(word in words for word in chosen.get("q", "").lower().split())
            and all(not chosen.get(name) or chosen[name] in marks for name in names)
        )


class DefaultModelForm(forms.Form):
    """How clients start. What is needed depends on the behaviour, so nothing is marked as optional."""

    is_filter = True

    behavior = forms.ChoiceField(
        label="Clients start with", widget=NotedRadios(notes=BEHAVIOURS_TOLD), choices=BEHAVIOURS
    )
    specific_model = TargetField(label="Model", required=False, options_id=CONCRETE_OPTIONS_ID)
    fallback_model = TargetField(
        label="Fallback",
        required=False,
        help_text="The target for every mode without a route. Blank leaves it as it is.",
    )

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or {}
        if cleaned.get("behavior") == "specific" and not cleaned.get("specific_model"):
            self.add_error("specific_model", "Choose a model.")
        return cleaned


class FallbackForm(forms.Form):
    """The target for every mode without a route."""

    model = TargetField(label="Fallback")


class DataCollectionForm(forms.Form):
    """Whether providers may keep what they are sent."""

    data_collection = forms.ChoiceField(
        label="Providers that store or train on prompts",
        required=False,
        widget=NotedRadios(notes=COLLECTION_TOLD),
        choices=COLLECTION,
    )


def dollars_typed(microdollars: int | None) -> str:
    """An amount as somebody would type it: "20", "0.50"; blank for none."""
    if microdollars is None:
        return ""
    whole, _, cents = f"{Decimal(microdollars) / MICRODOLLARS:f}".partition(".")
    return f"{whole}.{cents:0<2}" if cents else whole


class Dollars(forms.DecimalField):
    """An amount in dollars, which becomes whole microdollars; blank is no limit."""

    def __init__(self, **options: Any) -> None:
        widget = forms.TextInput({"inputmode": "decimal", "placeholder": "No limit", "class": "number"})
        super().__init__(
            required=False,
            min_value=Decimal(0),
            max_value=Decimal(MAX_MICRODOLLARS) / MICRODOLLARS,
            decimal_places=6,
            widget=widget,
            **options,
        )

    def prepare_value(self, value: Any) -> Any:
        """Stored microdollars as dollars; what was typed as it was typed."""
        return dollars_typed(value) if isinstance(value, int) else value

    def clean(self, value: Any) -> int | None:
        text = value.strip().lstrip("$").replace(",", "") if isinstance(value, str) else value
        amount = super().clean(text)
        return None if amount is None else int(amount * MICRODOLLARS)
