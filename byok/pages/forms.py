"""Forms of the pages about provider keys. They check shape only."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from django import forms

from byok.providers import Provider
from byok.services.credentials import MAX_KEY_LENGTH

ENTER_AGAIN: Final = "Enter it again: what you typed is not sent back to the browser."


class SecretForm(forms.Form):
    """A provider's key, which no answer ever contains."""

    api_key = forms.CharField(
        label="Key",
        strip=False,
        # The service says more exactly what is wrong with a long one.
        max_length=2 * MAX_KEY_LENGTH,
        widget=forms.PasswordInput(attrs={"autocomplete": "off", "spellcheck": "false", "class": "mono"}),
        help_text="Stored encrypted. Nobody sees more of it again than its last four characters.",
    )

    def ask_again(self) -> None:
        """Before the form is rendered once more: say that the key is to be typed again."""
        if self.is_bound:
            self["api_key"].help_text = ENTER_AGAIN


class NewKeyForm(SecretForm):
    """A provider and a key for it."""

    provider = forms.CharField(
        label="Provider",
        max_length=100,
        widget=forms.TextInput(
            attrs={
                "list": "provider-options",
                "data-combobox": "Providers",
                "autocomplete": "off",
                "autocapitalize": "none",
                "spellcheck": "false",
                "placeholder": "Search by name or id",
            }
        ),
    )

    field_order = ("provider", "api_key")

    def __init__(self, providers: Sequence[Provider], *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._ids = {provider.name.casefold(): provider.id for provider in providers}

    def clean_provider(self) -> str:
        """The id; a name will do."""
        typed: str = self.cleaned_data["provider"].strip()
        return self._ids.get(typed.casefold(), typed)


class EnabledForm(forms.Form):
    """What a switch sends."""

    enabled = forms.ChoiceField(choices=[("on", "on"), ("off", "off")])
