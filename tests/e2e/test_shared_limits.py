"""Limits that two gateways on one database and one Redis keep together, over real HTTP."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.e2e import wire
from tests.e2e.lab import PATHS, body_of, eventually
from tests.e2e.scripted import Line, ScriptedUpstream, ok_chat
from tests.e2e.tenants import LiveTenant, make_tenants
from tests.support.live import Gateway, free_port, live_gateway, running_server
from tests.support.redis_server import RedisServer
from tests.support.tenants import auto_settings

CLIENTS = 64
A_MINUTE = 100
USAGE = {"prompt_tokens": 1000, "completion_tokens": 200}


@dataclass
class Pair:
    """Two gateways, as behind a load balancer."""

    gateway: Gateway
    base_urls: tuple[str, str]
    logs: tuple[Path, Path]
    redis: RedisServer
    upstream: ScriptedUpstream
    tenants: dict[str, LiveTenant]

    def ask(self, tenant: str, number: int) -> wire.Reply:
        url = self.base_urls[number % 2]
        return wire.ask(url, PATHS["chat_completions"], body_of("chat_completions"), self.tenants[tenant].key)

    def ask_many(self, tenant: str, count: int) -> list[wire.Reply]:
        """So many at once, half of them at each gateway."""
        replies: list[wire.Reply] = []
        threads = [
            threading.Thread(target=lambda number=number: replies.append(self.ask(tenant, number)))
            for number in range(count)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        assert len(replies) == count
        return replies

    def account(self, tenant: str) -> dict[str, Any]:
        organization_id = self.tenants[tenant].organization_id
        (row,) = self.gateway.sql("SELECT * FROM routing_hostedbalance WHERE organization_id = %s", organization_id)
        return row

    def said(self, text: str) -> list[int]:
        return [log.read_text().count(text) for log in self.logs]


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    folder = tmp_path_factory.mktemp("pair")
    with ExitStack() as stack:
        redis = stack.enter_context(RedisServer(folder))
        upstream = stack.enter_context(ScriptedUpstream())
        gateway = stack.enter_context(
            live_gateway(
                folder,
                seeded=False,
                CACHE_URL=redis.url,
                RATE_LIMIT_PER_KEY=str(A_MINUTE),
                OPENROUTER_BASE_URL=f"{upstream.base_url}/api/v1",
            )
        )
        second = {**gateway.environment, "PORT": str(free_port()), "MIGRATE": "0"}
        second_log = folder / "second.log"
        stack.enter_context(running_server(second, second_log))
        settings = auto_settings({"code": "anthropic/claude-sonnet-5"}, "anthropic/claude-sonnet-5")
        names = ("limited", "many", "away")
        tenants = make_tenants(gateway, {name: {"settings": settings, "balance": 10**12} for name in names})
        urls = (gateway.base_url, f"http://127.0.0.1:{second['PORT']}")
        yield Pair(gateway, urls, (gateway.log_file, second_log), redis, upstream, tenants)


def test_sixty_four_at_once_against_a_limit_that_allows_ten(pair: Pair) -> None:
    answers = threading.Event()

    def script(line: Line) -> None:
        answers.wait(60)
        line.answer_json(ok_chat(usage=USAGE))

    # What one request reserves, and what it costs.
    pair.upstream.script = script
    first = threading.Thread(target=pair.ask, args=("limited", 0))
    first.start()
    assert eventually(lambda: pair.account("limited")["reserved_microdollars"] > 0)
    reserved = pair.account("limited")["reserved_microdollars"]
    answers.set()
    first.join(20)
    assert eventually(lambda: pair.account("limited")["reserved_microdollars"] == 0)
    cost = pair.account("limited")["day_spent_microdollars"]
    assert 0 < cost < reserved

    answers.clear()
    pair.upstream.requests.clear()
    pair.gateway.sql(
        "UPDATE routing_hostedbalance SET has_limits = TRUE, day_limit_microdollars = %s WHERE organization_id = %s",
        cost + 10 * reserved - 1,
        pair.tenants["limited"].organization_id,
    )
    replies: list[wire.Reply] = []
    asking = threading.Thread(target=lambda: replies.extend(pair.ask_many("limited", CLIENTS)))
    asking.start()
    refused = "SELECT count(*) FROM routing_usagerecord WHERE organization_id = %s AND status = 402"
    organization_id = pair.tenants["limited"].organization_id
    # The ten wait for the upstream until all others have their answer.
    assert eventually(lambda: pair.gateway.sql(refused, organization_id)[0]["count"] == CLIENTS - 10, 30)
    assert len(pair.upstream.requests) == 10
    assert pair.account("limited")["reserved_microdollars"] == 10 * reserved
    answers.set()
    asking.join(60)

    assert sorted(reply.status for reply in replies) == [200] * 10 + [402] * (CLIENTS - 10)
    for reply in replies:
        if reply.status == 402:
            assert reply.json()["error_type"] == "usage_limit_exceeded"
            assert "left, which running requests may need" in reply.json()["message"]
    assert eventually(lambda: pair.account("limited")["reserved_microdollars"] == 0)
    row = pair.account("limited")
    (total,) = pair.gateway.sql(
        "SELECT sum(hosted_cost_microdollars)::bigint AS spent FROM routing_usagerecord WHERE organization_id = %s",
        organization_id,
    )
    assert row["day_spent_microdollars"] == row["month_spent_microdollars"] == total["spent"] == 11 * cost
    assert row["balance_microdollars"] == 10**12 - 11 * cost
    assert pair.gateway.sql("SELECT count(*) FROM routing_spendingreservation")[0]["count"] == 0
    # Most of what was reserved was not needed, so there is something left.
    assert pair.ask("limited", 1).status == 200


def test_a_key_has_one_allowance_at_both(pair: Pair) -> None:
    pair.upstream.script = lambda line: line.answer_json(ok_chat(usage=USAGE))
    started = time.monotonic()
    replies = [reply for _ in range(3) for reply in pair.ask_many("many", 50)]
    came_in = (time.monotonic() - started) * A_MINUTE / 60
    passed = [reply for reply in replies if reply.status == 200]
    refused = [reply for reply in replies if reply.status == 429]
    assert len(passed) + len(refused) == 150
    assert A_MINUTE <= len(passed) <= A_MINUTE + came_in + 1
    assert {reply["retry-after"] for reply in refused} == {"1"}


def test_redis_is_killed_and_comes_back(pair: Pair) -> None:
    pair.upstream.script = lambda line: line.answer_json(ok_chat(usage=USAGE))
    assert pair.ask("away", 0).status == pair.ask("away", 1).status == 200
    pair.redis.kill()
    try:
        assert {pair.ask("away", number).status for number in range(40)} == {200}
        assert pair.said("Redis does not answer") == [1, 1]
    finally:
        pair.redis.start()

    def is_back_at_both() -> bool:
        assert pair.ask("away", 0).status == pair.ask("away", 1).status == 200
        time.sleep(0.1)
        return all(pair.said("Redis answers again"))

    assert eventually(is_back_at_both)
    assert pair.said("Redis does not answer") == [1, 1]
    assert pair.redis.stored_keys() == [f"kilo:rate:{pair.tenants['away'].key_id}"]
