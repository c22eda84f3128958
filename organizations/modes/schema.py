"""How modes look to clients, for the description of the API."""

from __future__ import annotations

from typing import Any, Final

from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from organizations.modes.config import GROUPS, LIMITABLE, LONGEST_FILE_REGEX, LONGEST_LIMIT_DESCRIPTION, REQUIRED, TEXTS

_LIMIT: Final = {
    "type": "object",
    "properties": {
        "fileRegex": {
            "type": "string",
            "description": "What `new RegExp(fileRegex)` takes in JavaScript, for the path of a file.",
            "minLength": 1,
            "maxLength": LONGEST_FILE_REGEX,
        },
        "description": {"type": "string", "maxLength": LONGEST_LIMIT_DESCRIPTION},
    },
    "required": ["fileRegex"],
    "additionalProperties": False,
}
_PAIR: Final = {
    "type": "array",
    "description": f'The pair of "{LIMITABLE}" and its limit.',
    "items": {"oneOf": [{"type": "string", "enum": [LIMITABLE]}, _LIMIT]},
    "minItems": 2,
    "maxItems": 2,
}
_GROUPS: Final = {
    "type": "array",
    "items": {"oneOf": [{"type": "string", "enum": list(GROUPS)}, _PAIR]},
    "maxItems": len(GROUPS),
    "nullable": True,
}
_TEXTS: Final = {
    key: {"type": "string", "maxLength": longest, **({"minLength": 1} if key == REQUIRED else {"nullable": True})}
    for key, longest in TEXTS.items()
}


@extend_schema_field(
    {
        "type": "object",
        "properties": {**_TEXTS, "groups": _GROUPS},
        "required": [REQUIRED],
        "additionalProperties": False,
    }
)
class ModeConfigField(serializers.JSONField):
    """A mode's config as it is sent; `validate_config` says what is wrong with it."""


@extend_schema_field({"type": "object", "additionalProperties": True})
class StoredModeConfigField(serializers.JSONField):
    """A mode's config as it is read: the same keys, none of them null."""


class ModeSerializer(serializers.Serializer[Any]):
    id = serializers.UUIDField()
    organization_id = serializers.UUIDField()
    name = serializers.CharField()
    slug = serializers.CharField()
    config = StoredModeConfigField()
    created_by = serializers.CharField(allow_blank=True, help_text="The id of a person; blank when he is gone.")
    created_at = serializers.DateTimeField()
    updated_at = serializers.DateTimeField()
