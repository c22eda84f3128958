"""Hosted balances and spending limits, and what counts against them."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.db.models import OuterRef, Subquery
from django.http import HttpRequest

from kilo_gateway.admin_site import StaffAdmin
from organizations.models import User
from routing.domain.spending import dollars
from routing.models import HostedBalance, MemberSpending
from routing.models.spending import Spending


def _amount(microdollars: int | None) -> str | None:
    return None if microdollars is None else dollars(microdollars)


class SpendingAdmin(StaffAdmin):
    """Read-only: limits are set by the organization's people, and the counters are the sums of its usage."""

    hidden_fields = ("organization__settings",)
    list_select_related = ("organization",)
    linked_lookups = ("organization__id__exact",)
    search_fields = ("organization__name",)
    search_help_text = "Part of the organization's name."

    @admin.display(description="Limit a day", ordering="day_limit_microdollars")
    def day_limit(self, obj: Spending) -> str | None:
        return _amount(obj.day_limit_microdollars)

    @admin.display(description="Limit a month", ordering="month_limit_microdollars")
    def month_limit(self, obj: Spending) -> str | None:
        return _amount(obj.month_limit_microdollars)

    @admin.display(description="Spent on the last day", ordering="day_spent_microdollars")
    def day_spent(self, obj: Spending) -> str:
        spent = dollars(obj.day_spent_microdollars)
        return f"{spent} on {obj.day}" if obj.day_spent_microdollars else spent

    @admin.display(description="Spent in the last month", ordering="month_spent_microdollars")
    def month_spent(self, obj: Spending) -> str:
        spent = dollars(obj.month_spent_microdollars)
        return f"{spent} in {obj.month:%Y-%m}" if obj.month_spent_microdollars else spent

    @admin.display(description="Reserved", ordering="reserved_microdollars")
    def reserved(self, obj: Spending) -> str:
        return dollars(obj.reserved_microdollars)

    def audit_filter(self, obj: Any) -> dict[str, str]:
        return {"organization": str(obj.organization_id), "action": "settings.spending_limits.changed"}


@admin.register(HostedBalance)
class HostedBalanceAdmin(SpendingAdmin):
    list_display = ("organization", "balance", "day_limit", "month_limit", "day_spent", "month_spent", "reserved")
    ordering = ("organization__name",)
    fields = (
        "organization",
        "balance",
        "day_limit",
        "month_limit",
        "member_day_limit",
        "member_month_limit",
        "day_spent",
        "month_spent",
        "reserved",
        "updated_at",
    )
    readonly_fields = fields

    @admin.display(description="Balance", ordering="balance_microdollars")
    def balance(self, obj: HostedBalance) -> str | None:
        return _amount(obj.balance_microdollars)

    @admin.display(description="Limit a day of each member")
    def member_day_limit(self, obj: HostedBalance) -> str | None:
        return _amount(obj.member_day_limit_microdollars)

    @admin.display(description="Limit a month of each member")
    def member_month_limit(self, obj: HostedBalance) -> str | None:
        return _amount(obj.member_month_limit_microdollars)


@admin.register(MemberSpending)
class MemberSpendingAdmin(SpendingAdmin):
    list_display = (
        "person",
        "organization",
        "has_own_limits",
        "day_limit",
        "month_limit",
        "day_spent",
        "month_spent",
        "reserved",
    )
    list_filter = ("has_own_limits",)
    ordering = ("-pk",)
    fields = list_display
    readonly_fields = fields

    def get_queryset(self, request: HttpRequest) -> Any:
        email = User.objects.filter(pk=OuterRef("user_id")).values("email")
        return super().get_queryset(request).annotate(person_email=Subquery(email))

    @admin.display(description="Person")
    def person(self, obj: Any) -> str:
        """By email, or the id of somebody who is gone."""
        return obj.person_email or str(obj.user_id)
