"""The providers that an organization registers for itself."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from uuid import UUID

from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from byok.custom_providers import HeaderDraft
from byok.models import CustomProvider
from byok.providers import KeyStyle, KnownModel
from byok.selectors import custom_provider_or_404, custom_provider_rows
from byok.services import custom_providers as services
from kilo_gateway.api_kinds import ApiKind
from kilo_gateway.api_schema import Kind, Tag, described
from kilo_gateway.secret import Secret
from organizations.management_api.shapes import Flag, QueryFlag, Shape, Text, Texts
from organizations.management_api.views import ManagementView

TAG = Tag.CREDENTIALS
KINDS = [kind.value for kind in ApiKind]
STYLES = [style.value for style in KeyStyle]
CONFIRMED = "Change it although routes break by it."


class HeaderSerializer(serializers.Serializer[Any]):
    name = serializers.CharField()
    last_four = serializers.CharField(allow_blank=True, help_text="How the value ends; blank when it is short.")


class KnownModelSerializer(serializers.Serializer[Any]):
    id = serializers.CharField()
    name = serializers.CharField()
    context_length = serializers.IntegerField(allow_null=True)
    max_output_tokens = serializers.IntegerField(allow_null=True)


class CustomProviderSerializer(serializers.Serializer[Any]):
    id = serializers.CharField(help_text="What stands before the slash of its models' ids.")
    name = serializers.CharField()
    base_url = serializers.CharField()
    api_kinds = serializers.ListField(child=serializers.ChoiceField(choices=KINDS))
    key_style = serializers.ChoiceField(choices=STYLES)
    headers = HeaderSerializer(many=True)
    models = KnownModelSerializer(many=True, help_text="Those written by hand.")
    created_at = serializers.DateTimeField()
    updated_at = serializers.DateTimeField()


class CustomProvidersSerializer(serializers.Serializer[Any]):
    custom_providers = CustomProviderSerializer(many=True)
    routing_version = serializers.IntegerField()


class CustomProviderStateSerializer(serializers.Serializer[Any]):
    custom_provider = CustomProviderSerializer(allow_null=True, help_text="Null: it was deleted.")
    routing_version = serializers.IntegerField()


class Header(Shape):
    name = Text(max_length=100)
    value = Text(required=False, max_length=2000, help_text="Never shown again. Absent: the stored one is kept.")


class Model(Shape):
    id = Text(max_length=150, help_text="In the provider's own spelling.")
    name = Text(required=False, max_length=200)
    context_length = serializers.IntegerField(required=False, allow_null=True, min_value=1, max_value=100_000_000)
    max_output_tokens = serializers.IntegerField(required=False, allow_null=True, min_value=1, max_value=100_000_000)


class OptionalFields(Shape):
    key_style = serializers.ChoiceField(choices=STYLES, required=False, help_text="`bearer` by default.")
    headers = serializers.ListField(child=Header(), required=False, help_text="All of them; sent with every request.")
    models = serializers.ListField(child=Model(), required=False, help_text="All that are written by hand.")


class CustomProviderChanges(OptionalFields):
    name = Text(required=False, max_length=100)
    base_url = Text(required=False, max_length=500, help_text="No secret goes to another host: see the guide.")
    api_kinds = Texts(required=False, help_text=f"At least one of {', '.join(KINDS)}.")
    confirm_broken_routes = Flag(required=False, help_text=CONFIRMED)


class NewCustomProvider(OptionalFields):
    id = Text(max_length=47, help_text="`custom-` and 1 to 40 small letters, digits and hyphens.")
    name = Text(max_length=100)
    base_url = Text(max_length=500, help_text="`https`, without user info, query or fragment.")
    api_kinds = Texts(help_text=f"At least one of {', '.join(KINDS)}.")


class Confirmation(Shape):
    confirm_broken_routes = Flag(required=False, help_text=CONFIRMED)


class ConfirmationQuery(Shape):
    confirm_broken_routes = QueryFlag(required=False, help_text=CONFIRMED)


class CustomProviderStateView(ManagementView):
    """An endpoint that answers with one provider."""

    def state(self, row: CustomProvider, *, status: int = 200) -> Response:
        return self.answer({"custom_provider": _shown(row)}, row.organization, status=status)


class CustomProvidersView(CustomProviderStateView):
    """All providers of the organization's own."""

    @described(
        "list_custom_providers",
        "List the custom providers",
        tag=TAG,
        answer=CustomProvidersSerializer,
        has_version=True,
    )
    def get(self, request: Request, organization_id: UUID) -> Response:
        """By id. For every member; values of headers are never shown."""
        rows = custom_provider_rows(organization_id)
        return self.answer({"custom_providers": [_shown(row) for row in rows]}, self.organization)

    @described(
        "create_custom_provider",
        "Register a custom provider",
        tag=TAG,
        kind=Kind.WRITE,
        body=NewCustomProvider,
        answer=CustomProviderStateSerializer,
        status=201,
        has_version=True,
    )
    def post(self, request: Request, organization_id: UUID) -> Response:
        """For owners, admins and billing managers. Its host is resolved and checked. Its key is stored afterwards, as
        a provider key with the provider's id.
        """
        fields = _drafts(self.body(request, NewCustomProvider))
        row = services.custom_provider_create(
            organization_id=organization_id, acting=self.acting(request), provider_id=fields.pop("id"), **fields
        )
        return self.state(row, status=201)


class CustomProviderView(CustomProviderStateView):
    """One of them."""

    queries = {"PATCH": ConfirmationQuery, "DELETE": ConfirmationQuery}

    @described(
        "get_custom_provider",
        "Read a custom provider",
        tag=TAG,
        answer=CustomProviderStateSerializer,
        has_version=True,
    )
    def get(self, request: Request, organization_id: UUID, provider_id: str) -> Response:
        """For every member; values of headers are never shown."""
        return self.state(custom_provider_or_404(organization_id, provider_id))

    @described(
        "change_custom_provider",
        "Change a custom provider",
        tag=TAG,
        kind=Kind.WRITE,
        body=CustomProviderChanges,
        answer=CustomProviderStateSerializer,
        parameters=[ConfirmationQuery],
        has_version=True,
    )
    def patch(self, request: Request, organization_id: UUID, provider_id: str) -> Response:
        """A base URL at another host takes no secrets along: the provider's key is deleted, and all values of headers
        have to be given again. 409 `routes_would_break` lists what the change would break in `broken`.
        """
        fields = _drafts(self.body(request, CustomProviderChanges))
        row = services.custom_provider_update(
            organization_id=organization_id,
            acting=self.acting(request),
            provider_id=provider_id,
            confirm_broken_routes=self._confirmed(fields),
            edit=services.CustomProviderEdit(**fields),
        )
        return self.state(row)

    @described(
        "delete_custom_provider",
        "Delete a custom provider",
        tag=TAG,
        kind=Kind.WRITE,
        answer=CustomProviderStateSerializer,
        parameters=[ConfirmationQuery],
        has_version=True,
    )
    def delete(self, request: Request, organization_id: UUID, provider_id: str) -> Response:
        """Its key is deleted with it. 409 `routes_would_break` lists what that would break in `broken`; the
        confirmation may stand in a JSON body, too.
        """
        confirmed = self._confirmed(self.body(request, Confirmation))
        row = services.custom_provider_delete(
            organization_id=organization_id,
            acting=self.acting(request),
            provider_id=provider_id,
            confirm_broken_routes=confirmed,
        )
        return self.answer({"custom_provider": None}, row.organization)

    def _confirmed(self, fields: dict[str, Any]) -> bool:
        """What the address or the body says; taken out of the fields."""
        in_body = fields.pop("confirm_broken_routes", False)
        return bool(in_body or self.query.get("confirm_broken_routes", False))


def _drafts(fields: dict[str, Any]) -> dict[str, Any]:
    """The fields of a body as the services take them."""
    if "headers" in fields:
        fields["headers"] = [_header(entry) for entry in fields["headers"]]
    if "models" in fields:
        fields["models"] = [KnownModel(**{"name": "", **entry}) for entry in fields["models"]]
    return fields


def _header(entry: Mapping[str, str]) -> HeaderDraft:
    return HeaderDraft(entry["name"], Secret(entry["value"]) if "value" in entry else None)


def _shown(row: CustomProvider) -> dict[str, Any]:
    headers = sorted(row.headers.all(), key=lambda header: header.name)
    return {
        "id": row.provider_id,
        "name": row.name,
        "base_url": row.base_url,
        "api_kinds": row.api_kinds,
        "key_style": row.key_style,
        "headers": [{"name": header.name, "last_four": header.last_four} for header in headers],
        "models": row.known_models,
        "created_at": row.created_at,
        "updated_at": row.updated_at,
    }
