"""The API keys that are bound to an organization."""

from __future__ import annotations

from typing import Any, cast
from uuid import UUID

from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from kilo_gateway.api_schema import Kind, Tag, described
from organizations.callers import person_and_key
from organizations.management_api.shapes import Nothing, Shape, Text
from organizations.management_api.views import ManagementView
from organizations.member_keys import member_key_create, member_key_revoke, member_key_update
from organizations.models import ApiKey, Organization, Scope
from organizations.people_selectors import keys_of
from organizations.permissions import Ability, may

TAG = Tag.PEOPLE
DEFAULT_MODE = "The slug of a mode, for clients that cannot say theirs; blank for none."


class KeyOwnerSerializer(serializers.Serializer[Any]):
    id = serializers.UUIDField()
    email = serializers.CharField()
    name = serializers.CharField(allow_blank=True)


class ApiKeySerializer(serializers.Serializer[Any]):
    id = serializers.UUIDField()
    name = serializers.CharField()
    prefix = serializers.CharField(help_text="How the key begins.")
    last_four = serializers.CharField(help_text="How it ends.")
    user = KeyOwnerSerializer()
    scopes = serializers.ListField(child=serializers.ChoiceField(choices=Scope.values))
    default_mode = serializers.CharField(allow_blank=True)
    created_at = serializers.DateTimeField()
    expires_at = serializers.DateTimeField(allow_null=True)
    last_used_at = serializers.DateTimeField(allow_null=True, help_text="To the minute.")
    revoked_at = serializers.DateTimeField(allow_null=True)


class ApiKeysSerializer(serializers.Serializer[Any]):
    api_keys = ApiKeySerializer(many=True, help_text="Newest first, at most 100.")
    next_cursor = serializers.UUIDField(
        allow_null=True, help_text="For `cursor`, to read older keys; null: there are none."
    )
    routing_version = serializers.IntegerField()


class ApiKeyStateSerializer(serializers.Serializer[Any]):
    api_key = ApiKeySerializer()
    routing_version = serializers.IntegerField()


class NewApiKeySerializer(ApiKeyStateSerializer):
    key = serializers.CharField(help_text="The key itself: told here and never again.")


class NewApiKey(Shape):
    name = Text(max_length=100)
    scopes = serializers.ListField(
        child=serializers.ChoiceField(choices=Scope.values),
        required=False,
        allow_empty=False,
        help_text="What it may be used for; `inference` by default.",
    )
    default_mode = Text(required=False, allow_blank=True, max_length=50, help_text=DEFAULT_MODE)
    expires_at = serializers.DateTimeField(required=False, allow_null=True, help_text="Null: never.")


class PageQuery(Shape):
    cursor = serializers.UUIDField(required=False)


class ApiKeyChanges(Shape):
    name = Text(required=False, max_length=100)
    default_mode = Text(required=False, allow_blank=True, max_length=50, help_text=DEFAULT_MODE)


class ApiKeysView(ManagementView):
    """All keys that were not revoked."""

    queries = {"GET": PageQuery}

    @described(
        "list_api_keys",
        "List the API keys",
        tag=TAG,
        answer=ApiKeysSerializer,
        parameters=[PageQuery],
        has_version=True,
    )
    def get(self, request: Request, organization_id: UUID) -> Response:
        """The keys that are bound to this organization, newest first: one's own, for owners and admins everybody's."""
        user, _ = person_and_key(request)
        everybody = may(self.membership.role, Ability.MANAGE_MEMBERS)
        page = keys_of(organization_id, user=None if everybody else user, cursor=self.query.get("cursor"))
        answer = {"api_keys": [_row(key) for key in page.rows], "next_cursor": page.next_cursor}
        return self.answer(answer, self.organization)

    @described(
        "create_api_key",
        "Make an API key",
        tag=TAG,
        kind=Kind.WRITE,
        body=NewApiKey,
        answer=NewApiKeySerializer,
        status=201,
        has_version=True,
    )
    def post(self, request: Request, organization_id: UUID) -> Response:
        """A key of one's own, bound to this organization: it may do what its person may do here."""
        fields = self.body(request, NewApiKey)
        made = member_key_create(
            organization_id=organization_id,
            acting=self.acting(request),
            name=fields["name"],
            scopes=[Scope(scope) for scope in fields.get("scopes", [Scope.INFERENCE])],
            default_mode=fields.get("default_mode", ""),
            expires_at=fields.get("expires_at"),
        )
        state = {"api_key": _row(made.row), "key": made.secret.reveal()}
        return self.answer(state, _bound_to(made.row), status=201)


class ApiKeyView(ManagementView):
    """One key."""

    @described(
        "change_api_key",
        "Change an API key",
        tag=TAG,
        kind=Kind.WRITE,
        body=ApiKeyChanges,
        answer=ApiKeyStateSerializer,
        has_version=True,
    )
    def patch(self, request: Request, organization_id: UUID, key_id: UUID) -> Response:
        """Its name and its default mode; the next request with it sees them. Owners and admins may change anybody's."""
        fields = self.body(request, ApiKeyChanges)
        key = member_key_update(organization_id=organization_id, acting=self.acting(request), key_id=key_id, **fields)
        return self.answer({"api_key": _row(key)}, _bound_to(key))

    @described(
        "revoke_api_key",
        "Revoke an API key",
        tag=TAG,
        kind=Kind.WRITE,
        answer=ApiKeyStateSerializer,
        has_version=True,
    )
    def delete(self, request: Request, organization_id: UUID, key_id: UUID) -> Response:
        """For good, from the next request on. Owners and admins may revoke anybody's."""
        self.body(request, Nothing)
        key = member_key_revoke(organization_id=organization_id, acting=self.acting(request), key_id=key_id)
        return self.answer({"api_key": _row(key)}, _bound_to(key))


def _bound_to(key: ApiKey) -> Organization:
    """Every key that is seen here is bound."""
    return cast("Organization", key.organization)


def _row(key: ApiKey) -> dict[str, Any]:
    return {
        "id": key.pk,
        "name": key.name,
        "prefix": key.prefix,
        "last_four": key.last_four,
        "user": {"id": key.user.pk, "email": key.user.email, "name": key.user.name},
        "scopes": key.scopes,
        "default_mode": key.default_mode,
        "created_at": key.created_at,
        "expires_at": key.expires_at,
        "last_used_at": key.last_used_at,
        "revoked_at": key.revoked_at,
    }
