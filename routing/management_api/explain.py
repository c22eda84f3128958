"""Which model a request would go to, and why."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from kilo_gateway.api_kinds import ApiKind
from kilo_gateway.api_schema import Kind, Tag, described
from organizations.management_api.shapes import Shape, Text, Texts
from routing.domain.resolve import read_request
from routing.domain.types import MAX_ROUTES, ORGANIZATION_AUTO, TargetKind
from routing.explanation import explained
from routing.management_api.base import RoutingView
from routing.services.organization_auto import SLUG

API_KINDS = [kind.value for kind in ApiKind]


class Routes(serializers.DictField):
    """Targets by the slug of a mode."""

    child = Text()

    def to_internal_value(self, data: Any) -> Any:
        routes = super().to_internal_value(data)
        if unknown := next((slug for slug in routes if not SLUG.fullmatch(slug)), None):
            raise serializers.ValidationError([f'"{unknown[:50]}" is not the slug of a mode.'])
        if len(routes) > MAX_ROUTES:
            raise serializers.ValidationError([f"An organization has at most {MAX_ROUTES} routes."])
        return routes


class DraftAuto(Shape):
    routes = Routes(required=False)
    fallback_model = Text(required=False, allow_null=True)


class Providers(Texts):
    """As the model policy stores them."""

    def to_internal_value(self, data: Any) -> list[str]:
        return [slug.strip().lower() for slug in super().to_internal_value(data)]


class Draft(Shape):
    default_model = Text(required=False, allow_null=True)
    org_auto_model = DraftAuto(required=False, allow_null=True)
    provider_allow_list = Providers(required=False, allow_null=True)
    model_deny_list = Texts(required=False)
    data_collection = serializers.ChoiceField(choices=["allow", "deny"], required=False, allow_null=True)


class Question(Shape):
    model = Text(required=False, help_text=f"The model asked for; `{ORGANIZATION_AUTO}` by default.")
    mode = Text(required=False, allow_blank=True, help_text="As in the header `x-kilocode-mode`.")
    api_kind = serializers.ChoiceField(choices=API_KINDS, required=False, allow_null=True, help_text="Null: any.")
    draft = Draft(required=False, help_text="Settings that are not saved, in place of all stored ones.")


class StepSerializer(serializers.Serializer[Any]):
    name = serializers.CharField()
    looked_at = serializers.CharField(allow_blank=True)
    outcome = serializers.CharField()
    reason = serializers.CharField(allow_blank=True)


class RefusalSerializer(serializers.Serializer[Any]):
    code = serializers.CharField()
    message = serializers.CharField()


class OutcomeSerializer(serializers.Serializer[Any]):
    resolved_models = serializers.ListField(child=serializers.CharField())
    reasoning_effort = serializers.CharField(allow_null=True)
    verbosity = serializers.CharField(allow_null=True)
    refusal = RefusalSerializer(allow_null=True)


class ExplanationSerializer(serializers.Serializer[Any]):
    model = serializers.CharField(allow_blank=True)
    mode = serializers.CharField(allow_blank=True)
    mode_source = serializers.CharField(help_text="Where the mode was found.")
    api_kind = serializers.ChoiceField(choices=API_KINDS, allow_null=True)
    route = serializers.CharField(allow_null=True, help_text="By which rule the target was found.")
    target = serializers.CharField(allow_null=True)
    kind = serializers.ChoiceField(choices=[kind.value for kind in TargetKind], allow_null=True)
    resolved_models = serializers.ListField(
        child=serializers.CharField(), help_text="What the upstream is asked for; of several, a session is given one."
    )
    provider = serializers.CharField(allow_null=True, help_text="The direct provider; null for hosted models.")
    credential = serializers.CharField(allow_null=True, help_text="The public id of its key.")
    only_providers = serializers.DictField(
        child=serializers.ListField(child=serializers.CharField()),
        help_text="The providers to which the model policy confines a model.",
    )
    reasoning_effort = serializers.CharField(allow_null=True)
    verbosity = serializers.CharField(allow_null=True)
    refusal = RefusalSerializer(allow_null=True, help_text="Why there is no decision; null when there is one.")
    by_api_kind = serializers.DictField(
        child=OutcomeSerializer(),
        help_text="Without an `api_kind`: the APIs in which something else comes out, and what.",
    )
    steps = StepSerializer(many=True)
    routing_version = serializers.IntegerField()


class ExplainView(RoutingView):
    """What the proxy would decide."""

    @described(
        "explain",
        "Explain a decision",
        tag=Tag.EXPLAIN,
        kind=Kind.QUESTION,
        body=Question,
        answer=ExplanationSerializer,
        has_version=True,
    )
    def post(self, request: Request, organization_id: UUID) -> Response:
        """Resolves a request as the proxy would, sends nothing, and tells each step. With `draft` it is resolved under
        settings that are not saved. A refusal is an answer, not an error.
        """
        question = self.body(request, Question)
        api_kind = ApiKind(question["api_kind"]) if question.get("api_kind") else None
        asked = read_request(question.get("model", ORGANIZATION_AUTO), question.get("mode", ""))
        told = explained(self.organization, asked, api_kind, draft=question.get("draft"))
        return self.answer(told, told["routing_version"])
