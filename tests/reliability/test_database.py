"""PostgreSQL is killed, and its disk is full. What else it may do is in `tests/e2e/test_restarts.py`."""

from __future__ import annotations

import json
import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import pytest

from tests.e2e import wire
from tests.e2e.lab import PATHS, USAGE, body_of, eventually
from tests.reliability.own_database import OwnDatabase, gateway_with_own_database
from tests.support.live import Gateway

CHAT = "chat_completions"


@dataclass
class Alone:
    """A gateway and its own database."""

    gateway: Gateway
    database: OwnDatabase

    def send(self, *, stream: bool = False) -> wire.Exchange:
        key = self.gateway.user("alice")["api_key"]
        body = body_of(CHAT, stream=stream)
        return wire.send(self.gateway.base_url, PATHS[CHAT], body, key, {"x-kilocode-mode": "code"})

    def ask_many(self, count: int) -> list[wire.Reply]:
        """One after another, from a few clients."""
        with ThreadPoolExecutor(4) as clients:
            return list(clients.map(lambda _: self.send().reply(), range(count)))

    def create_mode(self, slug: str) -> int:
        """Through the management API; the status of its answer."""
        organization = self.gateway.organization("Acme")["id"]
        body = {"slug": slug, "name": slug, "config": {"roleDefinition": "x" * 20_000, "groups": ["read"]}}
        request = urllib.request.Request(
            f"{self.gateway.base_url}/api/organizations/{organization}/modes",
            data=json.dumps(body).encode(),
            headers={
                "Authorization": f"Bearer {self.gateway.user('alice')['management_key']}",
                "Content-Type": "application/json",
            },
        )
        try:
            with urllib.request.urlopen(request, timeout=20) as answer:
                return int(answer.status)
        except urllib.error.HTTPError as error:
            with error:
                return error.code

    def is_back(self) -> bool:
        return self.send().reply().status == 200

    def records(self) -> Counter[str]:
        """How many rows each request has."""
        return Counter(str(row["request_id"]) for row in self.gateway.sql("SELECT request_id FROM routing_usagerecord"))

    def counted(self) -> int:
        """How many requests the roll-ups know."""
        query = "SELECT coalesce(sum(requests), 0)::bigint AS n FROM routing_usagerollup WHERE grain = 'day'"
        return int(self.gateway.sql(query)[0]["n"])

    def assert_recorded_once(self, ids: set[str]) -> None:
        """Each of these requests, and no request twice, neither as a row nor in what is summed up."""
        assert eventually(lambda: ids <= self.records().keys(), 20), len(ids - self.records().keys())
        records = self.records()
        assert set(records.values()) == {1}
        assert self.counted() == len(records)


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Alone]:
    with gateway_with_own_database(tmp_path_factory.mktemp("alone")) as (gateway, database):
        yield Alone(gateway, database)


def test_it_is_killed_in_the_middle_of_streams(alone: Alone) -> None:
    """Streams run on to their end, requests are told, and after its restart nothing is lost and nothing there twice."""
    before = {reply.request_id for reply in alone.ask_many(40)}
    alone.gateway.upstream.behave(events=20, interval_ms=100, usage=USAGE)
    streams = [alone.send(stream=True) for _ in range(4)]
    for stream in streams:
        next(stream.pieces())
    alone.database.kill()
    for reply in alone.ask_many(4):
        assert (reply.status, reply.error_type) == (503, "temporarily_unavailable")
        assert int(reply["retry-after"]) > 0
    for stream in streams:
        assert b"".join(piece for _, piece in stream.pieces()).endswith(b"data: [DONE]\n\n")
    alone.gateway.upstream.reset_behaviour()
    alone.database.start()
    assert eventually(alone.is_back, 20)
    alone.assert_recorded_once(before | {stream.request_id for stream in streams})


def test_it_is_killed_while_records_are_written(alone: Alone) -> None:
    """Whatever was answered is recorded, be it before, in the moment of, or after the end of a batch's transaction."""
    with ThreadPoolExecutor(1) as clients:
        asking = clients.submit(alone.ask_many, 300)
        time.sleep(0.2)
        alone.database.kill()
        alone.database.start()
        replies = asking.result(60)
    statuses = Counter(reply.status for reply in replies)
    assert set(statuses) <= {200, 503}
    assert statuses[200] > 0
    assert eventually(alone.is_back, 20)
    alone.assert_recorded_once({reply.request_id for reply in replies if reply.status == 200})


def test_its_disk_is_full(alone: Alone) -> None:
    """Requests are served or told, writes are whole or not at all, and with room again all is as it should be."""
    if not alone.database.is_on_small_disk:
        pytest.skip("needs the right to mount a file system")
    created = {"before": alone.create_mode("before")}
    alone.database.fill_disk()
    try:
        replies = alone.ask_many(400)
        created |= {f"full-{number}": alone.create_mode(f"full-{number}") for number in range(10)}
        assert eventually(lambda: "Usage is not written yet (DiskFull)" in alone.gateway.log(), 10)
    finally:
        alone.database.free_disk()
    if not alone.database.is_running:
        alone.database.start()
    assert eventually(alone.is_back, 20)
    created["after"] = alone.create_mode("after")

    assert {reply.status for reply in replies} <= {200, 503}
    alone.assert_recorded_once({reply.request_id for reply in replies if reply.status == 200})
    assert created["before"] == created["after"] == 201
    assert set(created.values()) == {201, 503}
    stored = {row["slug"] for row in alone.gateway.sql("SELECT slug FROM modes_custommode")}
    audited = {row["target_id"] for row in alone.gateway.sql(_CREATED)}
    assert stored & created.keys() == {slug for slug, status in created.items() if status == 201}
    assert len(audited) == len(stored)
    assert alone.gateway.manage("verify_audit_log").returncode == 0


_CREATED = "SELECT target_id FROM organizations_auditlog WHERE action = 'mode.created'"
