"""Custom modes, and what becomes of their routes."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from kilo_gateway.api_schema import ORGANIZATION_ID, Kind, Tag, described
from organizations.management_api.shapes import Flag, Nothing, QueryFlag, Shape, Slug, Text
from organizations.management_api.views import version_tag
from organizations.modes.models import CustomMode
from organizations.modes.schema import ModeConfigField, ModeSerializer
from organizations.modes.selectors import mode_or_404, mode_row, modes_of
from routing.management_api.base import RoutingView
from routing.services.modes import ModeEdit, mode_create, mode_delete, mode_update
from routing.settings_selectors import route_of

TAG = Tag.MODES
ROUTE_MODEL = "The route of this mode: a model sets it, null clears it, absent leaves it."
PRESERVE_ROUTE = "Reverting to a built-in mode keeps the route. Refused for a custom mode, which takes its route along."


class ModesSerializer(serializers.Serializer[Any]):
    modes = ModeSerializer(many=True)


class ModeStateSerializer(serializers.Serializer[Any]):
    mode = ModeSerializer(allow_null=True, help_text="Null: there is no such custom mode any more.")
    route_model = serializers.CharField(allow_null=True, help_text="The route that is stored for its slug.")
    routing_version = serializers.IntegerField()


class NewMode(Shape):
    name = Text(max_length=100)
    slug = Slug()
    config = ModeConfigField()
    route_model = Text(required=False, allow_null=True, help_text=ROUTE_MODEL)


class ModeChanges(Shape):
    name = Text(required=False, max_length=100)
    slug = Slug(required=False)
    config = ModeConfigField(required=False)
    route_model = Text(required=False, allow_null=True, help_text=ROUTE_MODEL)


class Removal(Shape):
    preserve_route = Flag(required=False, help_text=PRESERVE_ROUTE)
    route_model = Text(required=False, allow_null=True)


class RemovalQuery(Shape):
    preserve_route = QueryFlag(required=False, help_text=PRESERVE_ROUTE)
    route_model = Text(
        required=False, allow_blank=True, help_text="Reverting to a built-in mode sets the route; blank clears it."
    )


class ModeStateView(RoutingView):
    """An endpoint that answers with one mode."""

    def state(self, organization_id: UUID, mode: CustomMode | None, slug: str, *, status: int = 200) -> Response:
        organization, route = route_of(organization_id, slug)
        state = {"mode": mode_row(mode) if mode else None, "route_model": route}
        return self.answer(state, organization, status=status)


class ModesView(ModeStateView):
    """All custom modes."""

    open_to_every_key = frozenset({"GET"})

    @described(
        "list_modes",
        "List the custom modes",
        tag=TAG,
        answer=ModesSerializer,
        parameters=[ORGANIZATION_ID],
        has_version=True,
    )
    def get(self, request: Request, organization_id: UUID) -> Response:
        """The stored modes, oldest first. Any valid key may read them."""
        modes = [mode_row(mode) for mode in modes_of(self.organization.pk)]
        return Response({"modes": modes}, headers=version_tag(self.organization.routing_version))

    @described(
        "create_mode",
        "Create a mode",
        tag=TAG,
        kind=Kind.WRITE,
        body=NewMode,
        answer=ModeStateSerializer,
        parameters=[ORGANIZATION_ID],
        status=201,
        has_version=True,
    )
    def post(self, request: Request, organization_id: UUID) -> Response:
        """A mode with the slug of a built-in one overrides it."""
        fields = self.body(request, NewMode)
        mode = mode_create(organization_id=self.organization.pk, acting=self.acting(request), **fields)
        return self.state(mode.organization_id, mode, mode.slug, status=201)


class ModeView(ModeStateView):
    """One custom mode."""

    queries = {"DELETE": RemovalQuery}

    @described("get_mode", "Read a mode", tag=TAG, answer=ModeStateSerializer, has_version=True)
    def get(self, request: Request, organization_id: UUID, mode_id: UUID) -> Response:
        """The mode, and the route that is stored for its slug."""
        mode = mode_or_404(organization_id, mode_id)
        return self.state(organization_id, mode, mode.slug)

    @described(
        "update_mode",
        "Change a mode",
        tag=TAG,
        kind=Kind.WRITE,
        body=ModeChanges,
        answer=ModeStateSerializer,
        has_version=True,
    )
    def patch(self, request: Request, organization_id: UUID, mode_id: UUID) -> Response:
        """Renaming the slug moves the route along; 409 `route_in_use` where the new slug has one already. The slug of
        an override is that of its built-in mode: another one is refused with 400 `built_in_slug`. An override that
        equals its built-in mode again is removed, and then `mode` is null.
        """
        fields = self.body(request, ModeChanges)
        slug = mode_or_404(organization_id, mode_id).slug
        mode = mode_update(
            organization_id=organization_id, mode_id=mode_id, acting=self.acting(request), edit=ModeEdit(**fields)
        )
        return self.state(organization_id, mode, mode.slug if mode else slug)

    @described(
        "delete_mode",
        "Delete a mode, or revert it to the built-in one",
        tag=TAG,
        kind=Kind.WRITE,
        answer=ModeStateSerializer,
        parameters=[RemovalQuery],
        has_version=True,
    )
    def delete(self, request: Request, organization_id: UUID, mode_id: UUID) -> Response:
        """The route of a custom mode goes with it. An override of a built-in mode is reverted; its route stays with
        `preserve_route`, or becomes `route_model`, and both are refused for a custom mode. They may stand in a JSON
        body instead of the address.
        """
        removal = self._removal(request)
        slug = mode_or_404(organization_id, mode_id).slug
        mode_delete(organization_id=organization_id, mode_id=mode_id, acting=self.acting(request), **removal)
        return self.state(organization_id, None, slug)

    def _removal(self, request: Request) -> dict[str, Any]:
        """What the address or the body says, not both; a blank `route_model` in the address is null."""
        if not self.query:
            return self.body(request, Removal)
        self.body(request, Nothing)
        return {key: None if value == "" else value for key, value in self.query.items()}
