"""Spending limits for hosted models."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from kilo_gateway.api_schema import Kind, Tag, described
from organizations.management_api.shapes import Shape
from organizations.management_api.views import ManagementView
from organizations.models import Organization
from organizations.permissions import Ability
from routing.domain.spending import Period
from routing.services.spending_limits import MANAGERS_LIMIT, MAX_MICRODOLLARS, SpendingLimits, spending_limits_set
from routing.spending_selectors import Limits, Spent, spending_state

TAG = Tag.SPENDING_LIMITS


class Microdollars(serializers.IntegerField):
    """An amount, or null for no limit; no text is taken for a number."""

    def __init__(self, **options: Any) -> None:
        super().__init__(min_value=0, max_value=MAX_MICRODOLLARS, allow_null=True, **options)

    def to_internal_value(self, data: Any) -> int:
        if not isinstance(data, int) or isinstance(data, bool):
            self.fail("invalid")
        return int(super().to_internal_value(data))


class PersonId(serializers.UUIDField):
    """The id of a person, as text."""

    def to_internal_value(self, data: Any) -> UUID:
        if not isinstance(data, str):
            self.fail("invalid", value=data)
        return super().to_internal_value(data)


class LimitPair(Shape):
    day_microdollars = Microdollars(help_text="A day of UTC; null: no limit.")
    month_microdollars = Microdollars(help_text="A month of UTC; null: no limit.")


class OwnLimits(LimitPair):
    user_id = PersonId()


class SpendingLimitsBody(Shape):
    organization = LimitPair(help_text="For all members together.")
    each_member = LimitPair(help_text="For each member who has no limits of his own.")
    members = OwnLimits(many=True, help_text="Members with limits of their own.")

    def validate_members(self, members: list[dict[str, Any]]) -> list[dict[str, Any]]:
        if len({member["user_id"] for member in members}) < len(members):
            raise serializers.ValidationError("The same person is there twice.")
        return members


class SpentSerializer(serializers.Serializer[Any]):
    day_microdollars = serializers.IntegerField(help_text="In the present day of UTC.")
    month_microdollars = serializers.IntegerField(help_text="In the present month of UTC.")
    reserved_microdollars = serializers.IntegerField(help_text="What running requests may cost at most.")


class MemberSpentSerializer(SpentSerializer):
    user_id = serializers.UUIDField()
    email = serializers.CharField()


class SpendingSerializer(SpentSerializer):
    balance_microdollars = serializers.IntegerField(allow_null=True, help_text="Null: no balance is kept.")
    members = MemberSpentSerializer(many=True, help_text="Those who have spent something or have limits of their own.")
    day_ends_at = serializers.DateTimeField()
    month_ends_at = serializers.DateTimeField()


class SpendingLimitsSerializer(SpendingLimitsBody):
    spending = SpendingSerializer()
    routing_version = serializers.IntegerField()


class SpendingLimitsView(ManagementView):
    """What may be spent on hosted models in a day and a month."""

    reading_needs = (Ability.MANAGE_SPENDING, MANAGERS_LIMIT)

    @described(
        "get_spending_limits",
        "Read the spending limits",
        tag=TAG,
        answer=SpendingLimitsSerializer,
        has_version=True,
    )
    def get(self, request: Request, organization_id: UUID) -> Response:
        """The limits, and what counts against them now."""
        return self.answer(_shape(self.organization), self.organization)

    @described(
        "set_spending_limits",
        "Replace the spending limits",
        tag=TAG,
        kind=Kind.WRITE,
        body=SpendingLimitsBody,
        answer=SpendingLimitsSerializer,
        has_version=True,
    )
    def put(self, request: Request, organization_id: UUID) -> Response:
        """They are held against what was spent in the present day and month, from the next request on. Free models and
        requests with the organization's own provider keys are never limited.
        """
        body = self.body(request, SpendingLimitsBody)
        limits = SpendingLimits(
            organization=_limits(body["organization"]),
            each_member=_limits(body["each_member"]),
            members={member["user_id"]: _limits(member) for member in body["members"]},
        )
        organization = spending_limits_set(organization_id=organization_id, acting=self.acting(request), limits=limits)
        return self.answer(_shape(organization), organization)


def _limits(pair: dict[str, Any]) -> Limits:
    return Limits(pair["day_microdollars"], pair["month_microdollars"])


def _shape(organization: Organization) -> dict[str, Any]:
    now = datetime.now(UTC)
    state = spending_state(organization.pk, now)
    return {
        "organization": _pair(state.organization),
        "each_member": _pair(state.each_member),
        "members": [
            {"user_id": member.user_id, **_pair(member.own_limits)}
            for member in state.members
            if member.own_limits is not None
        ],
        "spending": {
            "balance_microdollars": state.balance,
            **_spent(state.spent),
            "members": [
                {"user_id": member.user_id, "email": member.email, **_spent(member.spent)} for member in state.members
            ],
            "day_ends_at": Period.DAY.reset_at(now),
            "month_ends_at": Period.MONTH.reset_at(now),
        },
    }


def _pair(limits: Limits) -> dict[str, int | None]:
    return {"day_microdollars": limits.day, "month_microdollars": limits.month}


def _spent(spent: Spent) -> dict[str, int]:
    return {
        "day_microdollars": spent.day,
        "month_microdollars": spent.month,
        "reserved_microdollars": spent.reserved,
    }
