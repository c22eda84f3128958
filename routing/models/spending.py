"""What may be spent on hosted models and what counts against it, in whole microdollars (millionths of a US dollar)."""

from __future__ import annotations

from datetime import date
from typing import ClassVar

from django.db import models
from django.db.models import Q

# Before any day on which something was spent.
_NEVER = date(1970, 1, 1)


def _not_negative(*names: str) -> Q:
    condition = Q()
    for name in names:
        condition &= Q(**{f"{name}__isnull": True}) | Q(**{f"{name}__gte": 0})
    return condition


class Spending(models.Model):
    """Limits for a day and a month of UTC, none where null, and the counters that they are held against.

    `day` and `month` (its first day) are the latest in which something was spent, and the sums beside them are those of
    the hosted costs of the usage records of just that day and that month. `reserved_microdollars` is the sum of the
    reservations: what requests that run may cost at most.
    """

    day_limit_microdollars = models.BigIntegerField("limit a day", null=True, blank=True)
    month_limit_microdollars = models.BigIntegerField("limit a month", null=True, blank=True)
    day = models.DateField(db_default=_NEVER)
    day_spent_microdollars = models.BigIntegerField("spent that day", db_default=0)
    month = models.DateField(db_default=_NEVER)
    month_spent_microdollars = models.BigIntegerField("spent that month", db_default=0)
    reserved_microdollars = models.BigIntegerField("reserved", db_default=0)

    class Meta:
        abstract = True


class HostedBalance(Spending):
    """What an organization may still spend on hosted models: its balance, its limits, and what counts against them.

    No balance is kept where it is null, or where there is no row. A table of its own, so that reserving and settling
    never wait for, or hold, the lock on the organization's row. Whoever changes counters of an organization or of one
    of its members locks this row first.
    """

    organization = models.OneToOneField(
        "organizations.Organization", on_delete=models.CASCADE, primary_key=True, related_name="hosted_balance"
    )
    balance_microdollars = models.BigIntegerField("balance", null=True, blank=True)
    member_day_limit_microdollars = models.BigIntegerField("limit a day of each member", null=True, blank=True)
    member_month_limit_microdollars = models.BigIntegerField("limit a month of each member", null=True, blank=True)
    has_limits = models.BooleanField(
        db_default=False, help_text="Whether there is any limit, the members' own included: what requests look at."
    )
    updated_at = models.DateTimeField(auto_now=True)

    class Meta:
        verbose_name = "hosted balance and limits"
        verbose_name_plural = "hosted balances and limits"
        constraints: ClassVar = [
            models.CheckConstraint(
                condition=_not_negative(
                    "day_limit_microdollars",
                    "month_limit_microdollars",
                    "member_day_limit_microdollars",
                    "member_month_limit_microdollars",
                ),
                name="hosted_balance_limits_not_negative",
            )
        ]

    def __str__(self) -> str:
        return f"{self.balance_microdollars} microdollars"


class MemberSpending(Spending):
    """The same of one member of an organization. His limits are the organization's for each member, or his own."""

    organization = models.ForeignKey(
        "organizations.Organization", on_delete=models.CASCADE, related_name="+", db_index=False
    )
    user_id = models.UUIDField()
    has_own_limits = models.BooleanField(
        db_default=False, help_text="The limits of this row count, null ones too, and not those for each member."
    )

    class Meta:
        verbose_name = "spending of a member"
        verbose_name_plural = "spending of members"
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["organization", "user_id"], name="member_spending_unique"),
            models.CheckConstraint(
                condition=_not_negative("day_limit_microdollars", "month_limit_microdollars"),
                name="member_spending_limits_not_negative",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.user_id} in {self.organization_id}"


class SpendingReservation(models.Model):
    """What one running request may cost at most. Gone when its usage is written, or some time after its worker died."""

    request_id = models.UUIDField(primary_key=True)
    organization_id = models.UUIDField()
    user_id = models.UUIDField()
    amount_microdollars = models.BigIntegerField()
    expires_at = models.DateTimeField()

    class Meta:
        indexes: ClassVar = [
            models.Index(fields=["organization_id", "expires_at"], name="spending_reservation_expiry"),
        ]

    def __str__(self) -> str:
        return str(self.request_id)
