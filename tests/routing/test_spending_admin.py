"""What staff sees of balances and limits in Django admin."""

from __future__ import annotations

from datetime import date

import pytest
from django.test import Client
from django.urls import reverse

from routing.models import HostedBalance, MemberSpending
from tests.factories import OrganizationFactory, UserFactory


@pytest.fixture
def staff(db: None, client: Client) -> Client:
    client.force_login(UserFactory.create(is_staff=True))
    return client


def shown(client: Client, name: str, *arguments: object, **query: str) -> str:
    answer = client.get(reverse(f"admin:routing_{name}", args=arguments), query)
    assert answer.status_code == 200
    return answer.content.decode()


def test_balances_and_limits_of_organizations(staff: Client) -> None:
    organization = OrganizationFactory.create(name="Acme")
    HostedBalance.objects.create(
        organization=organization,
        balance_microdollars=12_340_000,
        month_limit_microdollars=100_000_000,
        member_day_limit_microdollars=7_000_000,
        month=date(2026, 11, 1),
        month_spent_microdollars=5_500_000,
        reserved_microdollars=250_000,
    )
    for content in (
        shown(staff, "hostedbalance_changelist", q="acm", organization__id__exact=str(organization.pk)),
        shown(staff, "hostedbalance_change", organization.pk),
    ):
        for text in ("Acme", "$12.34", "$100.00", "$5.50 in 2026-11", "$0.25"):
            assert text in content
    assert "$7.00" in shown(staff, "hostedbalance_change", organization.pk)


def test_spending_of_members(staff: Client) -> None:
    person, organization = UserFactory.create(email="bob@example.com"), OrganizationFactory.create(name="Acme")
    row = MemberSpending.objects.create(
        organization=organization,
        user_id=person.pk,
        has_own_limits=True,
        day_limit_microdollars=3_000_000,
        day=date(2026, 11, 23),
        day_spent_microdollars=2_000_000,
    )
    for content in (shown(staff, "memberspending_changelist", o="1"), shown(staff, "memberspending_change", row.pk)):
        for text in ("bob@example.com", "Acme", "$3.00", "$2.00 on 2026-11-23"):
            assert text in content
    person.delete()
    assert str(row.user_id) in shown(staff, "memberspending_changelist")
