"""What staff sees of balances and limits in Django admin."""

from __future__ import annotations

from datetime import date

import pytest
from django.http import HttpResponse
from django.test import Client
from django.urls import reverse

from organizations.models import AuditLog, Organization
from routing.models import HostedBalance, MemberSpending
from tests.factories import MembershipFactory, OrganizationFactory, UserFactory


@pytest.fixture
def staff(db: None, client: Client) -> Client:
    client.force_login(UserFactory.create(email="staff@example.com", is_staff=True))
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


class TestBalances:
    """Staff changes them, with a row of the audit log for each change and nothing else written."""

    @pytest.fixture
    def organization(self, db: None) -> Organization:
        return OrganizationFactory.create(name="Acme")

    def post(self, staff: Client, organization: Organization, **fields: str) -> HttpResponse:
        address = reverse("admin:routing_hostedbalance_change", args=[organization.pk])
        return staff.post(address, {"change": "", "dollars": "", **fields}, follow=True)

    def test_it_works(self, staff: Client, organization: Organization) -> None:
        added = staff.post(
            reverse("admin:routing_hostedbalance_add"), {"organization": str(organization.pk), "dollars": "12.50"}
        )
        assert added.status_code == 302
        row = HostedBalance.objects.get(organization=organization)
        assert row.balance_microdollars == 12_500_000
        for change, amount, expected in (
            ("add", "100", 112_500_000),
            ("add", "-112.5", 0),
            ("set", "7.000001", 7_000_001),
            ("none", "", None),
            ("", "", None),
        ):
            HostedBalance.objects.update(day_spent_microdollars=77)
            assert self.post(staff, organization, change=change, dollars=amount).status_code == 200
            row.refresh_from_db()
            assert (row.balance_microdollars, row.day_spent_microdollars) == (expected, 77)
        rows = AuditLog.objects.filter(action="organization.hosted_balance.changed")
        assert (rows.count(), set(rows.values_list("via", "actor_email"))) == (
            5,
            {("admin", "staff@example.com")},
        )
        assert "Hosted balance changed from none to $12.50" in shown_log(staff, row)

    @pytest.mark.parametrize(
        ("change", "amount", "told"),
        [
            ("set", "", "How much?"),
            ("add", "", "How much?"),
            ("", "5", "What is the amount for?"),
            ("none", "5", "What is the amount for?"),
            ("set", "many", "Enter a number."),
            ("set", "0.0000001", "no more than 6 decimal places"),
            ("set", "-1", "A balance is from"),
            ("add", "0", "An amount of nothing"),
            ("twice", "5", "not one of the available choices"),
        ],
    )
    def test_what_is_refused(
        self, staff: Client, organization: Organization, change: str, amount: str, told: str
    ) -> None:
        HostedBalance.objects.create(organization=organization, balance_microdollars=5)
        answer = self.post(staff, organization, change=change, dollars=amount)
        assert told in answer.content.decode()
        assert HostedBalance.objects.get().balance_microdollars == 5
        assert not AuditLog.objects.exists()

    def test_nothing_else_can_be_written(self, staff: Client, organization: Organization) -> None:
        HostedBalance.objects.create(organization=organization, balance_microdollars=5)
        fields = {"balance_microdollars": "9", "day_limit_microdollars": "9", "reserved_microdollars": "9"}
        self.post(staff, organization, change="set", dollars="1", **fields)
        row = HostedBalance.objects.get()
        assert (row.balance_microdollars, row.day_limit_microdollars, row.reserved_microdollars) == (10**6, None, 0)
        member = MemberSpending.objects.create(organization=organization, user_id=organization.pk)
        assert staff.post(reverse("admin:routing_memberspending_change", args=[member.pk]), {}).status_code == 403
        delete = reverse("admin:routing_hostedbalance_delete", args=[organization.pk])
        assert staff.post(delete, {"post": "yes"}).status_code == 403
        assert HostedBalance.objects.exists()

    def test_whoever_is_no_staff(self, client: Client, organization: Organization) -> None:
        HostedBalance.objects.create(organization=organization, balance_microdollars=5)
        client.force_login(MembershipFactory.create(organization=organization, role="owner").user)
        self.post(client, organization, change="set", dollars="1")
        assert HostedBalance.objects.get().balance_microdollars == 5


def shown_log(staff: Client, row: HostedBalance) -> str:
    """What the link to the audit log leads to."""
    answer = staff.get(reverse("admin:routing_hostedbalance_history", args=[row.pk]), follow=True)
    return answer.content.decode()
