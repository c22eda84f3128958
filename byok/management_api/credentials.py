"""An organization's keys for providers."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from byok.dependents import all_byok_dependents, broken_byok_dependents, byok_dependents
from byok.encryption import SecretOwner
from byok.management_api.rows import (
    CredentialSerializer,
    DependentSerializer,
    NewCredential,
    Removal,
    RemovalQuery,
    RoutedCredentialChanges,
    WholeCredentialSerializer,
    credential_row,
    dependent_rows,
    whole_row,
)
from byok.models import Credential
from byok.selectors import credential_or_404, credentials_of, providers_of
from byok.services.checks import credential_discover, credential_test
from byok.services.credentials import credential_create, credential_delete, credential_update
from kilo_gateway.api_schema import Kind, Tag, described
from organizations.management_api.shapes import Nothing
from organizations.management_api.views import ManagementView
from organizations.models import Organization

TAG = Tag.CREDENTIALS


class RoutedCredentialSerializer(CredentialSerializer):
    dependents = DependentSerializer(many=True, help_text="What leads to this provider's models.")


class RoutedWholeCredentialSerializer(WholeCredentialSerializer):
    dependents = DependentSerializer(many=True, help_text="What leads to this provider's models.")
    broken_dependents = DependentSerializer(many=True, help_text="Those of them that would be refused today.")


class CredentialsSerializer(serializers.Serializer[Any]):
    credentials = RoutedCredentialSerializer(many=True)
    routing_version = serializers.IntegerField()


class CredentialStateSerializer(serializers.Serializer[Any]):
    credential = RoutedWholeCredentialSerializer(allow_null=True, help_text="Null: there is none any more.")
    routing_version = serializers.IntegerField()


class CredentialsView(ManagementView):
    """All keys of the organization."""

    @described("list_credentials", "List the provider keys", tag=TAG, answer=CredentialsSerializer, has_version=True)
    def get(self, request: Request, organization_id: UUID) -> Response:
        """By provider. Any member may read them; of a secret nothing is told but its last four characters."""
        providers, dependents = providers_of(organization_id), all_byok_dependents(self.organization)
        rows = [
            {
                **credential_row(credential, providers),
                "dependents": dependent_rows(dependents.get(credential.provider, ())),
            }
            for credential in credentials_of(SecretOwner.organization(organization_id))
        ]
        return self.answer({"credentials": rows}, self.organization)

    @described(
        "create_credential",
        "Store a provider key",
        tag=TAG,
        kind=Kind.WRITE,
        body=NewCredential,
        answer=CredentialStateSerializer,
        status=201,
        has_version=True,
    )
    def post(self, request: Request, organization_id: UUID) -> Response:
        """One for each provider. The provider is asked which models the key can use, which may take ten seconds; a list
        that cannot be read keeps no key from being stored, and `discovery_error` says so.
        """
        fields = self.body(request, NewCredential)
        credential = credential_create(
            owner=SecretOwner.organization(organization_id),
            acting=self.acting(request),
            provider_id=fields["provider"],
            api_key=fields["api_key"],
        )
        return _state(self, credential, _organization(credential), status=201)


class CredentialView(ManagementView):
    """One key."""

    queries = {"DELETE": RemovalQuery}

    @described("get_credential", "Read a provider key", tag=TAG, answer=CredentialStateSerializer, has_version=True)
    def get(self, request: Request, organization_id: UUID, credential_id: UUID) -> Response:
        """With the models that it can use, and what leads to them."""
        credential = credential_or_404(SecretOwner.organization(organization_id), credential_id)
        return _state(self, credential, self.organization)

    @described(
        "update_credential",
        "Replace, enable or disable a provider key",
        tag=TAG,
        kind=Kind.WRITE,
        body=RoutedCredentialChanges,
        answer=CredentialStateSerializer,
        has_version=True,
    )
    def patch(self, request: Request, organization_id: UUID, credential_id: UUID) -> Response:
        """What something leads to is not disabled without `confirm_broken_routes`: 409 `routes_would_break` lists it in
        `broken`. Routes stay as they are stored; requests for them are refused until there is a key again. The models
        of another key are read anew, and `broken_dependents` names what leads to one that it does not have.
        """
        fields = self.body(request, RoutedCredentialChanges)
        credential = credential_update(
            owner=SecretOwner.organization(organization_id),
            acting=self.acting(request),
            credential_id=credential_id,
            **fields,
        )
        return _state(self, credential, _organization(credential))

    @described(
        "delete_credential",
        "Delete a provider key",
        tag=TAG,
        kind=Kind.WRITE,
        answer=CredentialStateSerializer,
        parameters=[RemovalQuery],
        has_version=True,
    )
    def delete(self, request: Request, organization_id: UUID, credential_id: UUID) -> Response:
        """For good. `confirm_broken_routes`, in the address or in a JSON body, as for disabling."""
        confirmed = {**self.body(request, Removal), **self.query}
        credential = credential_delete(
            owner=SecretOwner.organization(organization_id),
            acting=self.acting(request),
            credential_id=credential_id,
            **confirmed,
        )
        return self.answer({"credential": None}, _organization(credential))


class CredentialTestView(ManagementView):
    """Whether a key works."""

    @described(
        "test_credential",
        "Test a provider key",
        tag=TAG,
        kind=Kind.WRITE,
        answer=CredentialStateSerializer,
        has_version=True,
    )
    def post(self, request: Request, organization_id: UUID, credential_id: UUID) -> Response:
        """One cheap request to the provider, ten seconds at most. `last_test` has the outcome; nothing else changes."""
        self.body(request, Nothing)
        credential = credential_test(
            owner=SecretOwner.organization(organization_id), acting=self.acting(request), credential_id=credential_id
        )
        return _state(self, credential, _organization(credential))


class CredentialDiscoverView(ManagementView):
    """Which models a key can use."""

    @described(
        "discover_models",
        "Read the models of a provider key",
        tag=TAG,
        kind=Kind.WRITE,
        answer=CredentialStateSerializer,
        has_version=True,
    )
    def post(self, request: Request, organization_id: UUID, credential_id: UUID) -> Response:
        """Asks the provider, ten seconds at most. A list that cannot be read leaves the former one, and
        `discovery_error` says why. Routes to a model that the new list does not have are broken: `broken_dependents`.
        409 `no_model_list` for a provider that has none.
        """
        self.body(request, Nothing)
        credential = credential_discover(
            owner=SecretOwner.organization(organization_id), acting=self.acting(request), credential_id=credential_id
        )
        return _state(self, credential, _organization(credential))


def _organization(credential: Credential) -> Organization:
    """As it was locked for the change."""
    if credential.organization is None:
        raise RuntimeError("a key of an organization has one")
    return credential.organization


def _state(view: ManagementView, credential: Credential, organization: Organization, *, status: int = 200) -> Response:
    """The answer with one key of an organization."""
    row = {
        **whole_row(credential, providers_of(organization.pk)),
        "dependents": dependent_rows(byok_dependents(organization, credential.provider)),
        "broken_dependents": dependent_rows(broken_byok_dependents(organization, credential.provider)),
    }
    return view.answer({"credential": row}, organization, status=status)
