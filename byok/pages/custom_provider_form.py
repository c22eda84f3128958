"""The form of a custom provider. It checks shape only: what a provider may be, the service decides.

Headers are rows of a name, a value and, for a stored one, whether it goes; models are lines of a text. Both work
without scripts, and no answer contains a header's value.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from django import forms
from django.utils.datastructures import MultiValueDict

from byok.custom_providers import MAX_MODELS, PREFIX, HeaderDraft
from byok.models import CustomProvider
from byok.pages.rows import KINDS
from byok.providers import PATHS, KeyStyle, KnownModel
from byok.services.custom_providers import CustomProviderEdit
from kilo_gateway.api_kinds import ApiKind
from kilo_gateway.secret import Secret
from kilo_gateway.ui.forms import NotedCheckboxes, NotedRadios

SPARE_ROWS: Final = 2
SEPARATOR: Final = "|"
_PARTS: Final = 4
_PATH_NOTES: Final = {kind.value: f"POST to the base URL and {PATHS[kind]}" for kind in ApiKind}
_STYLES: Final = {KeyStyle.BEARER.value: "Authorization: Bearer", KeyStyle.X_API_KEY.value: "x-api-key"}
_STYLE_NOTES: Final = {
    KeyStyle.BEARER.value: "As OpenAI and most others want it.",
    KeyStyle.X_API_KEY.value: "As Anthropic wants it.",
}


@dataclass(frozen=True, slots=True)
class HeaderLine:
    """A header as the form has it.

    Attributes:
        ending: How the stored value ends; blank for a short one.
        is_stored: Without a new value it keeps the stored one.
    """

    name: str = ""
    value: Secret | None = None
    ending: str = ""
    is_stored: bool = False
    is_removed: bool = False

    def __str__(self) -> str:
        return self.name


class HeadersInput(forms.Widget):
    """Reads the rows that `custom_providers/headers.html` has drawn."""

    def value_from_datadict(self, data: Mapping[str, Any], files: object, name: str) -> list[HeaderLine]:
        """One line for each row with a name or a value."""
        if not isinstance(data, MultiValueDict):
            return []
        gone, stored = set(data.getlist("header_gone")), set(data.getlist("header_stored"))
        pairs = zip(data.getlist("header_name"), data.getlist("header_value"), strict=False)
        return [
            HeaderLine(
                title.strip(),
                Secret(value.strip()) if value.strip() else None,
                is_stored=title in stored,
                is_removed=title in stored and title in gone,
            )
            for title, value in pairs
            if title.strip() or value.strip()
        ]


class HeadersField(forms.Field):
    """Headers that go with every request."""

    widget = HeadersInput

    def clean(self, value: Sequence[HeaderLine]) -> list[HeaderLine]:
        """The lines as they are, if each new one has a name and a value."""
        if any(not line.name for line in value):
            raise forms.ValidationError("A value has no name: give the header's name beside it.")
        bare = [line.name for line in value if not line.is_stored and line.value is None]
        if bare:
            raise forms.ValidationError(f"These need a value: {', '.join(bare)}.")
        return list(value)


class ModelsField(forms.CharField):
    """Models by hand, one in a line: `id | name | context length | most output tokens`."""

    def __init__(self, **options: Any) -> None:
        attributes = {"rows": 5, "spellcheck": "false", "class": "mono", "wrap": "off"}
        super().__init__(widget=forms.Textarea(attributes), **options)

    def clean(self, value: Any) -> list[KnownModel]:
        """The models; says which line is none."""
        text = str(super().clean(value) or "")
        lines = [(number, line) for number, line in enumerate(text.splitlines(), 1) if line.strip()]
        return [_model(number, line) for number, line in lines]


def _model(number: int, line: str) -> KnownModel:
    parts = [part.strip() for part in line.split(SEPARATOR)]
    if len(parts) > _PARTS:
        raise forms.ValidationError(f"Line {number} has more than {_PARTS} parts.")
    model_id, name, context, output = [*parts, "", "", ""][:_PARTS]
    return KnownModel(model_id, name, _tokens(number, context), _tokens(number, output))


def _tokens(number: int, text: str) -> int | None:
    digits = text.replace(",", "").replace("_", "")
    if not digits:
        return None
    if not (digits.isascii() and digits.isdigit() and len(digits) < 12):
        raise forms.ValidationError(f'Line {number}: "{text}" is no number of tokens.')
    return int(digits)


def models_text(stored: Sequence[Mapping[str, Any]]) -> str:
    """Stored models as the form's text, with the line ends that browsers send."""
    return "\r\n".join(_line(model) for model in stored)


def _line(model: Mapping[str, Any]) -> str:
    name = "" if model["name"] == model["id"] else model["name"]
    parts = [model["id"], name, model["context_length"] or "", model["max_output_tokens"] or ""]
    while not parts[-1]:
        parts.pop()
    return f" {SEPARATOR} ".join(str(part) for part in parts)


class CustomProviderForm(forms.Form):
    """All that can be changed of a custom provider."""

    name = forms.CharField(label="Name", max_length=100)
    base_url = forms.CharField(
        label="Base URL",
        max_length=500,
        widget=forms.URLInput(attrs={"placeholder": "https://llm.example.com/v1", "spellcheck": "false"}),
        help_text="Without the path of a format. Private addresses are refused, unless the installation allows them.",
    )
    api_kinds = forms.MultipleChoiceField(
        label="Request formats", choices=list(KINDS.items()), widget=NotedCheckboxes(notes=_PATH_NOTES)
    )
    key_style = forms.ChoiceField(
        label="The key is sent as",
        choices=list(_STYLES.items()),
        widget=NotedRadios(notes=_STYLE_NOTES),
        initial=KeyStyle.BEARER.value,
    )
    headers = HeadersField(label="Extra headers", required=False)
    models = ModelsField(
        label="Models by hand",
        required=False,
        help_text=(
            f"One in a line: id {SEPARATOR} name {SEPARATOR} context length {SEPARATOR} most output tokens. The id is "
            f"enough. At most {MAX_MODELS}; they come beside those that the provider lists."
        ),
    )

    def __init__(self, row: CustomProvider | None, data: Any = None) -> None:
        super().__init__(data, initial=None if row is None else stored_values(row))
        self._stored = [] if row is None else _header_lines(row)

    @property
    def header_rows(self) -> list[HeaderLine]:
        """The rows to draw: those stored, what was typed, and spare ones; values are not among them."""
        typed: list[HeaderLine] = self["headers"].value() if self.is_bound else []
        gone = {line.name for line in typed if line.is_removed}
        stored = [HeaderLine(one.name, None, one.ending, True, one.name in gone) for one in self._stored]
        known = {line.name for line in stored}
        new = [HeaderLine(line.name) for line in typed if line.name not in known]
        return [*stored, *new, *[HeaderLine()] * SPARE_ROWS]

    @property
    def lost_values(self) -> bool:
        """Whether values of headers were typed that have to be typed again."""
        return self.is_bound and any(line.value is not None for line in self["headers"].value())

    def edit(self) -> CustomProviderEdit:
        """What a valid form asks for. No header mentioned is no change where none is stored."""
        given = self.cleaned_data
        kept = [line for line in given["headers"] if not line.is_removed]
        return CustomProviderEdit(
            name=given["name"],
            base_url=given["base_url"],
            api_kinds=given["api_kinds"],
            key_style=given["key_style"],
            headers=[HeaderDraft(line.name, line.value) for line in kept],
            models=given["models"],
        )


class NewCustomProviderForm(CustomProviderForm):
    """The same with the id, which stays."""

    id = forms.CharField(
        label="Id",
        max_length=47,
        initial=PREFIX,
        widget=forms.TextInput(attrs={"autocapitalize": "none", "spellcheck": "false", "class": "mono"}),
        help_text=f'"{PREFIX}", then small letters, digits or hyphens. Routes name its models id/model. It stays.',
    )

    field_order = ("name", "id")

    def __init__(self, data: Any = None) -> None:
        super().__init__(None, data)


def stored_values(row: CustomProvider) -> dict[str, Any]:
    """A stored provider as the form shows it, without its headers."""
    return {
        "name": row.name,
        "base_url": row.base_url,
        "api_kinds": row.api_kinds,
        "key_style": row.key_style,
        "models": models_text(row.known_models),
    }


def _header_lines(row: CustomProvider) -> list[HeaderLine]:
    headers = sorted(row.headers.all(), key=lambda header: header.name)
    return [HeaderLine(header.name, None, header.last_four, is_stored=True) for header in headers]
