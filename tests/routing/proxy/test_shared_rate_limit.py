"""The allowances of keys in a real Redis, and what happens while it is away."""

from __future__ import annotations

import logging
import socket
import threading
import time
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from redis import Redis

from routing.demo import DemoUpstream
from routing.proxy import rate_limit, shared_rate_limit
from routing.proxy.shared_rate_limit import SharedAllowances, shared_allowances
from tests.support.inprocess import CHAT, call, chat
from tests.support.logs import said_by
from tests.support.redis_server import RedisServer
from tests.support.tenants import make_tenant

WINDOW_NS = rate_limit.WINDOW_NS


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    with RedisServer(tmp_path_factory.mktemp("redis")) as server:
        yield server


@pytest.fixture
def redis(running: RedisServer) -> RedisServer:
    with Redis(port=running.port) as client:
        client.flushall()
    return running


def wait_ns(allowances: SharedAllowances, key: uuid.UUID, limit: int) -> int | None:
    return allowances.wait_ns(key, interval_ns=WINDOW_NS // limit, window_ns=WINDOW_NS)


def allowed(allowances: SharedAllowances, key: uuid.UUID, limit: int, attempts: int) -> int:
    waits = [wait_ns(allowances, key, limit) for _ in range(attempts)]
    assert None not in waits
    return sum(wait is not None and wait <= 0 for wait in waits)


class TestCounting:
    def test_many_processes_get_no_more_than_one(self, redis: RedisServer) -> None:
        """Each with connections of its own, and the intervals of a slow limit longer than the test."""
        key, passed = uuid.uuid4(), []
        clients = [SharedAllowances(redis.url) for _ in range(8)]
        threads = [
            threading.Thread(target=lambda client=client: passed.append(allowed(client, key, 20, 10)))
            for client in clients
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(10)
        assert sum(passed) == 20

    def test_the_wait_that_is_told_is_enough(self, redis: RedisServer) -> None:
        allowances, key, limit = SharedAllowances(redis.url), uuid.uuid4(), 600
        assert allowed(allowances, key, limit, limit) == limit
        wait = wait_ns(allowances, key, limit)
        while wait is not None and wait <= 0:  # What came in while the allowance was used up.
            wait = wait_ns(allowances, key, limit)
        assert wait is not None
        assert 0 < wait <= WINDOW_NS // limit
        time.sleep(wait / rate_limit.NS_PER_SECOND)
        again = wait_ns(allowances, key, limit)
        assert again is not None
        assert again <= 0

    def test_each_key_has_its_own_and_is_forgotten_when_it_is_full_again(self, redis: RedisServer) -> None:
        allowances, keys = SharedAllowances(redis.url), [uuid.uuid4(), uuid.uuid4()]
        assert [allowed(allowances, key, 3, 5) for key in keys] == [3, 3]
        assert redis.stored_keys() == sorted(f"kilo:rate:{key}" for key in keys)
        with Redis(port=redis.port) as client:
            assert all(0 < client.pttl(name) <= 60_000 for name in redis.stored_keys())

    def test_one_round_trip(self, redis: RedisServer) -> None:
        allowances, key = SharedAllowances(redis.url), uuid.uuid4()
        wait_ns(allowances, key, 100)
        with Redis(port=redis.port) as client:
            before = client.info("commandstats")
            allowed(allowances, key, 100, 10)
            after = client.info("commandstats")

        def calls(stats: Any, name: str) -> int:
            return int(stats.get(f"cmdstat_{name}", {}).get("calls", 0))

        assert calls(after, "evalsha") - calls(before, "evalsha") == 10
        for name in ("eval", "script|load", "hello", "client|setinfo", "select", "ping"):
            assert calls(after, name) == calls(before, name), name


class TestAway:
    def test_it_is_said_once_nobody_waits_and_it_comes_back(
        self, redis: RedisServer, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        caplog.set_level(logging.INFO)
        monkeypatch.setattr(shared_rate_limit, "RETRY_SECONDS", 0.1)
        allowances, key = SharedAllowances(redis.url), uuid.uuid4()
        assert allowed(allowances, key, 5, 1) == 1
        redis.kill()
        try:
            assert [wait_ns(allowances, key, 5) for _ in range(50)] == [None] * 50
            assert [line.partition("(")[0] for line in said_by(shared_rate_limit, caplog)] == ["Redis does not answer "]
            assert str(redis.port) not in caplog.text
        finally:
            redis.start()
        time.sleep(0.1)
        assert allowed(allowances, key, 5, 9) == 5
        _, last = said_by(shared_rate_limit, caplog)
        assert last.startswith("Redis answers again")

    def test_those_who_find_it_away_at_once_say_it_once(self, caplog: pytest.LogCaptureFixture) -> None:
        together = threading.Barrier(4)
        with socket.create_server(("127.0.0.1", 0)) as silent:
            allowances = SharedAllowances(f"redis://127.0.0.1:{silent.getsockname()[1]}/0")

            def ask(_: int) -> int | None:
                together.wait()
                return wait_ns(allowances, uuid.uuid4(), 5)

            with ThreadPoolExecutor(4) as pool:
                assert list(pool.map(ask, range(4))) == [None] * 4
        assert len(said_by(shared_rate_limit, caplog)) == 1

    def test_a_server_that_is_silent_is_asked_once_in_a_while(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Each that is asked costs a tenth of a second, so it must not be each request."""
        monkeypatch.setattr(shared_rate_limit, "RETRY_SECONDS", 60.0)
        accepted = []
        with socket.create_server(("127.0.0.1", 0)) as silent:
            silent.settimeout(0.2)
            allowances = SharedAllowances(f"redis://127.0.0.1:{silent.getsockname()[1]}/0")
            assert [wait_ns(allowances, uuid.uuid4(), 5) for _ in range(200)] == [None] * 200
            try:
                while True:
                    accepted.append(silent.accept()[0])
            except TimeoutError:
                pass
        for connection in accepted:
            connection.close()
        assert len(accepted) == 1


class TestRequests:
    @pytest.fixture
    def key(self, db: None, hosted_upstream: DemoUpstream, redis: RedisServer, settings: Any) -> Iterator[str]:
        settings.CACHE_URL = redis.url
        settings.RATE_LIMIT_PER_KEY = 3
        shared_allowances.cache_clear()
        yield make_tenant().key
        shared_allowances.cache_clear()

    def test_it_works(self, key: str, redis: RedisServer, monkeypatch: pytest.MonkeyPatch) -> None:
        assert [call(CHAT, chat(), key).status for _ in range(2)] == [200, 200]
        shared_allowances.cache_clear()
        monkeypatch.setattr(rate_limit, "_full_at", {})  # As another process has it.
        answers = [call(CHAT, chat(), key) for _ in range(2)]
        assert [answer.status for answer in answers] == [200, 429]
        assert 19 <= int(answers[1].headers["retry-after"]) <= 20
        assert len(redis.stored_keys()) == 1

    def test_without_a_limit_it_is_not_asked(self, key: str, redis: RedisServer, settings: Any) -> None:
        settings.RATE_LIMIT_PER_KEY = 0
        assert call(CHAT, chat(), key).status == 200
        assert redis.stored_keys() == []

    def test_while_it_is_away_the_process_counts_for_itself(
        self, key: str, redis: RedisServer, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(rate_limit, "_full_at", {})
        redis.kill()
        try:
            assert [call(CHAT, chat(), key).status for _ in range(5)] == [200, 200, 200, 429, 429]
        finally:
            redis.start()
