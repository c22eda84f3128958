"""How many requests a key may make in a minute."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from organizations.api_keys import api_key_create
from organizations.audit import COMMAND
from organizations.models import ApiKey, Scope
from routing.demo import DemoUpstream
from routing.proxy import rate_limit
from routing.proxy.usage_writer import Usage, writer
from tests.support.errors import check_error
from tests.support.inprocess import CHAT, MESSAGES, RESPONSES, Answer, call, chat
from tests.support.tenants import Tenant, make_tenant


class Clock:
    """A clock that stands still until it is told."""

    def __init__(self) -> None:
        self.now = 1_000_000.1

    def monotonic_ns(self) -> int:
        return round(self.now * 1e9)


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> Iterator[Clock]:
    still = Clock()
    monkeypatch.setattr(rate_limit, "time", still)
    monkeypatch.setattr(rate_limit, "_full_at", {})
    return still


SECOND = rate_limit.NS_PER_SECOND


def allowed(key: uuid.UUID, limit: int, now_ns: int, attempts: int) -> int:
    return sum(rate_limit._wait_ns(key, limit, now_ns) <= 0 for _ in range(attempts))


class TestRequests:
    @pytest.fixture(autouse=True)
    def written(self, db: None, hosted_upstream: DemoUpstream, monkeypatch: pytest.MonkeyPatch) -> list[Usage]:
        records: list[Usage] = []
        monkeypatch.setattr(writer, "put", records.append)
        return records

    @pytest.fixture
    def tenant(self, settings: Any) -> Tenant:
        settings.RATE_LIMIT_PER_KEY = 3
        return make_tenant()

    def statuses(self, tenant: Tenant, count: int, key: str = "") -> list[int]:
        return [call(CHAT, chat(), key or tenant.key).status for _ in range(count)]

    def test_it_works(self, tenant: Tenant, clock: Clock) -> None:
        assert self.statuses(tenant, 5) == [200, 200, 200, 429, 429]
        clock.now += 61
        assert self.statuses(tenant, 5) == [200, 200, 200, 429, 429]

    def test_zero_is_no_limit(self, tenant: Tenant, settings: Any) -> None:
        settings.RATE_LIMIT_PER_KEY = 0
        assert set(self.statuses(tenant, 30)) == {200}

    @pytest.mark.parametrize("path", [CHAT, RESPONSES, MESSAGES])
    def test_what_is_told(self, tenant: Tenant, settings: Any, written: list[Usage], path: str) -> None:
        settings.RATE_LIMIT_PER_KEY = 1
        body = {**chat(), "input": "hello"}
        assert call(path, body, tenant.key).status == 200
        answer = call(path, body, tenant.key)
        assert answer.status == 429
        assert check_error(429, answer.headers, answer.json(), path) == "rate_limited"
        assert "x-kilo-mode" not in answer.headers
        assert len(written) == 1

    def test_whoever_waits_as_told_gets_through(self, tenant: Tenant, clock: Clock) -> None:
        self.statuses(tenant, 3)
        refused: Answer = call(CHAT, chat(), tenant.key)
        wait = int(refused.headers["retry-after"])
        assert wait == 20
        clock.now += wait - 1
        assert self.statuses(tenant, 1) == [429]
        clock.now += 1
        assert self.statuses(tenant, 2) == [200, 429]

    def test_each_key_has_its_own(self, tenant: Tenant) -> None:
        another = api_key_create(
            user=tenant.user,
            name="another",
            organization=tenant.organization,
            scopes=[Scope.INFERENCE],
            actor=COMMAND,
        ).secret.reveal()
        assert self.statuses(tenant, 4) == [200, 200, 200, 429]
        assert self.statuses(tenant, 4, another) == [200, 200, 200, 429]
        assert self.statuses(make_tenant(), 1) == [200]

    def test_all_paths_count_together(self, tenant: Tenant) -> None:
        body = {**chat(), "input": "hello"}
        paths = [CHAT, "/api/openrouter/chat/completions", MESSAGES, RESPONSES]
        assert [call(path, body, tenant.key).status for path in paths] == [200, 200, 200, 429]

    def test_requests_that_fail_count_too(self, tenant: Tenant) -> None:
        bodies = [b"{", {}, chat("nobody/nothing"), chat()]
        assert [call(CHAT, body, tenant.key).status for body in bodies] == [400, 404, 404, 429]

    def test_it_comes_before_the_body_is_looked_at(self, tenant: Tenant) -> None:
        self.statuses(tenant, 3)
        assert [call(CHAT, body, tenant.key).status for body in (b"", b"\xff", {}, chat())] == [429] * 4

    def test_it_comes_after_authentication(self, tenant: Tenant) -> None:
        """A stranger uses up nobody's allowance, and neither does a key that is refused."""
        assert [call(CHAT, chat(), "kilo_unknown").status for _ in range(10)] == [401] * 10
        ApiKey.objects.update(scopes=[Scope.MANAGEMENT])
        assert self.statuses(tenant, 10) == [403] * 10
        ApiKey.objects.update(scopes=[Scope.INFERENCE])
        assert self.statuses(tenant, 4) == [200, 200, 200, 429]

    def test_a_refused_request_costs_nothing(self, tenant: Tenant, clock: Clock) -> None:
        """Else a client that asks in a loop would wait forever."""
        assert self.statuses(tenant, 50) == [200] * 3 + [429] * 47
        clock.now += 20
        assert self.statuses(tenant, 2) == [200, 429]


class TestCounting:
    @settings(max_examples=300, deadline=None)
    @given(limit=st.integers(1, 3000), now_ns=st.integers(0, 10**17))
    def test_at_once_it_is_exactly_the_limit(self, limit: int, now_ns: int) -> None:
        assert allowed(uuid.uuid4(), limit, now_ns, limit + 3) == limit

    @settings(max_examples=100, deadline=None)
    @given(limit=st.integers(1, 200), pauses=st.lists(st.integers(0, 30 * SECOND), min_size=1, max_size=60))
    def test_over_time_it_is_the_rate(self, limit: int, pauses: list[int]) -> None:
        """In any stretch of time: the allowance that was saved up, and what came in by the minute since."""
        key, now_ns, passed = uuid.uuid4(), 500 * SECOND, 0
        for pause in pauses:
            now_ns += pause
            passed += allowed(key, limit, now_ns, 5)
        assert passed <= limit + limit * sum(pauses) / rate_limit.WINDOW_NS + 1
        # And it is given out again in full.
        assert allowed(key, limit, now_ns + rate_limit.WINDOW_NS, limit + 3) == limit

    @settings(max_examples=200, deadline=None)
    @given(limit=st.integers(1, 10_000))
    def test_the_wait_that_is_told_is_enough_and_no_more_than_a_minute(self, limit: int) -> None:
        key = uuid.uuid4()
        assert allowed(key, limit, 7, limit) == limit
        wait_ns = rate_limit._wait_ns(key, limit, 7)
        assert 0 < wait_ns <= rate_limit.WINDOW_NS
        assert rate_limit._wait_ns(key, limit, 7 + wait_ns) <= 0

    def test_many_threads_get_no_more_than_one(self) -> None:
        key, passed = uuid.uuid4(), []
        threads = [
            threading.Thread(target=lambda: passed.append(allowed(key, 100, 5, 50)), daemon=True) for _ in range(8)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(10)
        assert sum(passed) == 100

    def test_the_memory_is_bounded(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(rate_limit, "MAX_KEYS", 100)
        for number in range(1000):
            rate_limit._wait_ns(uuid.uuid4(), 60, number * 2 * SECOND)
        assert len(rate_limit._full_at) <= 101
