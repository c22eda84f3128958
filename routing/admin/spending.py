"""Hosted balances and spending limits, and what counts against them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django import forms
from django.contrib import admin
from django.db.models import OuterRef, Subquery
from django.http import HttpRequest

from kilo_gateway.admin_site import StaffAdmin
from organizations.models import User
from organizations.staff import staff_acting
from routing.domain.cost import MICRODOLLARS
from routing.domain.spending import dollars
from routing.models import HostedBalance, MemberSpending
from routing.models.spending import Spending
from routing.services.hosted_balance import hosted_balance_adjust, hosted_balance_set

if TYPE_CHECKING:
    _BalanceForm = forms.ModelForm[HostedBalance]
else:
    _BalanceForm = forms.ModelForm


def _amount(microdollars: int | None) -> str | None:
    return None if microdollars is None else dollars(microdollars)


class DollarsField(forms.DecimalField):
    """An amount of dollars, as whole microdollars."""

    def __init__(self, **options: Any) -> None:
        super().__init__(max_digits=16, decimal_places=6, **options)

    def clean(self, value: Any) -> Any:
        amount = super().clean(value)
        return None if amount is None else int(amount * MICRODOLLARS)


class NewBalanceForm(_BalanceForm):
    """The first balance of an organization."""

    dollars = DollarsField(label="Balance in dollars", min_value=0)

    class Meta:
        model = HostedBalance
        fields = ("organization",)


class BalanceForm(_BalanceForm):
    """What becomes of a balance; the amounts that requests change meanwhile are not part of it."""

    SET, ADD, NONE = "set", "add", "none"
    change = forms.ChoiceField(
        label="Change the balance",
        choices=[("", "Leave it"), (SET, "Set it to"), (ADD, "Add to it"), (NONE, "Keep no balance")],
        required=False,
        help_text="Without a balance, none limits what is spent on hosted models.",
    )
    dollars = DollarsField(label="Dollars", required=False, help_text="To take off, add a negative amount.")

    class Meta:
        model = HostedBalance
        fields = ()

    def clean(self) -> dict[str, Any]:
        cleaned = super().clean() or self.cleaned_data
        has_amount = cleaned.get("dollars") is not None
        if cleaned.get("change") in {self.SET, self.ADD} and not has_amount and "dollars" not in self.errors:
            self.add_error("dollars", "How much?")
        if cleaned.get("change") in {"", self.NONE} and has_amount:
            self.add_error("change", "What is the amount for?")
        return cleaned


class SpendingAdmin(StaffAdmin):
    """Limits are set by the organization's people, and the counters are the sums of its usage: both are read-only."""

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
    """The balance itself is what staff changes, by a service that nothing of a running request gets lost in."""

    can_add = can_change = True
    raw_id_fields = ("organization",)
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
        "change",
        "dollars",
    )
    readonly_fields = fields[:-2]

    def get_form(self, request: HttpRequest, obj: Any = None, change: bool = False, **kwargs: Any) -> Any:  # noqa: FBT001, FBT002 - Django's
        kwargs["form"] = BalanceForm if obj else NewBalanceForm
        return super().get_form(request, obj, change, **kwargs)

    def get_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        return self.fields if obj else ("organization", "dollars")

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> Any:
        return self.readonly_fields if obj else ()

    def save_model(self, request: HttpRequest, obj: HostedBalance, form: Any, change: bool) -> None:  # noqa: FBT001 - Django's
        asked, amount = form.cleaned_data.get("change", BalanceForm.SET), form.cleaned_data["dollars"]
        acting, organization_id = staff_acting(request), obj.organization_id
        if asked == BalanceForm.ADD:
            hosted_balance_adjust(organization_id=organization_id, acting=acting, microdollars=amount)
        elif asked:
            hosted_balance_set(organization_id=organization_id, acting=acting, microdollars=amount)

    def audit_filter(self, obj: Any) -> dict[str, str]:
        return {"organization": str(obj.organization_id), "action": "organization.hosted_balance.changed"}

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
