"""Two gateways on one database and one Redis behind nginx, as `deploy/` has it: they agree, and one at a time can be
replaced.
"""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
import urllib.request
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from routing.demo import DemoUpstream
from tests.e2e import wire
from tests.e2e.lab import PATHS, body_of, eventually
from tests.reliability.nginx import Nginx, running_nginx
from tests.support.live import ROOT, Gateway, server_beside
from tests.support.redis_server import RedisServer

CHAT = PATHS["chat_completions"]
A_MINUTE = 40
MODELS = ("anthropic/claude-opus-5", "anthropic/claude-sonnet-5")


@dataclass
class Pair:
    """Two servers with the same settings but for their ports."""

    gateways: list[Gateway]
    nginx: Nginx
    redis: RedisServer
    stack: ExitStack

    @property
    def urls(self) -> tuple[str, str]:
        return self.gateways[0].base_url, self.gateways[1].base_url

    @property
    def upstream(self) -> DemoUpstream:
        return self.gateways[0].upstream

    def user(self, name: str) -> dict[str, Any]:
        return self.gateways[0].user(name)

    def ask(self, url: str, mode: str = "code", who: str = "alice", **options: Any) -> wire.Reply:
        key = self.user(who)["api_key"]
        return wire.send(url, CHAT, body_of("chat_completions", **options), key, {"x-kilocode-mode": mode}).reply()

    def route(self, url: str, mode: str, model: str) -> int:
        """Change a route through the management API of one of them."""
        organization = self.gateways[0].organization("Acme")["id"]
        request = urllib.request.Request(
            f"{url}/api/organizations/{organization}/organization-auto/routes/{mode}",
            data=json.dumps({"model": model}).encode(),
            headers={
                "Authorization": f"Bearer {self.user('alice')['management_key']}",
                "Content-Type": "application/json",
            },
            method="PUT",
        )
        with urllib.request.urlopen(request, timeout=20) as answer:
            return int(answer.status)


@pytest.fixture(scope="module")
def pair(gateway: Gateway, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    folder = tmp_path_factory.mktemp("pair")
    with ExitStack() as stack:
        redis = stack.enter_context(RedisServer(folder))
        gateways = [stack.enter_context(server_beside(gateway, folder, CACHE_URL=redis.url)) for _ in range(2)]
        nginx = stack.enter_context(running_nginx(folder / "nginx", _ports(gateways)))
        yield Pair(gateways, nginx, redis, stack)


def _ports(gateways: list[Gateway]) -> list[int]:
    return [int(one.environment["PORT"]) for one in gateways]


def test_what_one_commits_the_other_obeys_at_once(pair: Pair) -> None:
    """From the first request that starts after the commit, in both directions."""
    for number in range(8):
        here, there = pair.urls if number % 2 else pair.urls[::-1]
        model = MODELS[number % 2]
        assert pair.route(here, "code", model) == 200
        assert pair.ask(there)["x-kilo-model"] == model
        assert pair.ask(here)["x-kilo-model"] == model


def test_a_key_has_one_allowance_whichever_gateway_nginx_chooses(pair: Pair, tmp_path: Path) -> None:
    """Each of two with a count of its own would let as much pass again."""
    with ExitStack() as stack:
        limited = [
            stack.enter_context(server_beside(one, tmp_path, RATE_LIMIT_PER_KEY=str(A_MINUTE))) for one in pair.gateways
        ]
        nginx = stack.enter_context(running_nginx(tmp_path / "nginx", _ports(limited)))
        started = time.monotonic()
        statuses = Counter(pair.ask(nginx.url, who="dave").status for _ in range(2 * A_MINUTE))
        came_in = (time.monotonic() - started) * A_MINUTE / 60
        assert statuses.keys() == {200, 429}
        assert A_MINUTE <= statuses[200] <= A_MINUTE + came_in + 1
        assert len(pair.redis.stored_keys()) == 1


def test_streams_come_through_nginx_as_they_are_made(pair: Pair) -> None:
    pair.upstream.behave(events=6, interval_ms=60)
    try:
        key = pair.user("alice")["api_key"]
        stream = wire.send(
            pair.nginx.url, CHAT, body_of("chat_completions", stream=True), key, {"x-kilocode-mode": "code"}
        )
        arrived = [moment for moment, _ in stream.pieces()]
    finally:
        pair.upstream.reset_behaviour()
    assert len(arrived) >= 4
    assert arrived[-1] - arrived[0] > 0.15


def test_one_catalog_sync_at_a_time(pair: Pair) -> None:
    pair.upstream.clear()
    command = [sys.executable, "manage.py", "sync_catalog"]
    running = [
        subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        for environment in (one.environment for one in pair.gateways)
    ]
    said = [process.communicate(timeout=60)[0].decode() for process in running]
    assert [process.returncode for process in running] == [0, 0]
    lists = [row for row in pair.upstream.requests() if row["path"].endswith("/models")]
    waited = sum("Another process is reading the catalog already" in text for text in said)
    # Whichever was later either found the other one at work, or came when it had ended.
    assert len(lists) == 2 - waited


@dataclass
class Load:
    """Clients that ask one request after another, whole and streamed, until they are told to stop."""

    pair: Pair
    results: Counter[str] = field(default_factory=Counter)
    stopped: threading.Event = field(default_factory=threading.Event)

    def run(self, number: int) -> None:
        while not self.stopped.is_set():
            try:
                reply = self.pair.ask(self.pair.nginx.url, stream=number % 2 == 0)
                ended = number % 2 or reply.content.endswith(b"data: [DONE]\n\n")
                self.results[f"{reply.status} {'complete' if ended else 'cut'}"] += 1
            except (OSError, wire.BrokenAnswer) as error:
                self.results[repr(error)] += 1
            # A load, but not all that the machine has: a gateway has to start meanwhile.
            self.stopped.wait(0.02)

    @property
    def done(self) -> int:
        return sum(self.results.values())


def test_a_rolling_restart_fails_no_request(pair: Pair) -> None:
    """The last test of this file: the gateways that are left are others."""
    load = Load(pair)
    threads = [threading.Thread(target=load.run, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    try:
        _roll(pair, load, 0)
        _roll(pair, load, 1)
    finally:
        load.stopped.set()
        for thread in threads:
            thread.join(30)
    assert set(load.results) == {"200 complete"}, load.results


def _roll(pair: Pair, load: Load, index: int) -> None:
    """Replace one, with the other one serving meanwhile."""
    old = pair.gateways[index]
    port = int(old.environment["PORT"])
    before = load.done
    assert eventually(lambda: load.done > before + 20, 20)
    pair.nginx.take_out(port)
    old.process.terminate()
    assert old.process.wait(40) == 0
    alone = load.done
    assert eventually(lambda: load.done > alone + 20, 20)
    new = server_beside(old, old.log_file.parent, PORT=str(port))
    pair.gateways[index] = pair.stack.enter_context(new)
    pair.nginx.put_back(port)
