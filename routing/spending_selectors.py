"""What is spent on hosted models, what is reserved, and which limits there are for it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from django.db import DEFAULT_DB_ALIAS
from django.db.models import QuerySet

from kilo_gateway.fixed_query import FixedQuery, columns_of
from organizations.models import User
from routing.domain.spending import Allowance, Period, Scope
from routing.models import HostedBalance, MemberSpending
from routing.models.spending import Spending


@dataclass(frozen=True, slots=True)
class Limits:
    """At most so many microdollars a day and a month; None: as many as there are."""

    day: int | None = None
    month: int | None = None


@dataclass(frozen=True, slots=True)
class Spent:
    """What counts against limits at one moment."""

    day: int = 0
    month: int = 0
    reserved: int = 0


@dataclass(frozen=True, slots=True)
class MemberState:
    """One member: his own limits, if those of each member are not his, and what he has spent."""

    user_id: UUID
    email: str
    own_limits: Limits | None
    spent: Spent


@dataclass(frozen=True, slots=True)
class SpendingState:
    """All limits of an organization, and how far they are used up.

    Attributes:
        members: Those of the present members who have limits of their own or have spent something, by email.
    """

    organization: Limits
    each_member: Limits
    members: tuple[MemberState, ...]
    balance: int | None
    spent: Spent


_COLUMNS: Final = columns_of(HostedBalance)


def _account(organization_id: UUID) -> QuerySet[HostedBalance, tuple[Any, ...]]:
    return HostedBalance.objects.filter(pk=organization_id).values_list(*_COLUMNS)


_ACCOUNT: Final = FixedQuery(_account, UUID(int=1))


def account_state(organization_id: UUID, at: datetime) -> SpendingState:
    """The same without the members: the limits of an organization, and what is spent at this moment. One query."""
    rows = _ACCOUNT.rows(organization_id)
    stored = HostedBalance.from_db(DEFAULT_DB_ALIAS, _COLUMNS, rows[0]) if rows else None
    account = stored or HostedBalance(pk=organization_id)
    return SpendingState(
        organization=limits_of(account),
        each_member=each_member_limits(account),
        members=(),
        balance=account.balance_microdollars,
        spent=spent_of(account, at),
    )


def spending_state(organization_id: UUID, at: datetime) -> SpendingState:
    """The limits of an organization and its members, and what is spent at this moment. Three queries."""
    rows = {row.user_id: row for row in MemberSpending.objects.filter(organization_id=organization_id)}
    people = User.objects.filter(pk__in=rows, memberships__organization_id=organization_id).order_by("email")
    members = tuple(
        MemberState(
            user_id=user_id,
            email=email,
            own_limits=limits_of(rows[user_id]) if rows[user_id].has_own_limits else None,
            spent=spent_of(rows[user_id], at),
        )
        for user_id, email in people.values_list("pk", "email")
    )
    return replace(account_state(organization_id, at), members=members)


def limits_of(row: Spending) -> Limits:
    """The limits that stand in a row."""
    return Limits(row.day_limit_microdollars, row.month_limit_microdollars)


def each_member_limits(account: HostedBalance) -> Limits:
    """The limits of members who have none of their own."""
    return Limits(account.member_day_limit_microdollars, account.member_month_limit_microdollars)


def spent_of(row: Spending, at: datetime) -> Spent:
    """What counts at a moment: nothing of a day or a month before it. A row that is not stored yet counts nothing."""
    if row._state.adding:  # noqa: SLF001 - Django's own way to tell
        return Spent()
    return Spent(
        day=row.day_spent_microdollars if row.day >= Period.DAY.start(at) else 0,
        month=row.month_spent_microdollars if row.month >= Period.MONTH.start(at) else 0,
        reserved=row.reserved_microdollars,
    )


def allowances_of(organization_id: UUID, user_id: UUID, at: datetime) -> list[Allowance]:
    """Every limit that a request of this person's is held against, the organization's balance first. Two queries."""
    account = HostedBalance.objects.filter(pk=organization_id).first()
    if account is None:
        return []
    member = MemberSpending.objects.filter(organization_id=organization_id, user_id=user_id).first()
    own = member is not None and member.has_own_limits
    spent = spent_of(account, at)
    found = []
    if account.balance_microdollars is not None:
        found.append(Allowance(Scope.BALANCE, None, account.balance_microdollars, 0, spent.reserved))
    found += _allowances(Scope.ORGANIZATION, limits_of(account), spent)
    limits = limits_of(member) if member is not None and own else each_member_limits(account)
    return found + _allowances(Scope.MEMBER, limits, Spent() if member is None else spent_of(member, at))


def _allowances(scope: Scope, limits: Limits, spent: Spent) -> list[Allowance]:
    both = ((Period.DAY, limits.day, spent.day), (Period.MONTH, limits.month, spent.month))
    return [
        Allowance(scope, period, limit, so_far, spent.reserved) for period, limit, so_far in both if limit is not None
    ]
