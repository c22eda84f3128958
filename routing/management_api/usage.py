"""What was used and what it cost."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from uuid import UUID

from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from kilo_gateway.api_schema import Tag, described
from organizations.management_api.time_range import TimeRange
from organizations.management_api.views import ManagementView
from organizations.refusals import invalid
from routing.usage.sums import Group, usage_scope, whole_days
from routing.usage_selectors import LONGEST_DAYS, MAX_GROUPS, UsageBy, usage_report

DEFAULT_RANGE: Final = timedelta(days=30)
ORGANIZATION: Final = "organization"
OWN: Final = "own"


class UsageSumsSerializer(serializers.Serializer[Any]):
    requests = serializers.IntegerField()
    failed_requests = serializers.IntegerField(help_text="Requests that were answered with a status of 400 or more.")
    cancelled_requests = serializers.IntegerField(help_text="The client went away.")
    byok_requests = serializers.IntegerField(help_text="Served with a key of the organization's own.")
    input_tokens = serializers.IntegerField()
    output_tokens = serializers.IntegerField()
    cache_read_tokens = serializers.IntegerField()
    cache_write_tokens = serializers.IntegerField()
    reasoning_tokens = serializers.IntegerField()
    hosted_cost_microdollars = serializers.IntegerField(help_text="What was charged: millionths of a US dollar.")
    market_cost_microdollars = serializers.IntegerField(help_text="What it would have cost at list prices.")


_SHOWN: Final = tuple(UsageSumsSerializer().fields)


class UsageGroupSerializer(UsageSumsSerializer):
    key = serializers.CharField(
        allow_blank=True, help_text="A day (UTC), a mode, a model or a person's id; blank: none was said or resolved."
    )
    email = serializers.CharField(allow_null=True, required=False, help_text="By member: null for one who is gone.")


class UsageSerializer(serializers.Serializer[Any]):
    scope = serializers.ChoiceField(choices=[ORGANIZATION, OWN], help_text="Whose usage it is.")
    group_by = serializers.ChoiceField(choices=[by.value for by in UsageBy])
    groups = UsageGroupSerializer(many=True, help_text="Days in their order, others with the most requests first.")
    totals = UsageSumsSerializer()
    is_cut = serializers.BooleanField(help_text=f"There are more than {MAX_GROUPS} groups; the totals have them all.")

    # `from` cannot be the name of an attribute.
    def get_fields(self) -> dict[str, Any]:
        ends = {
            "from": serializers.DateTimeField(help_text="The range that was read."),
            "to": serializers.DateTimeField(),
        }
        return {**super().get_fields(), **ends}


class UsageQuery(TimeRange):
    group_by = serializers.ChoiceField(
        choices=[by.value for by in UsageBy], required=False, help_text="`day` by default."
    )


class UsageView(ManagementView):
    """Usage, summed up."""

    queries = {"GET": UsageQuery}

    @described("get_usage", "Read the usage", tag=Tag.RECORDS, answer=UsageSerializer, parameters=[UsageQuery])
    def get(self, request: Request, organization_id: UUID) -> Response:
        """The last 30 days and today unless `from` and `to` say otherwise; 366 at most. The whole organization's for
        owners, admins and billing managers, for members their own. Where only daily sums are kept any more, a range
        that begins or ends inside a day has all of it.
        """
        by = UsageBy(self.query.get("group_by", UsageBy.DAY))
        scope = usage_scope(self.membership)
        since, until = whole_days(*self._range())
        report = usage_report(scope, by, since=since, until=until)
        return Response(
            {
                "scope": OWN if scope.is_own else ORGANIZATION,
                "group_by": by.value,
                "from": since,
                "to": until,
                "groups": [_row(group, by) for group in report.groups],
                "totals": _sums(report.totals),
                "is_cut": report.is_cut,
            }
        )

    def _range(self) -> tuple[datetime, datetime]:
        until = self.query.get("to", datetime.now(UTC))
        since = self.query.get("from") or _first_day(until)
        if since >= until:
            raise invalid("from", "It must be in the past.")
        if until - since > timedelta(days=LONGEST_DAYS):
            raise invalid("from", f"The range may have at most {LONGEST_DAYS} days.")
        return since, until


def _first_day(until: datetime) -> datetime:
    """The beginning of the day that is thirty days before."""
    since = until - min(DEFAULT_RANGE, until - datetime.min.replace(tzinfo=UTC))
    return since.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)


def _row(group: Group, by: UsageBy) -> dict[str, Any]:
    key = str(group.key)
    email = {"email": group.label or None} if by is UsageBy.MEMBER else {}
    return {"key": key, **email, **_sums(group.sums)}


def _sums(sums: Mapping[str, int]) -> dict[str, int]:
    return {name: sums[name] for name in _SHOWN}
