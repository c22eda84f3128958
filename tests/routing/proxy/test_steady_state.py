"""What a request costs the database, and what a change of an organization does to requests that run beside it."""

from __future__ import annotations

import threading
import time
import uuid
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Self

import pytest
from django.db import connections, transaction

from byok.models import Credential
from organizations.models import Organization
from routing.demo import DemoUpstream
from routing.models import HostedBalance, UsageRecord
from routing.proxy.usage_writer import Usage, UsageWriter, writer
from tests.support.inprocess import CHAT, Answer, call, chat, counted_statements
from tests.support.tenants import Tenant, auto_settings, make_tenant

pytestmark = pytest.mark.usefixtures("no_leftovers")

READERS = 64


@pytest.fixture
def tenant(committed_db: None, hosted_upstream: DemoUpstream) -> Tenant:
    return make_tenant()


def a_record(tenant: Tenant) -> Usage:
    return Usage(
        request_id=uuid.uuid4(),
        created_at=datetime.now(UTC),
        organization_id=tenant.organization.pk,
        user_id=tenant.user.pk,
        api_key_id=uuid.uuid4(),
        api_kind="chat_completions",
        requested_model="m",
    )


def ask(tenant: Tenant, mode: str = "code", **fields: object) -> Answer:
    return call(CHAT, chat(**fields), tenant.key, headers={"x-kilocode-mode": mode})


class TestStatements:
    def test_one_query_in_the_steady_state(self, tenant: Tenant) -> None:
        assert ask(tenant).status == 200
        writer.flush()
        with counted_statements() as statements:
            answers = [ask(tenant) for _ in range(20)]
            sent = statements.of_this_thread()
        assert {answer.status for answer in answers} == {200}
        assert len(sent) == 20
        assert all("organizations_apikey" in text for text in sent)

    def test_usage_is_written_in_batches(self, tenant: Tenant) -> None:
        for _ in range(20):
            ask(tenant)
        with counted_statements() as statements:
            writer.flush()
        assert sum("COPY" in text for text in statements.texts) <= 1
        assert UsageRecord.objects.count() == 20

    def test_under_load_usage_is_written_in_batches_too(self, tenant: Tenant) -> None:
        """While a batch is written more comes, always: it waits for the next one, or each would be one of its own."""
        busy = UsageWriter()
        with counted_statements() as statements:
            for _ in range(400):
                busy.put(a_record(tenant))
                time.sleep(0.001)
            busy.flush()
        assert UsageRecord.objects.count() == 400
        assert sum("COPY" in text for text in statements.texts) <= 12
        busy._stop.set()

    def test_a_first_request_resolves_under_the_lock(self, tenant: Tenant) -> None:
        ask(tenant, "code")
        with counted_statements() as statements:
            ask(tenant, "architect")
            sent = statements.of_this_thread()
        assert sum("FOR NO KEY UPDATE" in text for text in sent) == 1

    def test_a_stream_holds_no_connection(self, tenant: Tenant, hosted_upstream: DemoUpstream) -> None:
        """More streams at once than the pool has connections, all after a resolution of their own."""
        hosted_upstream.behave(events=4, interval_ms=200)
        answers: list[Answer] = []
        threads = [
            threading.Thread(target=lambda n=n: answers.append(ask(tenant, f"mode-{n}", stream=True)))
            for n in range(40)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
        assert [answer.status for answer in answers] == [200] * 40


@dataclass
class Seen:
    started_at: float
    status: int
    model: str
    version: int
    error_code: str


class Readers:
    """Sixty-four clients that ask until they are told to stop."""

    def __init__(self, tenant: Tenant, mode: str = "code") -> None:
        self.tenant = tenant
        self.mode = mode
        self.seen: list[Seen] = []
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._run) for _ in range(READERS)]

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(30)
        assert not any(thread.is_alive() for thread in self._threads)

    def wait_for(self, count: int) -> None:
        deadline = time.monotonic() + 30
        while len(self.seen) < count and time.monotonic() < deadline:
            time.sleep(0.005)
        assert len(self.seen) >= count

    def _run(self) -> None:
        while not self._stop.is_set():
            started_at = time.monotonic()
            answer = ask(self.tenant, self.mode)
            error = "" if answer.status == 200 else str(answer.json()["error"]["code"])
            version = int(answer.headers["x-kilo-routing-version"])
            self.seen.append(Seen(started_at, answer.status, answer.headers.get("x-kilo-model", ""), version, error))
        connections.close_all()


class TestConcurrentChanges:
    """A writer against 64 readers: whoever starts after the commit sees the commit."""

    def test_a_changed_route_is_obeyed_by_every_request_that_starts_after_the_commit(self, tenant: Tenant) -> None:
        models = ["anthropic/claude-opus-5", "openai/gpt-5.4", "openai/gpt-5-mini", "anthropic/claude-sonnet-5"] * 3
        by_version = {tenant.organization.routing_version: "anthropic/claude-sonnet-5"}
        commits: list[tuple[float, int]] = [(0.0, tenant.organization.routing_version)]
        with Readers(tenant) as readers:
            for number, model in enumerate(models, start=1):
                readers.wait_for(number * 80)
                tenant.change(**auto_settings({"code": model}))
                by_version[tenant.organization.routing_version] = model
                commits.append((time.monotonic(), tenant.organization.routing_version))
            readers.wait_for(len(readers.seen) + 100)
        assert {seen.status for seen in readers.seen} == {200}
        for seen in readers.seen:
            assert seen.model == by_version[seen.version], "a decision that belongs to no version"
            committed = max(version for at, version in commits if at <= seen.started_at)
            assert seen.version >= committed, "a request that started after a commit did not see it"
        assert len({seen.version for seen in readers.seen}) > 6

    def test_a_credential_that_is_taken_away_serves_no_request_that_starts_after_the_commit(
        self, tenant: Tenant, settings: object
    ) -> None:
        with DemoUpstream() as provider:
            settings.PROVIDER_BASE_URLS = {"neuralwatt": f"{provider.base_url}/v1"}  # type: ignore[attr-defined]
            tenant.store_credential("neuralwatt")
            tenant.change(**auto_settings({"code": "neuralwatt/kimi"}))
            with Readers(tenant) as readers:
                readers.wait_for(200)
                with transaction.atomic():
                    organization = Organization.objects.select_for_update().get(pk=tenant.organization.pk)
                    Credential.objects.filter(organization=organization).update(is_enabled=False)
                    organization.routing_version += 1
                    organization.save(update_fields=["routing_version"])
                committed_at = time.monotonic()
                time.sleep(0.05)
                sent = provider.stats()["total"]
                readers.wait_for(len(readers.seen) + 200)
            after = [seen for seen in readers.seen if seen.started_at >= committed_at]
            assert len(after) >= 100
            assert {(seen.status, seen.error_code) for seen in after} == {(400, "no_enabled_credential")}
            assert provider.stats()["total"] - sent <= READERS, "only requests from before the commit may still arrive"

    def test_the_balance_is_charged_exactly_what_the_records_say(self, tenant: Tenant) -> None:
        HostedBalance.objects.create(organization=tenant.organization, balance_microdollars=10**9)
        with Readers(tenant) as readers:
            readers.wait_for(500)
        writer.flush()
        spent = sum(UsageRecord.objects.values_list("hosted_cost_microdollars", flat=True))
        assert spent > 0
        assert HostedBalance.objects.get().balance_microdollars == 10**9 - spent
        assert UsageRecord.objects.count() == len(readers.seen)
