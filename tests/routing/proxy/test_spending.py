"""Spending limits and the balance on the request path: what is reserved, refused, counted and given back."""

from __future__ import annotations

import threading
import uuid
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.db import connection, connections, transaction
from django.db.models import F, Sum
from django.db.models.functions import Now
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from organizations.api_keys import api_key_create
from organizations.audit import COMMAND
from organizations.models import Scope
from routing.catalog.index import load_current_index
from routing.demo import DemoUpstream
from routing.models import HostedBalance, MemberSpending, SpendingReservation, UsageRecord
from routing.proxy import spending
from routing.proxy.settlement import release_expired
from routing.proxy.spending import reserve
from routing.proxy.usage_writer import Usage, UsageWriter, writer
from tests.support.inprocess import CHAT, MESSAGES, Answer, call, chat, counted_statements, opened
from tests.support.tenants import Tenant, auto_settings, make_tenant

NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)
A_LOT = 10**12


def limit(tenant: Tenant, **columns: Any) -> None:
    HostedBalance.objects.update_or_create(organization=tenant.organization, defaults={"has_limits": True, **columns})


def limit_member(tenant: Tenant, **columns: Any) -> None:
    MemberSpending.objects.update_or_create(
        organization=tenant.organization, user_id=tenant.user.pk, defaults={"has_own_limits": True, **columns}
    )


def account(tenant: Tenant) -> HostedBalance:
    return HostedBalance.objects.get(organization=tenant.organization)


def member(tenant: Tenant) -> MemberSpending:
    return MemberSpending.objects.get(organization=tenant.organization, user_id=tenant.user.pk)


def used(tenant: Tenant, microdollars: int | None = 0, at: datetime = NOON, **columns: Any) -> Usage:
    """A usage record of a hosted request."""
    fields: dict[str, Any] = {
        "request_id": uuid.uuid4(),
        "created_at": at,
        "organization_id": tenant.organization.pk,
        "user_id": tenant.user.pk,
        "api_key_id": uuid.uuid4(),
        "api_kind": "chat_completions",
        "requested_model": "m",
        "status": 200,
        "hosted_cost_microdollars": microdollars,
        **columns,
    }
    return Usage(**fields)


def write(*records: Usage) -> None:
    own = UsageWriter()
    own._unwritten = list(records)
    own._write_batch()


@pytest.fixture(autouse=True)
def _short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spending, "PAUSE_SECONDS", 0.01)


class TestRequests:
    @pytest.fixture(autouse=True)
    def tenant(self, committed_db: None, hosted_upstream: DemoUpstream) -> Tenant:
        hosted_upstream.behave(usage={"input": 1000, "output": 200})
        return make_tenant()

    def ask(self, tenant: Tenant, path: str = CHAT, **fields: Any) -> Answer:
        answer = call(path, chat(**fields), tenant.key, headers={"x-kilocode-mode": "code"})
        writer.flush()
        return answer

    def test_it_works(self, tenant: Tenant) -> None:
        limit(tenant, day_limit_microdollars=1)
        assert self.ask(tenant).status == 200
        cost = UsageRecord.objects.get().hosted_cost_microdollars
        assert cost is not None
        assert cost > 1
        refused = self.ask(tenant)
        assert (refused.status, refused.error_type) == (402, "usage_limit_exceeded")
        message = refused.json()["message"]
        tomorrow = datetime.now(UTC).date() + timedelta(days=1)
        assert message.startswith(
            f"The organization's limit of $0.000001 a day for hosted models is used up until {tomorrow} 00:00 UTC."
        )
        assert 0 < int(refused.headers["retry-after"]) <= 86_400
        found = account(tenant)
        assert (found.day_spent_microdollars, found.month_spent_microdollars) == (cost, cost)
        assert (found.reserved_microdollars, member(tenant).reserved_microdollars) == (0, 0)
        assert not SpendingReservation.objects.exists()
        assert list(UsageRecord.objects.order_by("id").values_list("status", flat=True)) == [200, 402]

    @pytest.mark.parametrize(
        ("columns", "own", "told"),
        [
            ({"month_limit_microdollars": 0}, {}, "The organization's limit of $0.00 a month"),
            ({"member_day_limit_microdollars": 0}, {}, "Your limit of $0.00 a day"),
            ({"member_month_limit_microdollars": 0}, {}, "Your limit of $0.00 a month"),
            ({}, {"day_limit_microdollars": 0}, "Your limit of $0.00 a day"),
            ({"member_day_limit_microdollars": A_LOT}, {"month_limit_microdollars": 0}, "Your limit of $0.00 a month"),
            ({"balance_microdollars": 0, "has_limits": False}, {}, "The organization's balance"),
            ({"balance_microdollars": -5}, {}, "The organization's balance"),
        ],
    )
    def test_which_limit_it_is(self, tenant: Tenant, columns: Any, own: Any, told: str) -> None:
        limit(tenant, **columns)
        if own:
            limit_member(tenant, **own)
        refused = self.ask(tenant, MESSAGES, max_tokens=10)
        assert refused.status == 402
        assert refused.json()["message"].startswith(told)
        assert refused.json()["error"]["type"] == "billing_error"

    def test_limits_of_his_own_replace_those_of_each_member(self, tenant: Tenant) -> None:
        limit(tenant, member_day_limit_microdollars=0, member_month_limit_microdollars=0)
        assert self.ask(tenant).status == 402
        limit_member(tenant)
        assert self.ask(tenant).status == 200

    def test_what_is_never_limited(self, tenant: Tenant, settings: Any) -> None:
        with DemoUpstream() as provider:
            settings.PROVIDER_BASE_URLS = {"neuralwatt": f"{provider.base_url}/v1"}
            tenant.store_credential("neuralwatt")
            limit(tenant, day_limit_microdollars=0, balance_microdollars=0)
            tenant.change(**auto_settings({"code": "neuralwatt/kimi"}))
            assert self.ask(tenant).status == 200
            assert self.ask(tenant, model="kilo-auto/free").status == 200
            with counted_statements() as statements:
                assert self.ask(tenant).status == 200
                sent = [text for text in statements.of_this_thread() if "kilo_" not in text and "FROM" in text]
        assert not any("reserv" in text for text in sent)
        assert not MemberSpending.objects.exists()

    def test_whether_the_installation_pays_for_nobody(self, tenant: Tenant, settings: Any) -> None:
        key = api_key_create(user=tenant.user, name="his own", scopes=[Scope.INFERENCE], actor=COMMAND).secret.reveal()
        paid, free = chat(model="openai/gpt-5-mini"), chat(model="kilo-auto/free")
        refused = call(CHAT, paid, key)
        assert (refused.status, refused.error_type) == (402, "usage_limit_exceeded")
        assert refused.json()["error"]["code"] == "organization_required"
        for way_out in ("X-KiloCode-OrganizationId", "KILO_ORG_ID", "HOSTED_WITHOUT_ORGANIZATION=1"):
            assert way_out in refused.json()["message"]
        assert call(CHAT, free, key).status == 200
        headers = {"x-kilocode-organizationid": str(tenant.organization.pk)}
        assert call(CHAT, paid, key, headers=headers).status == 200
        settings.HOSTED_WITHOUT_ORGANIZATION = True
        assert call(CHAT, paid, key).status == 200

    def test_one_statement_more_and_none_without_limits(self, tenant: Tenant) -> None:
        self.ask(tenant)

        def statements() -> list[str]:
            with counted_statements() as counted:
                assert call(CHAT, chat(), tenant.key, headers={"x-kilocode-mode": "code"}).status == 200
                return counted.of_this_thread()

        assert len(statements()) == 1
        limit(tenant, day_limit_microdollars=A_LOT)
        sent = statements()
        assert len(sent) == 2
        assert "routing_spendingreservation" in sent[1]

    def test_what_was_reserved_is_given_back_whatever_happens(self, tenant: Tenant, settings: Any) -> None:
        limit(tenant, day_limit_microdollars=A_LOT)
        settings.OPENROUTER_BASE_URL = "http://127.0.0.1:9/api/v1"
        assert self.ask(tenant).status == 503
        settings.OPENROUTER_API_KEY = ""
        assert self.ask(tenant).status == 503
        assert account(tenant).reserved_microdollars == 0
        assert account(tenant).day_spent_microdollars == 0
        assert not SpendingReservation.objects.exists()

    @pytest.mark.parametrize(("path", "answers"), [(CHAT, 128), (MESSAGES, 1)])
    def test_no_request_reserves_more_than_it_can_cost(
        self, tenant: Tenant, hosted_upstream: DemoUpstream, path: str, answers: int
    ) -> None:
        """However much it asks for: no more than the model writes, and several answers only where there are such."""
        limit(tenant, day_limit_microdollars=10**15)
        model = load_current_index().models["anthropic/claude-sonnet-5"]
        assert model.context_length is not None
        assert model.pricing.completion is not None
        hosted_upstream.behave(events=2, interval_ms=200)
        body = chat(stream=True, max_tokens=10**15, n=10**15)
        with opened(path, body, tenant.key, headers={"x-kilocode-mode": "code"}) as answer:
            assert answer.status == 200
            reserved = account(tenant).reserved_microdollars
            output = min(model.max_output_tokens or 200_000, model.context_length) * answers
            assert 0 < reserved - int(output * model.pricing.completion * 10**6) < 1000
        writer.flush()
        assert account(tenant).reserved_microdollars == 0

    def test_whoever_finds_all_of_it_reserved_is_told_so(self, tenant: Tenant) -> None:
        limit(tenant, month_limit_microdollars=2_000_000)
        now = datetime.now(UTC)
        assert reserve(tenant.organization.pk, tenant.user.pk, uuid.uuid4(), 5_000_000, now)
        refused = self.ask(tenant)
        assert refused.status == 402
        assert "has $2.00 left, which running requests may need" in refused.json()["message"]
        assert refused.headers["retry-after"] == "5"

    def test_a_worker_that_died_blocks_nobody_for_long(self, tenant: Tenant) -> None:
        limit(tenant, month_limit_microdollars=100)
        limit_member(tenant, month_limit_microdollars=100)
        assert reserve(tenant.organization.pk, tenant.user.pk, uuid.uuid4(), 500, datetime.now(UTC))
        assert self.ask(tenant).status == 402
        SpendingReservation.objects.update(expires_at=Now() - timedelta(seconds=1))
        assert self.ask(tenant).status == 200
        assert (account(tenant).reserved_microdollars, member(tenant).reserved_microdollars) == (0, 0)

    def test_it_waits_for_what_is_being_given_back(self, tenant: Tenant, monkeypatch: pytest.MonkeyPatch) -> None:
        """The usage of a request that has ended is written a moment later; the next one must not be refused for it."""
        monkeypatch.setattr(spending, "PAUSE_SECONDS", 0.3)
        limit(tenant, day_limit_microdollars=A_LOT)
        ended = used(tenant, at=datetime.now(UTC))
        assert reserve(tenant.organization.pk, tenant.user.pk, ended.request_id, A_LOT, ended.created_at)
        timer = threading.Timer(0.1, writer.put, [ended])
        timer.start()
        assert self.ask(tenant).status == 200
        timer.join()


class TestManyAtOnce:
    def test_no_more_than_the_limit_allows(self, committed_db: None) -> None:
        """Several members on as many connections as there are; each of them may have four, all together ten."""
        tenants = [make_tenant() for _ in range(4)]
        organization = tenants[0].organization
        limit(tenants[0], month_limit_microdollars=10 * 700, member_day_limit_microdollars=4 * 700)
        passed: list[int] = []
        start = threading.Barrier(64)

        def ask(number: int) -> None:
            start.wait(20)
            if reserve(organization.pk, tenants[number % 4].user.pk, uuid.uuid4(), 700, NOON):
                passed.append(number % 4)
            connections.close_all()

        threads = [threading.Thread(target=ask, args=(number,)) for number in range(64)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
        assert len(passed) == 10
        assert max(passed.count(number) for number in range(4)) <= 4
        assert account(tenants[0]).reserved_microdollars == 7000
        assert SpendingReservation.objects.aggregate(total=Sum("amount_microdollars"))["total"] == 7000
        rows = MemberSpending.objects.filter(organization=organization)
        assert {row.user_id: row.reserved_microdollars for row in rows} == {
            tenants[number].user.pk: 700 * passed.count(number) for number in set(passed)
        }

    def test_reserving_and_settling_at_the_same_time(self, committed_db: None) -> None:
        """Without a deadlock, and with every microdollar in its place."""
        tenants = [make_tenant() for _ in range(3)]
        for tenant in tenants:
            limit(tenant, day_limit_microdollars=A_LOT, balance_microdollars=A_LOT)
        failures: list[BaseException] = []

        def work(seed: int) -> None:
            try:
                for number in range(12):
                    records = [used(tenant, 10 + number) for tenant in tenants[:: 1 if (seed + number) % 2 else -1]]
                    for record in records:
                        assert record.organization_id is not None
                        assert reserve(record.organization_id, record.user_id, record.request_id, 1000, NOON)
                    write(*records)
                    release_expired(tenants[seed % 3].organization.pk)
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
        for tenant in tenants:
            spent = 8 * sum(10 + number for number in range(12))
            row = account(tenant)
            assert (row.day_spent_microdollars, row.month_spent_microdollars, row.reserved_microdollars) == (
                spent,
                spent,
                0,
            )
            assert row.balance_microdollars == A_LOT - spent


class TestPeriods:
    def test_a_new_day_and_a_new_month(self, db: None) -> None:
        tenant = make_tenant()
        limit(tenant, day_limit_microdollars=100, month_limit_microdollars=250)
        organization, user = tenant.organization.pk, tenant.user.pk
        last_of_november = datetime(2026, 11, 30, 23, 59, 59, tzinfo=UTC)
        first_of_december = datetime(2026, 12, 1, tzinfo=UTC)
        write(used(tenant, 100, NOON))
        assert not reserve(organization, user, uuid.uuid4(), 1, NOON)
        assert reserve(organization, user, uuid.uuid4(), 0, NOON + timedelta(days=1))
        write(used(tenant, 90, last_of_november), used(tenant, 60, last_of_november))
        assert not reserve(organization, user, uuid.uuid4(), 1, last_of_november)
        assert reserve(organization, user, uuid.uuid4(), 0, first_of_december)
        for row in (account(tenant), member(tenant)):
            assert (row.day_spent_microdollars, row.month_spent_microdollars) == (150, 250)
        write(used(tenant, 3, first_of_december))
        for row in (account(tenant), member(tenant)):
            assert (row.day_spent_microdollars, row.month_spent_microdollars) == (3, 3)

    def test_a_record_that_comes_late_counts_where_it_belongs(self, db: None) -> None:
        tenant = make_tenant()
        today, yesterday, last_month = NOON, NOON - timedelta(days=1), NOON - timedelta(days=30)
        write(used(tenant, 7, today), used(tenant, 11, yesterday), used(tenant, 13, last_month))
        write(used(tenant, 17, yesterday), used(tenant, 19, last_month), used(tenant, 23, today))
        for row in (account(tenant), member(tenant)):
            assert (row.day_spent_microdollars, row.month_spent_microdollars) == (30, 58)
            assert (row.day, row.month) == (NOON.date(), NOON.date().replace(day=1))

    def test_a_batch_that_is_written_twice_counts_once(self, db: None) -> None:
        tenant = make_tenant()
        limit(tenant, balance_microdollars=1000)
        records = [used(tenant, 5), used(tenant, 6)]
        write(*records)
        write(*records, used(tenant, 7))
        assert account(tenant).day_spent_microdollars == 18
        assert account(tenant).balance_microdollars == 982

    def test_an_organization_that_is_gone_keeps_no_batch_from_being_written(self, db: None) -> None:
        tenant = make_tenant()
        records = [used(tenant, 5, organization_id=uuid.uuid4()), used(tenant, 6)]
        write(*records)
        # Of these, because requests of other tests may have left theirs.
        assert UsageRecord.objects.filter(request_id__in=[record.request_id for record in records]).count() == 2
        assert account(tenant).day_spent_microdollars == 6


@dataclass
class Model:
    """What ought to be stored."""

    limit: int
    tenant: Tenant
    running: dict[uuid.UUID, tuple[int, datetime]] = field(default_factory=dict)
    batch: list[Usage] = field(default_factory=list)


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["reserve", "settle", "cancel", "expire", "write", "write twice"]),
        st.integers(0, 400),  # Amounts, and which of the running requests.
        st.integers(0, 70),  # Hours since the beginning, for what comes late and over midnight.
    ),
    max_size=30,
)


class TestEveryInterleaving:
    @pytest.mark.usefixtures("db")
    @settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(steps=STEPS, limited_to=st.integers(0, 1000))
    def test_counters_are_the_sums_of_the_records(self, steps: list[tuple[str, int, int]], limited_to: int) -> None:
        with transaction.atomic():
            tenant = make_tenant()
            limit(tenant, month_limit_microdollars=limited_to)
            model = Model(limited_to, tenant)
            for step, number, hours in steps:
                self.take(model, step, number, datetime(2026, 11, 28, 20, tzinfo=UTC) + timedelta(hours=hours))
                self.check(model)
            transaction.set_rollback(True)

    def take(self, model: Model, step: str, number: int, at: datetime) -> None:
        tenant, organization = model.tenant, model.tenant.organization.pk
        if step == "reserve":
            request = uuid.uuid4()
            row = account(tenant)
            spent = row.month_spent_microdollars if row.month >= at.date().replace(day=1) else 0
            allowed = spent + row.reserved_microdollars < model.limit
            assert reserve(organization, tenant.user.pk, request, number, at) == allowed
            if allowed:
                model.running[request] = (number, at)
        elif step in {"settle", "cancel"} and model.running:
            request = list(model.running)[number % len(model.running)]
            amount, started_at = model.running.pop(request)
            cost = amount * number // 400 if step == "settle" else None
            model.batch.append(used(tenant, cost, started_at, request_id=request, cancelled=step == "cancel"))
        elif step == "expire" and model.running:
            # Its worker may live after all, and settle later.
            request = list(model.running)[number % len(model.running)]
            SpendingReservation.objects.filter(pk=request).update(expires_at=F("expires_at") - timedelta(days=9999))
            release_expired(organization)
        elif step.startswith("write") and model.batch:
            write(*model.batch)
            if step == "write twice":
                write(*model.batch)
            model.batch = []

    def check(self, model: Model) -> None:
        records = UsageRecord.objects.filter(organization_id=model.tenant.organization.pk)
        reserved = SpendingReservation.objects.aggregate(total=Sum("amount_microdollars", default=0))["total"]
        found = [account(model.tenant), *MemberSpending.objects.filter(organization=model.tenant.organization)]
        for row in found:
            in_month = records.filter(created_at__gte=datetime.combine(row.month, datetime.min.time(), UTC))
            in_day = records.filter(created_at__gte=datetime.combine(row.day, datetime.min.time(), UTC))
            assert row.month_spent_microdollars == _sum(in_month)
            assert row.day_spent_microdollars == _sum(in_day)
            assert row.reserved_microdollars == reserved
        assert set(SpendingReservation.objects.values_list("pk", flat=True)) <= {
            *model.running,
            *(record.request_id for record in model.batch),
        }


def _sum(records: Any) -> int:
    return int(records.aggregate(total=Sum("hosted_cost_microdollars", default=0))["total"])


def test_what_was_spent_before_counts_from_the_migration_on(db: None) -> None:
    """The statements of the migration, over records that were written when nothing was counted."""
    import importlib

    tenant, now = make_tenant(), datetime.now(UTC)
    month = now.replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    write(used(tenant, 5, now), used(tenant, 7, month), used(tenant, 100, month - timedelta(seconds=1)))
    expected = {
        row: (row.day_spent_microdollars, row.month_spent_microdollars) for row in (account(tenant), member(tenant))
    }
    HostedBalance.objects.all().delete()
    MemberSpending.objects.all().delete()
    limit(tenant, balance_microdollars=77)
    count = importlib.import_module("routing.migrations.0008_spending_counted").COUNT
    with connection.cursor() as cursor:
        cursor.execute(count)
    for row in (account(tenant), member(tenant)):
        assert (row.day_spent_microdollars, row.month_spent_microdollars) in expected.values()
        assert row.month_spent_microdollars == 12
        assert row.month == month.date()
    assert account(tenant).balance_microdollars == 77
