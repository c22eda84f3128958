"""Spending limits that several people set at once."""

from __future__ import annotations

import threading

from django.db import connections

from organizations.acting import Acting
from organizations.audit import COMMAND, verify_chain
from organizations.models import AuditLog, Membership, Organization, Role
from routing.models import HostedBalance, MemberSpending
from routing.services.spending_limits import SpendingLimits, spending_limits_set
from routing.spending_selectors import Limits
from tests.factories import UserFactory


def test_many_at_once_end_in_the_state_of_one(committed_db: None) -> None:
    organization = Organization.objects.create(name="Acme")
    owner = UserFactory.create()
    Membership.objects.create(organization=organization, user=owner, role=Role.OWNER)
    acting = Acting(COMMAND, owner)

    def change(amount: int) -> None:
        limits = SpendingLimits(Limits(amount, amount), Limits(amount), {owner.pk: Limits(None, amount)})
        spending_limits_set(organization_id=organization.pk, acting=acting, limits=limits)
        connections.close_all()

    threads = [threading.Thread(target=change, args=(amount,)) for amount in range(1, 17)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    account, member = HostedBalance.objects.get(), MemberSpending.objects.get()
    amount = account.day_limit_microdollars
    assert amount == account.month_limit_microdollars == account.member_day_limit_microdollars
    assert member.month_limit_microdollars == amount
    organization.refresh_from_db()
    assert organization.routing_version == 17
    assert AuditLog.objects.count() == 16
    assert verify_chain(organization.pk)[1] is None
