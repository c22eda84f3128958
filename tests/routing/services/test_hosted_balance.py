"""The hosted balance as staff changes it, while requests spend it."""

from __future__ import annotations

import io
import threading
import uuid
from datetime import UTC, datetime

import pytest
from django.core.management import CommandError, call_command
from django.db import connections
from django.http import Http404

from kilo_gateway.api_errors import GatewayError
from organizations.acting import Acting
from organizations.audit import COMMAND, verify_chain
from organizations.models import AuditLog, Organization
from routing.models import HostedBalance
from routing.proxy.connections import release_connection
from routing.proxy.spending import reserve
from routing.proxy.usage_writer import Usage, UsageWriter
from routing.services.hosted_balance import hosted_balance_adjust, hosted_balance_set
from routing.services.spending_limits import MAX_MICRODOLLARS
from tests.factories import MembershipFactory, OrganizationFactory
from tests.support.tenants import make_tenant

STAFF = Acting(COMMAND)


def balance(organization: Organization) -> int | None:
    return HostedBalance.objects.get(organization=organization).balance_microdollars


@pytest.mark.django_db
class TestServices:
    @pytest.fixture
    def organization(self) -> Organization:
        return OrganizationFactory.create(name="Acme")

    def test_it_works(self, organization: Organization) -> None:
        def change(amount: int | None) -> int | None:
            return hosted_balance_set(organization_id=organization.pk, acting=STAFF, microdollars=amount)

        def adjust(amount: int) -> int | None:
            return hosted_balance_adjust(organization_id=organization.pk, acting=STAFF, microdollars=amount)

        assert (change(5_000_000), adjust(20_000_000), adjust(-26_000_000), change(None), change(0)) == (
            *(5_000_000, 25_000_000, -1_000_000),
            *(None, 0),
        )
        assert balance(organization) == 0
        rows = AuditLog.objects.order_by("sequence")
        assert {(row.action, row.via, row.target_id) for row in rows} == {
            ("organization.hosted_balance.changed", "command", str(organization.pk))
        }
        assert [row.changes["balance_microdollars"] for row in rows] == [
            *([None, 5_000_000], [5_000_000, 25_000_000], [25_000_000, -1_000_000]),
            *([-1_000_000, None], [None, 0]),
        ]
        assert rows[2].message == "Hosted balance changed from $25.00 to -$1.00"
        assert rows[3].message == "Hosted balance changed from -$1.00 to none"

    def test_nothing_else_of_the_row_changes(self, organization: Organization) -> None:
        columns = {"day_limit_microdollars": 7, "day_spent_microdollars": 5, "reserved_microdollars": 3}
        HostedBalance.objects.create(organization=organization, balance_microdollars=1, has_limits=True, **columns)
        before = HostedBalance.objects.get()
        hosted_balance_set(organization_id=organization.pk, acting=STAFF, microdollars=2)
        after = HostedBalance.objects.get()
        assert after.updated_at > before.updated_at
        assert {name: getattr(after, name) for name in columns} == columns
        assert after.has_limits

    def test_what_is_so_already_writes_nothing(self, organization: Organization) -> None:
        for amount in (None, 5, 5):
            hosted_balance_set(organization_id=organization.pk, acting=STAFF, microdollars=amount)
        assert AuditLog.objects.count() == 1

    @pytest.mark.parametrize("amount", [-1, MAX_MICRODOLLARS + 1])
    def test_out_of_range(self, organization: Organization, amount: int) -> None:
        with pytest.raises(GatewayError) as refused:
            hosted_balance_set(organization_id=organization.pk, acting=STAFF, microdollars=amount)
        assert (refused.value.status, list(refused.value.details["fields"])) == (400, ["dollars"])

    @pytest.mark.parametrize(
        ("before", "amount", "code"),
        [
            (None, 5, "no_balance_kept"),
            (5, 0, "invalid"),
            (MAX_MICRODOLLARS, 1, "invalid"),
            (-MAX_MICRODOLLARS, -1, "invalid"),
        ],
    )
    def test_what_cannot_be_added(self, organization: Organization, before: int | None, amount: int, code: str) -> None:
        HostedBalance.objects.create(organization=organization, balance_microdollars=before)
        with pytest.raises(GatewayError) as refused:
            hosted_balance_adjust(organization_id=organization.pk, acting=STAFF, microdollars=amount)
        assert refused.value.code == code
        assert balance(organization) == before
        assert not AuditLog.objects.exists()

    def test_nobody_but_staff(self, organization: Organization) -> None:
        owner = MembershipFactory.create(organization=organization, role="owner").user
        for change in (hosted_balance_set, hosted_balance_adjust):
            with pytest.raises(GatewayError) as refused:
                change(organization_id=organization.pk, acting=Acting(COMMAND, owner), microdollars=5)
            assert (refused.value.status, refused.value.code) == (403, "role_required")
        assert not HostedBalance.objects.exists()

    def test_no_such_organization(self) -> None:
        with pytest.raises(Http404):
            hosted_balance_set(organization_id=uuid.uuid4(), acting=STAFF, microdollars=5)


@pytest.mark.django_db
class TestCommand:
    def run(self, *arguments: str) -> str:
        out = io.StringIO()
        call_command("set_hosted_balance", "--organization", "Acme", *arguments, stdout=out)
        return out.getvalue()

    def test_it_works(self) -> None:
        organization = OrganizationFactory.create(name="Acme")
        assert self.run("--dollars", "12.50") == "Acme: The balance is $12.50.\n"
        assert self.run("--add-dollars=-0.000001") == "Acme: The balance is $12.499999.\n"
        assert self.run("--add-dollars", "$100") == "Acme: The balance is $112.499999.\n"
        assert balance(organization) == 112_499_999
        assert self.run("--dollars", "0") == "Acme: The balance is $0.00.\n"
        assert self.run("--unlimited") == "Acme: No balance is kept.\n"
        assert balance(organization) is None
        assert AuditLog.objects.filter(via="command").count() == 5

    @pytest.mark.parametrize(
        ("arguments", "told"),
        [
            ([], "one of the arguments"),
            (["--dollars", "5", "--unlimited"], "not allowed with"),
            (["--dollars", "many"], "no amount of dollars"),
            (["--dollars", "nan"], "no amount of dollars"),
            (["--dollars", "1e99999"], "no amount of dollars"),
            (["--dollars", "0.0000001"], "no amount of dollars"),
            (["--dollars=-1"], "A balance is from"),
            (["--add-dollars", "5"], "No balance is kept"),
        ],
    )
    def test_what_is_refused(self, arguments: list[str], told: str) -> None:
        OrganizationFactory.create(name="Acme")
        with pytest.raises(CommandError, match=told):
            self.run(*arguments)
        assert not AuditLog.objects.exists()


def test_topping_up_while_requests_spend(committed_db: None) -> None:
    """No deadlock, and every amount counts once, whoever comes first."""
    tenant = make_tenant()
    organization_id, user_id = tenant.organization.pk, tenant.user.pk
    hosted_balance_set(organization_id=organization_id, acting=STAFF, microdollars=10**9)
    noon = datetime(2026, 11, 23, 12, tzinfo=UTC)
    failures: list[BaseException] = []
    release_connection()

    def spend() -> None:
        request_id = uuid.uuid4()
        assert reserve(organization_id, user_id, request_id, 1000, noon)
        record = Usage(request_id, noon, organization_id, user_id, uuid.uuid4(), "chat_completions", "m")
        record.status, record.hosted_cost_microdollars = 200, 7
        own = UsageWriter()
        own._unwritten = [record]
        own._write_batch()

    def top_up() -> None:
        hosted_balance_adjust(organization_id=organization_id, acting=STAFF, microdollars=100)

    def work(seed: int) -> None:
        try:
            for number in range(8):
                (top_up if (seed + number) % 2 else spend)()
                # As a request does at its end: there are fewer connections than threads that want two.
                release_connection()
        except BaseException as error:
            failures.append(error)
        finally:
            connections.close_all()

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not failures
    row = HostedBalance.objects.get()
    assert row.balance_microdollars == 10**9 + 32 * 100 - 32 * 7
    assert (row.reserved_microdollars, row.day_spent_microdollars) == (0, 32 * 7)
    assert AuditLog.objects.filter(action="organization.hosted_balance.changed").count() == 33
    assert verify_chain(organization_id)[1] is None
