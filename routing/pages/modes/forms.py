"""The forms about modes and routes. They check shape only, and a mode's texts by the rules of every stored mode."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping
from typing import Any, Final

from django import forms
from django.core.exceptions import ValidationError

from kilo_gateway.ui.forms import NotedRadios
from organizations.modes.config import (
    GROUPS,
    LONGEST_FILE_REGEX,
    LONGEST_LIMIT_DESCRIPTION,
    EditLimit,
    validate_config,
)
from organizations.modes.file_regex import file_regex_problem
from routing.mode_selectors import tools_of
from routing.pages.targets import TargetField

LONGEST_NAME: Final = 100
LONGEST_SLUG: Final = 50
TOOLS: Final[Mapping[str, str]] = {
    "read": "Read files",
    "edit": "Edit files",
    "browser": "Use the browser",
    "command": "Run commands",
    "mcp": "Use MCP servers",
}
# The texts of a config by the fields that hold them.
TEXT_FIELDS: Final[Mapping[str, str]] = {
    "description": "description",
    "role_definition": "roleDefinition",
    "when_to_use": "whenToUse",
    "custom_instructions": "customInstructions",
}
SLUG_HELP: Final = "Small letters, digits and hyphens. Left empty, it is made from the name."
STORED_SLUG_HELP: Final = "Agents send it as the mode."
KEEP, REMOVE, REPLACE = "keep", "remove", "replace"
# What may become of a reverted mode's route.
FATES: Final[Mapping[str, str]] = {KEEP: "Keep it", REMOVE: "Remove it", REPLACE: "Change it"}


def slug_from(name: str) -> str:
    """The slug that a name suggests; blank when it has no letter or digit that a slug can have."""
    plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode().lower()
    return re.sub(r"[^a-z0-9]+", "-", plain).strip("-")[:LONGEST_SLUG].rstrip("-")


def _text(label: str, *, rows: int, required: bool = False, help_text: str = "") -> forms.CharField:
    return forms.CharField(label=label, required=required, help_text=help_text, widget=forms.Textarea({"rows": rows}))


class ModeForm(forms.Form):
    """A mode with its tools and, where the person may choose it, its route.

    Fields that somebody may not change here are not in the form: `without`.
    """

    name = forms.CharField(label="Name", max_length=LONGEST_NAME)
    slug = forms.CharField(
        label="Slug",
        required=False,
        max_length=LONGEST_SLUG,
        help_text=SLUG_HELP,
        widget=forms.TextInput({"class": "mono", "autocapitalize": "none", "spellcheck": "false"}),
    )
    description = forms.CharField(
        label="Description", required=False, max_length=1000, help_text="One line, shown where a mode is chosen."
    )
    role_definition = _text(
        "Role definition", rows=5, required=True, help_text="Who the agent is in this mode. It begins every prompt."
    )
    when_to_use = _text("When to use", rows=2, help_text="Tells the orchestrator which work to give to this mode.")
    custom_instructions = _text("Custom instructions", rows=5, help_text="Rules for the work. They end every prompt.")
    tools = forms.MultipleChoiceField(
        label="Tools", required=False, choices=tuple(TOOLS.items()), widget=forms.CheckboxSelectMultiple
    )
    file_regex = forms.CharField(
        label="Only files that match",
        required=False,
        max_length=LONGEST_FILE_REGEX,
        help_text=r"A JavaScript regular expression for the path, such as \.md$. Empty: any file.",
        widget=forms.TextInput({"class": "mono", "autocapitalize": "none", "spellcheck": "false"}),
    )
    file_description = forms.CharField(
        label="Called",
        required=False,
        max_length=LONGEST_LIMIT_DESCRIPTION,
        help_text="How people call these files, such as Markdown files.",
    )
    model = TargetField(label="Route", required=False)

    def __init__(self, *args: Any, without: tuple[str, ...] = (), is_stored: bool = False, **kwargs: Any) -> None:
        """`is_stored`: a mode that has a slug keeps one."""
        super().__init__(*args, **kwargs)
        if is_stored:
            self.fields["slug"].required = True
            self.fields["slug"].help_text = STORED_SLUG_HELP
        for name in without:
            del self.fields[name]

    def clean_file_regex(self) -> str:
        pattern: str = self.cleaned_data["file_regex"]
        problem = file_regex_problem(pattern) if pattern and "edit" in self.cleaned_data.get("tools", ()) else ""
        if problem:
            raise ValidationError(problem)
        return pattern

    def clean(self) -> dict[str, Any]:
        cleaned = self.cleaned_data
        if "slug" in self.fields and "slug" in cleaned and not cleaned["slug"]:
            cleaned["slug"] = slug_from(cleaned.get("name", ""))
            if not cleaned["slug"] and "name" in cleaned:
                self.add_error("slug", "The name suggests no slug: enter one.")
        try:
            cleaned["config"] = validate_config(self._config())
        except ValidationError as error:
            fields = {key: name for name, key in TEXT_FIELDS.items()} | {"groups": "tools"}
            for key, messages in error.message_dict.items():
                name = fields.get(key)
                if name is None or name not in self.errors:
                    self.add_error(name, messages)
        return cleaned

    def _config(self) -> dict[str, Any]:
        """What is entered as a config; browsers send line ends that no stored text has."""
        cleaned = self.cleaned_data
        texts = {key: cleaned.get(name, "").replace("\r\n", "\n") for name, key in TEXT_FIELDS.items()}
        chosen = cleaned.get("tools", ())
        groups: list[Any] = [name for name in GROUPS if name in chosen]
        if "edit" in groups and cleaned.get("file_regex"):
            limit = EditLimit(cleaned["file_regex"], cleaned.get("file_description", ""))
            groups[groups.index("edit")] = limit.as_group()
        return {**texts, "groups": groups}


def mode_values(name: str, slug: str, config: Mapping[str, Any], target: str) -> dict[str, Any]:
    """What a `ModeForm` shows of a mode."""
    tools = tools_of(config)
    edit = next((tool for tool in tools if tool.name == "edit"), None)
    return {
        "name": name,
        "slug": slug,
        **{field: config.get(key, "") for field, key in TEXT_FIELDS.items()},
        "tools": [tool.name for tool in tools],
        "file_regex": edit.file_regex if edit else "",
        "file_description": edit.limit if edit else "",
        "model": target,
    }


class RouteForm(forms.Form):
    """The target of one mode; blank for the fallback."""

    model = TargetField(label="Target", required=False)


class NewRouteForm(forms.Form):
    """A route by a slug that need not be a mode's."""

    slug = forms.CharField(
        label="Slug",
        max_length=LONGEST_SLUG,
        help_text="The mode as clients send it, for one that exists only in a repository or in an agent.",
        widget=forms.TextInput({"class": "mono", "autocapitalize": "none", "spellcheck": "false"}),
    )
    model = TargetField(label="Target")


class RevertForm(forms.Form):
    """What becomes of the route when an override is reverted."""

    route = forms.ChoiceField(label="Its route")
    route_model = TargetField(label="New target", required=False)

    def __init__(self, *args: Any, notes: Mapping[str, str], **kwargs: Any) -> None:
        """`notes`: the choices that there are, each with what it does."""
        super().__init__(*args, **kwargs)
        field = self.fields["route"]
        assert isinstance(field, forms.ChoiceField)  # noqa: S101 - for the type
        field.widget = NotedRadios(notes=notes)
        field.choices = [(value, FATES[value]) for value in notes]
        if REPLACE not in notes:
            del self.fields["route_model"]

    def clean(self) -> dict[str, Any]:
        if self.cleaned_data.get("route") == REPLACE and not self.cleaned_data.get("route_model"):
            self.add_error("route_model", "Choose a target.")
        return self.cleaned_data
