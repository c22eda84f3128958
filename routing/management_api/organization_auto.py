"""Organization Auto: its state, the default behaviour, the routes and the fallback."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from kilo_gateway.api_schema import Kind, Tag, described
from organizations.management_api.shapes import Shape, Text
from organizations.models import Organization
from routing.management_api.base import RoutingView
from routing.services import organization_auto as services
from routing.settings_selectors import organization_auto_state

TAG = Tag.ORGANIZATION_AUTO
STATUSES = ["ok", "broken"]


class TargetSerializer(serializers.Serializer[Any]):
    target = serializers.CharField(allow_null=True)
    status = serializers.ChoiceField(choices=STATUSES)
    reason = serializers.CharField(allow_null=True, help_text="Why a request for it would be refused today.")
    code = serializers.CharField(allow_null=True, help_text="The same as a stable word.")


class RouteSerializer(TargetSerializer):
    slug = serializers.CharField()


class OrganizationAutoSerializer(serializers.Serializer[Any]):
    eligible = serializers.BooleanField(help_text="The plan includes Organization Auto.")
    configured = serializers.BooleanField(help_text="Eligible, and routes or a fallback are stored.")
    enabled = serializers.BooleanField(help_text="Configured, and the default model is `kilo-auto/org`.")
    default_model = serializers.CharField(allow_null=True, help_text="Null: the installation's default.")
    routes = RouteSerializer(many=True, help_text="All that are stored, in force or not.")
    fallback = TargetSerializer(allow_null=True, help_text="Null: nothing is stored.")
    routing_version = serializers.IntegerField()


class DefaultModel(Shape):
    behavior = serializers.ChoiceField(choices=["auto", "specific", "global"])
    fallback_model = Text(required=False, help_text="With `auto`: a new fallback.")
    specific_model = Text(
        required=False, help_text="With `specific`, where it is required: a concrete model, no auto tier."
    )

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        behavior = attrs["behavior"]
        for field, belongs_to in (("fallback_model", "auto"), ("specific_model", "specific")):
            if field in attrs and behavior != belongs_to:
                raise serializers.ValidationError({field: [f'It belongs to the behavior "{belongs_to}".']})
        if behavior == "specific" and "specific_model" not in attrs:
            raise serializers.ValidationError({"specific_model": ["This field is required."]})
        return attrs


class Target(Shape):
    model = Text(help_text="The id of a model.")


class StateView(RoutingView):
    """An endpoint that answers with the state of Organization Auto."""

    def state(self, organization: Organization) -> Response:
        return self.answer(organization_auto_state(organization), organization)


class OrganizationAutoView(StateView):
    """What Organization Auto does."""

    @described(
        "get_organization_auto",
        "Read the state of Organization Auto",
        tag=TAG,
        answer=OrganizationAutoSerializer,
        has_version=True,
    )
    def get(self, request: Request, organization_id: UUID) -> Response:
        """The derived states, and every stored route and the fallback with its health: whether it would serve today."""
        return self.state(self.organization)


class DefaultModelView(StateView):
    """Which model clients start with."""

    @described(
        "set_default_model",
        "Choose the default behavior",
        tag=TAG,
        kind=Kind.WRITE,
        body=DefaultModel,
        answer=OrganizationAutoSerializer,
        has_version=True,
    )
    def put(self, request: Request, organization_id: UUID) -> Response:
        """`auto` turns Organization Auto on, if every route and the fallback validate; `specific` makes one model the
        default; `global` leaves it to the installation. Routes are kept in any case.
        """
        wanted = self.body(request, DefaultModel)
        acting = self.acting(request)
        match wanted["behavior"]:
            case "auto":
                organization = services.default_model_set_auto(
                    organization_id=organization_id, acting=acting, fallback_model=wanted.get("fallback_model")
                )
            case "specific":
                organization = services.default_model_set_specific(
                    organization_id=organization_id, acting=acting, specific_model=wanted["specific_model"]
                )
            case _:
                organization = services.default_model_set_global(organization_id=organization_id, acting=acting)
        return self.state(organization)


class RouteView(StateView):
    """The route of one mode."""

    @described(
        "set_route",
        "Set the route of a mode",
        tag=TAG,
        kind=Kind.WRITE,
        body=Target,
        answer=OrganizationAutoSerializer,
        has_version=True,
    )
    def put(self, request: Request, organization_id: UUID, slug: str) -> Response:
        """Let a mode be served by a model. The mode need not exist here: it may live in a repository. The slug is put
        into lower case.
        """
        target = self.body(request, Target)["model"]
        return self.state(
            services.route_set(organization_id=organization_id, acting=self.acting(request), slug=slug, target=target)
        )

    @described(
        "clear_route",
        "Clear the route of a mode",
        tag=TAG,
        kind=Kind.WRITE,
        answer=OrganizationAutoSerializer,
        has_version=True,
    )
    def delete(self, request: Request, organization_id: UUID, slug: str) -> Response:
        """Let a mode follow the fallback again; nothing happens when it does."""
        return self.state(services.route_clear(organization_id=organization_id, acting=self.acting(request), slug=slug))


class FallbackView(StateView):
    """The target of every mode without a route."""

    @described(
        "set_fallback",
        "Set the fallback",
        tag=TAG,
        kind=Kind.WRITE,
        body=Target,
        answer=OrganizationAutoSerializer,
        has_version=True,
    )
    def put(self, request: Request, organization_id: UUID) -> Response:
        """Choose the model for every mode without a route of its own."""
        target = self.body(request, Target)["model"]
        return self.state(
            services.fallback_set(organization_id=organization_id, acting=self.acting(request), target=target)
        )
