"""Keys as the API shows them: whose provider, how they do, and of the secret the last four characters."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rest_framework import serializers

from byok.dependents import Dependent, DependentKind
from byok.key_check import KeyResult
from byok.models import Credential
from byok.providers import Provider
from organizations.management_api.shapes import Flag, QueryFlag, Shape, Text

CONFIRM = "Go on although routes, the fallback or the default model lead to this provider."


class TestSerializer(serializers.Serializer[Any]):
    result = serializers.ChoiceField(choices=[result.value for result in KeyResult])
    status = serializers.IntegerField(allow_null=True, help_text="The provider's; null: no answer, or nothing asked.")
    message = serializers.CharField()
    tested_at = serializers.DateTimeField()


class CredentialSerializer(serializers.Serializer[Any]):
    id = serializers.UUIDField()
    provider = serializers.CharField()
    provider_name = serializers.CharField()
    last_four = serializers.CharField(allow_blank=True, help_text="Blank for a short key.")
    is_enabled = serializers.BooleanField(help_text="A disabled key counts as none.")
    model_count = serializers.IntegerField(allow_null=True, help_text="Null: no list, so any id is taken.")
    discovered_at = serializers.DateTimeField(allow_null=True, help_text="When the provider's list was last read.")
    discovery_error = serializers.CharField(
        allow_blank=True, help_text="Why the newest attempt failed, which left the former list; else blank."
    )
    last_used_at = serializers.DateTimeField(allow_null=True, help_text="To the minute.")
    last_test = TestSerializer(allow_null=True)
    last_refused_at = serializers.DateTimeField(allow_null=True, help_text="When the provider last refused a request.")
    last_refusal_status = serializers.IntegerField(allow_null=True)
    created_at = serializers.DateTimeField()
    updated_at = serializers.DateTimeField()


class WholeCredentialSerializer(CredentialSerializer):
    offered_models = serializers.ListField(
        child=serializers.CharField(), allow_null=True, help_text="In the provider's spelling; null: any id is taken."
    )


class DependentSerializer(serializers.Serializer[Any]):
    kind = serializers.ChoiceField(choices=[kind.value for kind in DependentKind])
    slug = serializers.CharField(allow_blank=True, help_text="Of a route; else blank.")
    target = serializers.CharField()


class NewCredential(Shape):
    provider = Text(max_length=100, help_text="The id of a provider.")
    api_key = Text(max_length=8192, help_text="Stored encrypted and never shown again but for its last four.")


class CredentialChanges(Shape):
    api_key = Text(required=False, max_length=8192, help_text="Takes the place of the stored one.")
    is_enabled = Flag(required=False)


class RoutedCredentialChanges(CredentialChanges):
    confirm_broken_routes = Flag(required=False, help_text=CONFIRM)


class Removal(Shape):
    confirm_broken_routes = Flag(required=False, help_text=CONFIRM)


class RemovalQuery(Shape):
    confirm_broken_routes = QueryFlag(required=False, help_text=CONFIRM)


def credential_row(credential: Credential, providers: Mapping[str, Provider]) -> dict[str, Any]:
    """One key, without its models."""
    provider, offered = providers.get(credential.provider), credential.offered_models
    return {
        "id": credential.pk,
        "provider": credential.provider,
        "provider_name": provider.name if provider is not None else credential.provider,
        "last_four": credential.last_four,
        "is_enabled": credential.is_enabled,
        "model_count": None if offered is None else len(offered),
        "discovered_at": credential.discovered_at,
        "discovery_error": credential.discovery_error,
        "last_used_at": credential.last_used_at,
        "last_test": _test_row(credential),
        "last_refused_at": credential.last_refused_at,
        "last_refusal_status": credential.last_refusal_status,
        "created_at": credential.created_at,
        "updated_at": credential.updated_at,
    }


def whole_row(credential: Credential, providers: Mapping[str, Provider]) -> dict[str, Any]:
    """One key with its models."""
    return {**credential_row(credential, providers), "offered_models": credential.offered_models}


def dependent_rows(dependents: Sequence[Dependent]) -> list[dict[str, str]]:
    return [dependent.as_entry() for dependent in dependents]


def _test_row(credential: Credential) -> dict[str, Any] | None:
    if credential.last_tested_at is None:
        return None
    return {
        "result": credential.last_test_result,
        "status": credential.last_test_status,
        "message": credential.last_test_message,
        "tested_at": credential.last_tested_at,
    }
