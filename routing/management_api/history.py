"""The versions of the settings: reading, comparing and restoring them."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any
from uuid import UUID

from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from kilo_gateway.api_schema import Kind, Tag, described
from organizations.management_api.shapes import Nothing, Shape
from organizations.models import SettingsVersion
from organizations.selectors import routing_settings
from routing.management_api.base import RoutingView
from routing.services.history import settings_restore
from routing.settings_selectors import HISTORY_PAGE, settings_comparison, settings_versions

TAG = Tag.HISTORY
MAX_VERSION = 10**18 - 1


class VersionPersonSerializer(serializers.Serializer[Any]):
    id = serializers.UUIDField()
    email = serializers.CharField()


class VersionSerializer(serializers.Serializer[Any]):
    version = serializers.IntegerField(help_text="The routing version from which on these settings were in force.")
    created_at = serializers.DateTimeField()
    actor = VersionPersonSerializer(allow_null=True, help_text="Null: staff or the installation itself.")
    action = serializers.CharField(help_text="As in the audit log.")
    message = serializers.CharField()


class HistorySerializer(serializers.Serializer[Any]):
    versions = VersionSerializer(many=True, help_text="Newest first.")
    next_before = serializers.IntegerField(allow_null=True, help_text="For `before`, to read older ones; null: none.")
    routing_version = serializers.IntegerField()


class DifferenceSerializer(serializers.Serializer[Any]):
    path = serializers.CharField()
    before = serializers.JSONField(allow_null=True)
    after = serializers.JSONField(allow_null=True)


class ComparisonSerializer(VersionSerializer):
    settings = serializers.DictField(help_text="The settings of routing as they were.")
    against = serializers.IntegerField(allow_null=True, help_text="The version that this one is compared with.")
    differences = DifferenceSerializer(many=True)
    routing_version = serializers.IntegerField()


class RestoredSerializer(serializers.Serializer[Any]):
    settings = serializers.DictField(help_text="The settings of routing as they are now.")
    routing_version = serializers.IntegerField()


class HistoryQuery(Shape):
    before = serializers.IntegerField(required=False, min_value=1, max_value=MAX_VERSION)


class ComparisonQuery(Shape):
    against = serializers.IntegerField(
        required=False, min_value=1, max_value=MAX_VERSION, help_text="The version before it by default."
    )


class HistoryView(RoutingView):
    """All kept versions."""

    queries = {"GET": HistoryQuery}

    @described(
        "list_history",
        "List the versions of the settings",
        tag=TAG,
        answer=HistorySerializer,
        parameters=[HistoryQuery],
        has_version=True,
    )
    def get(self, request: Request, organization_id: UUID) -> Response:
        """Newest first, 100 at a time."""
        versions = settings_versions(organization_id, before=self.query.get("before"))
        more = versions[-1].routing_version if len(versions) == HISTORY_PAGE else None
        return self.answer(
            {"versions": [_row(version) for version in versions], "next_before": more}, self.organization
        )


class VersionView(RoutingView):
    """One kept version."""

    queries = {"GET": ComparisonQuery}

    @described(
        "get_version",
        "Read a version and what it changed",
        tag=TAG,
        answer=ComparisonSerializer,
        parameters=[ComparisonQuery],
        has_version=True,
    )
    def get(self, request: Request, organization_id: UUID, version: int) -> Response:
        """The settings of routing as they were, and the difference to another version. Not every routing version has
        one: a change of a provider key raises the routing version and leaves the settings alone.
        """
        comparison = settings_comparison(organization_id, version, against=self.query.get("against"))
        state = {
            **_row(comparison.version),
            "settings": comparison.settings,
            "against": comparison.against.routing_version if comparison.against else None,
            "differences": [asdict(difference) for difference in comparison.differences],
        }
        return self.answer(state, self.organization)


class RestoreView(RoutingView):
    """Going back to a kept version."""

    @described(
        "restore_version",
        "Restore a version",
        tag=TAG,
        kind=Kind.WRITE,
        answer=RestoredSerializer,
        has_version=True,
    )
    def post(self, request: Request, organization_id: UUID, version: int) -> Response:
        """An ordinary change: what does not validate today refuses it whole, and `broken` lists the routes."""
        self.body(request, Nothing)
        organization = settings_restore(organization_id=organization_id, acting=self.acting(request), version=version)
        return self.answer({"settings": routing_settings(organization)}, organization)


def _row(version: SettingsVersion) -> dict[str, Any]:
    actor = {"id": version.actor_id, "email": version.actor_email} if version.actor_id else None
    return {
        "version": version.routing_version,
        "created_at": version.created_at,
        "actor": actor,
        "action": version.audit_log.action,
        "message": version.audit_log.message,
    }
