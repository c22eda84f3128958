"""How models and money look to clients, for the description of the API."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from drf_spectacular.utils import OpenApiParameter, extend_schema_field
from rest_framework import serializers

from kilo_gateway.api_schema import ORGANIZATION_HEADER, Kind, described
from organizations.models import Role
from organizations.schema import UserSerializer

_ENTRY: Final = {
    "type": "object",
    "description": "A model in OpenRouter's shape.",
    "properties": {"id": {"type": "string"}, "name": {"type": "string"}},
    "required": ["id", "name"],
    "additionalProperties": True,
}
_REQUEST: Final = {
    "type": "object",
    "description": "As the format's own documentation says; all other fields reach the upstream unchanged.",
    "properties": {"model": {"type": "string"}},
    "required": ["model"],
    "additionalProperties": True,
}
_ANSWER: Final = {"type": "object", "additionalProperties": True}
_MODE = OpenApiParameter(
    "x-kilocode-mode", str, OpenApiParameter.HEADER, description="The agent's mode, which decides the route."
)


def proxied(name: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Describe a proxy endpoint, as far as it is ours to describe."""
    return described(
        None,
        name,
        kind=Kind.MODEL_REQUEST,
        body=_REQUEST,
        answer=_ANSWER,
        parameters=[ORGANIZATION_HEADER, _MODE],
    )


@extend_schema_field(_ENTRY)
class ModelEntryField(serializers.JSONField):
    """A model as clients know it."""


class ModelListSerializer(serializers.Serializer[Any]):
    data = serializers.ListField(child=ModelEntryField())  # type: ignore[assignment]  # the body's word for it


class ModelEndpointsSerializer(serializers.Serializer[Any]):
    data = ModelEntryField(help_text="The model, with the providers that serve it in `endpoints`.")  # type: ignore[assignment]


class ProviderSerializer(serializers.Serializer[Any]):
    slug = serializers.CharField()
    name = serializers.CharField()
    privacy_policy_url = serializers.CharField(allow_null=True)
    terms_of_service_url = serializers.CharField(allow_null=True)
    status_page_url = serializers.CharField(allow_null=True)


class ProviderListSerializer(serializers.Serializer[Any]):
    data = ProviderSerializer(many=True)  # type: ignore[assignment]


class DefaultsSerializer(serializers.Serializer[Any]):
    defaultModel = serializers.CharField()  # noqa: N815 - the clients' word
    defaultFreeModel = serializers.CharField(allow_null=True)  # noqa: N815


class ProfileUserSerializer(UserSerializer):
    image = serializers.CharField(allow_null=True)


class ProfileOrganizationSerializer(serializers.Serializer[Any]):
    id = serializers.UUIDField()
    name = serializers.CharField()
    role = serializers.ChoiceField(choices=Role.values)
    balance = serializers.FloatField(help_text="US dollars.")


class ProfileSerializer(serializers.Serializer[Any]):
    user = ProfileUserSerializer()
    organizations = ProfileOrganizationSerializer(many=True)
    hasPersonalAccount = serializers.BooleanField()  # noqa: N815
    selectedOrganizationId = serializers.UUIDField(required=False)  # noqa: N815


class BalanceSerializer(serializers.Serializer[Any]):
    balance = serializers.FloatField(help_text="US dollars.")
    isLimited = serializers.BooleanField(help_text="False: no balance is kept, and nothing is limited.")  # noqa: N815
