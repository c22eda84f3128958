"""Spending limits for hosted models: for the organization, for each member, and for single members."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import astuple, dataclass, fields
from typing import Any, Final
from uuid import UUID

from organizations.acting import Acting
from organizations.frame import changing
from organizations.models import AuditAction, Membership, Organization, User
from organizations.permissions import Ability
from organizations.refusals import invalid
from organizations.services import routing_version_raise
from routing.domain.spending import dollars
from routing.models import HostedBalance, MemberSpending
from routing.spending_selectors import Limits, each_member_limits, limits_of

MANAGERS_LIMIT: Final = "Only owners, admins and billing managers see and set spending limits."
# A billion dollars: whatever is more is a mistake, and sums of it have to fit where they are stored.
MAX_MICRODOLLARS: Final = 10**15


@dataclass(frozen=True, slots=True)
class SpendingLimits:
    """All limits of an organization; `members` are those who have limits of their own instead of each member's."""

    organization: Limits
    each_member: Limits
    members: Mapping[UUID, Limits]


def spending_limits_set(*, organization_id: UUID, acting: Acting, limits: SpendingLimits) -> Organization:
    """Replace all limits. They are held against what was spent in the present day and month, from the next request on.

    A limit of 0 lets no hosted request pass that costs something. Raises the routing version, so that of two people who
    have read the same limits only one replaces them. Writes nothing when nothing changes.

    Raises:
        Http404: no such organization, or the person does not belong to it.
        GatewayError: 403 `role_required`; 412 when the routing version is not the expected one; 400 by field for an
            amount that is out of range, or limits for somebody who is no member.
    """
    _require_amounts(limits)
    with changing(organization_id, acting) as change:
        change.require(Ability.MANAGE_SPENDING, MANAGERS_LIMIT)
        before = _stored(organization_id)
        if before == limits:
            return change.organization
        _require_members(organization_id, limits, before)
        _store(organization_id, limits)
        routing_version_raise(change.organization)
        changes = dict(_changes(before, limits))
        told = "; ".join(f"{name} from {_told(old)} to {_told(new)}" for name, (old, new) in changes.items())
        change.record(
            AuditAction.SPENDING_LIMITS_CHANGED,
            f"Spending limits changed: {told}",
            {name: (_kept(old), _kept(new)) for name, (old, new) in changes.items()},
        )
        return change.organization


def _require_amounts(limits: SpendingLimits) -> None:
    named = [("organization", limits.organization), ("each_member", limits.each_member)]
    named += [("members", own) for own in limits.members.values()]
    for name, pair in named:
        for amount in astuple(pair):
            if amount is not None and not 0 <= amount <= MAX_MICRODOLLARS:
                raise invalid(name, f"A limit is from 0 to {MAX_MICRODOLLARS} microdollars, or null for none.")


def _require_members(organization_id: UUID, limits: SpendingLimits, before: SpendingLimits) -> None:
    """Somebody who has left may keep what he had, so that what was read can be written again."""
    new = {user_id for user_id, own in limits.members.items() if before.members.get(user_id) != own}
    known = Membership.objects.filter(organization_id=organization_id, user_id__in=new).values_list(
        "user_id", flat=True
    )
    if unknown := new - set(known):
        raise invalid("members", f"{min(unknown)} is no member of the organization.")


def _stored(organization_id: UUID) -> SpendingLimits:
    account = HostedBalance.objects.filter(pk=organization_id).first()
    rows = MemberSpending.objects.filter(organization_id=organization_id, has_own_limits=True)
    return SpendingLimits(
        organization=limits_of(account) if account else Limits(),
        each_member=each_member_limits(account) if account else Limits(),
        members={row.user_id: limits_of(row) for row in rows},
    )


def _store(organization_id: UUID, limits: SpendingLimits) -> None:
    """Only the columns of limits: requests change the others all the time."""
    pairs = (limits.organization, limits.each_member, *limits.members.values())
    HostedBalance.objects.get_or_create(organization_id=organization_id)
    HostedBalance.objects.filter(pk=organization_id).update(
        day_limit_microdollars=limits.organization.day,
        month_limit_microdollars=limits.organization.month,
        member_day_limit_microdollars=limits.each_member.day,
        member_month_limit_microdollars=limits.each_member.month,
        has_limits=any(amount is not None for pair in pairs for amount in astuple(pair)),
    )
    of_organization = MemberSpending.objects.filter(organization_id=organization_id)
    of_organization.filter(has_own_limits=True).exclude(user_id__in=limits.members).update(
        has_own_limits=False, day_limit_microdollars=None, month_limit_microdollars=None
    )
    for user_id, own in sorted(limits.members.items()):
        MemberSpending.objects.get_or_create(organization_id=organization_id, user_id=user_id)
        of_organization.filter(user_id=user_id).update(
            has_own_limits=True, day_limit_microdollars=own.day, month_limit_microdollars=own.month
        )


def _changes(before: SpendingLimits, after: SpendingLimits) -> Iterator[tuple[str, tuple[Any, Any]]]:
    """What is different, by a name for it, as amounts or, for a member with limits of his own, both of them."""
    for name, old, new in (
        ("organization", before.organization, after.organization),
        ("each member", before.each_member, after.each_member),
    ):
        for period in fields(Limits):
            pair = (getattr(old, period.name), getattr(new, period.name))
            if pair[0] != pair[1]:
                yield f"{name} a {period.name}", pair
    different = [
        user_id
        for user_id in {**before.members, **after.members}
        if before.members.get(user_id) != after.members.get(user_id)
    ]
    emails = dict(User.objects.filter(pk__in=different).values_list("pk", "email"))
    for user_id in sorted(different, key=lambda one: emails.get(one, str(one))):
        yield emails.get(user_id, str(user_id)), (before.members.get(user_id), after.members.get(user_id))


def _told(value: int | Limits | None) -> str:
    if isinstance(value, Limits):
        return f"{_told(value.day)} a day and {_told(value.month)} a month"
    return "none" if value is None else dollars(value)


def _kept(value: int | Limits | None) -> Any:
    """For the audit log: whole microdollars."""
    if isinstance(value, Limits):
        return {"day_microdollars": value.day, "month_microdollars": value.month}
    return value
