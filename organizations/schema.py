"""How people and organizations look to clients, for the description of the API."""

from __future__ import annotations

from typing import Any

from rest_framework import serializers

from organizations.models import Plan, Role


class UserSerializer(serializers.Serializer[Any]):
    id = serializers.UUIDField()
    email = serializers.CharField()
    name = serializers.CharField(allow_blank=True)


class OrganizationSerializer(serializers.Serializer[Any]):
    id = serializers.UUIDField()
    name = serializers.CharField()
    plan = serializers.ChoiceField(choices=Plan.values)
    role = serializers.ChoiceField(choices=Role.values, help_text="What the person is in it.")
    settings = serializers.DictField(help_text="The settings of routing; what is not set is absent.")
