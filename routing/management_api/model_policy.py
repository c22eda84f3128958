"""The model policy and data collection."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from kilo_gateway.api_schema import Kind, Tag, described
from organizations.management_api.shapes import Shape, Texts
from organizations.models import Organization
from routing.management_api.base import RoutingView
from routing.services.model_policy import data_collection_set, model_policy_set
from routing.settings_selectors import model_policy_state, unknown_providers

TAG = Tag.MODEL_POLICY
COLLECTION = ["allow", "deny"]


class ModelPolicySerializer(serializers.Serializer[Any]):
    provider_allow_list = serializers.ListField(
        child=serializers.CharField(), allow_null=True, help_text="Null: every provider, also those to come."
    )
    model_deny_list = serializers.ListField(child=serializers.CharField())
    enforced = serializers.BooleanField(help_text="The plan enforces it, and it says something.")
    unknown_providers = serializers.ListField(
        child=serializers.CharField(),
        allow_null=True,
        help_text="What of the allow list the catalog does not know: misspelt, or yet to come. "
        "Null: the catalog cannot be read.",
    )
    default_model = serializers.CharField(allow_null=True, help_text="A policy that refuses it clears it.")
    routing_version = serializers.IntegerField()


class DataCollectionSerializer(serializers.Serializer[Any]):
    data_collection = serializers.ChoiceField(choices=COLLECTION, allow_null=True)
    routing_version = serializers.IntegerField()


class ModelPolicy(Shape):
    provider_allow_list = Texts(
        allow_null=True, help_text="Slugs of providers, such as `azure`, not `azure/eu`; null for every provider."
    )
    model_deny_list = Texts(help_text="Ids of models.")


class DataCollection(Shape):
    data_collection = serializers.ChoiceField(
        choices=COLLECTION, allow_null=True, help_text="Null: the upstream's default."
    )


class ModelPolicyView(RoutingView):
    """Which hosted models the organization allows."""

    @described("get_model_policy", "Read the model policy", tag=TAG, answer=ModelPolicySerializer, has_version=True)
    def get(self, request: Request, organization_id: UUID) -> Response:
        """The policy as it is stored. Only the enterprise plan enforces it."""
        return self._state(self.organization)

    @described(
        "set_model_policy",
        "Replace the model policy",
        tag=TAG,
        kind=Kind.WRITE,
        body=ModelPolicy,
        answer=ModelPolicySerializer,
        has_version=True,
    )
    def put(self, request: Request, organization_id: UUID) -> Response:
        """While Organization Auto is on, a policy that would break a route that works now is refused, and `broken`
        lists all of them. A default model that the policy refuses is cleared. A provider that the catalog does not know
        is stored, and named in `unknown_providers`.
        """
        policy = self.body(request, ModelPolicy)
        organization = model_policy_set(organization_id=organization_id, acting=self.acting(request), **policy)
        return self._state(organization)

    def _state(self, organization: Organization) -> Response:
        unknown = {"unknown_providers": unknown_providers(organization)}
        return self.answer({**model_policy_state(organization), **unknown}, organization)


class DataCollectionView(RoutingView):
    """Whether upstream providers may keep what they are sent."""

    @described(
        "set_data_collection",
        "Allow or deny data collection",
        tag=TAG,
        kind=Kind.WRITE,
        body=DataCollection,
        answer=DataCollectionSerializer,
        has_version=True,
    )
    def put(self, request: Request, organization_id: UUID) -> Response:
        """Sent upstream as `provider.data_collection` with every hosted request."""
        wanted = self.body(request, DataCollection)
        organization = data_collection_set(organization_id=organization_id, acting=self.acting(request), **wanted)
        return self.answer({"data_collection": organization.settings.get("data_collection")}, organization)
