"""A person's own keys for providers. They serve his requests that are for no organization, and never any other."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from byok.encryption import SecretOwner
from byok.management_api.rows import (
    CredentialChanges,
    CredentialSerializer,
    NewCredential,
    WholeCredentialSerializer,
    credential_row,
    whole_row,
)
from byok.models import Credential
from byok.providers import PROVIDERS
from byok.selectors import credential_or_404, credentials_of
from byok.services.checks import credential_discover, credential_test
from byok.services.credentials import credential_create, credential_delete, credential_update
from kilo_gateway.api_schema import Kind, Tag, described
from organizations.callers import person_and_key
from organizations.management_api.shapes import Nothing
from organizations.management_api.views import OwnView

TAG = Tag.ACCOUNT


class OwnCredentialsSerializer(serializers.Serializer[Any]):
    credentials = CredentialSerializer(many=True)


class OwnCredentialSerializer(serializers.Serializer[Any]):
    credential = WholeCredentialSerializer(allow_null=True, help_text="Null: there is none any more.")


class OwnCredentialsView(OwnView):
    """All keys of a person."""

    @described("list_own_credentials", "List one's own provider keys", tag=TAG, answer=OwnCredentialsSerializer)
    def get(self, request: Request) -> Response:
        """By provider. They serve requests that are for no organization."""
        rows = [credential_row(credential, PROVIDERS) for credential in credentials_of(_owner(request))]
        return Response({"credentials": rows})

    @described(
        "create_own_credential",
        "Store a provider key of one's own",
        tag=TAG,
        kind=Kind.QUESTION,
        body=NewCredential,
        answer=OwnCredentialSerializer,
        status=201,
    )
    def post(self, request: Request) -> Response:
        """One for each provider, whose list of models is read with it, in ten seconds at most."""
        fields = self.body(request, NewCredential)
        credential = credential_create(
            owner=_owner(request),
            acting=self.acting(request),
            provider_id=fields["provider"],
            api_key=fields["api_key"],
        )
        return _state(credential, status=201)


class OwnCredentialView(OwnView):
    """One key of a person."""

    @described("get_own_credential", "Read a provider key of one's own", tag=TAG, answer=OwnCredentialSerializer)
    def get(self, request: Request, own_credential_id: UUID) -> Response:
        """With the models that it can use."""
        return _state(credential_or_404(_owner(request), own_credential_id))

    @described(
        "update_own_credential",
        "Replace, enable or disable a provider key of one's own",
        tag=TAG,
        kind=Kind.QUESTION,
        body=CredentialChanges,
        answer=OwnCredentialSerializer,
    )
    def patch(self, request: Request, own_credential_id: UUID) -> Response:
        """A disabled key counts as none."""
        fields = self.body(request, CredentialChanges)
        return _state(
            credential_update(
                owner=_owner(request), acting=self.acting(request), credential_id=own_credential_id, **fields
            )
        )

    @described(
        "delete_own_credential",
        "Delete a provider key of one's own",
        tag=TAG,
        kind=Kind.QUESTION,
        answer=OwnCredentialSerializer,
    )
    def delete(self, request: Request, own_credential_id: UUID) -> Response:
        """For good."""
        self.body(request, Nothing)
        credential_delete(owner=_owner(request), acting=self.acting(request), credential_id=own_credential_id)
        return Response({"credential": None})


class OwnCredentialTestView(OwnView):
    """Whether a key works."""

    @described(
        "test_own_credential",
        "Test a provider key of one's own",
        tag=TAG,
        kind=Kind.QUESTION,
        answer=OwnCredentialSerializer,
    )
    def post(self, request: Request, own_credential_id: UUID) -> Response:
        """One cheap request to the provider, ten seconds at most."""
        self.body(request, Nothing)
        return _state(
            credential_test(owner=_owner(request), acting=self.acting(request), credential_id=own_credential_id)
        )


class OwnCredentialDiscoverView(OwnView):
    """Which models a key can use."""

    @described(
        "discover_own_models",
        "Read the models of a provider key of one's own",
        tag=TAG,
        kind=Kind.QUESTION,
        answer=OwnCredentialSerializer,
    )
    def post(self, request: Request, own_credential_id: UUID) -> Response:
        """Asks the provider, ten seconds at most; a list that cannot be read leaves the former one."""
        self.body(request, Nothing)
        return _state(
            credential_discover(owner=_owner(request), acting=self.acting(request), credential_id=own_credential_id)
        )


def _owner(request: Request) -> SecretOwner:
    user, _ = person_and_key(request)
    return SecretOwner.user(user.pk)


def _state(credential: Credential, *, status: int = 200) -> Response:
    return Response({"credential": whole_row(credential, PROVIDERS)}, status=status)
