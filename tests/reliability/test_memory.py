"""Memory, connections and threads of a worker after many requests and aborted streams. `make soak` makes many more."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest

from tests.e2e import wire
from tests.e2e.lab import PATHS, body_of, eventually
from tests.e2e.tenants import LiveTenant, make_tenants
from tests.support.live import Gateway, server_beside
from tests.support.tenants import auto_settings

IS_LONG = bool(os.environ.get("SOAK"))
REQUESTS, ABORTED = (200_000, 2_000) if IS_LONG else (5_000, 100)
WARM_UP_REQUESTS, WARM_UP_ABORTED = (20_000, 200) if IS_LONG else (8_000, 50)
GROWTH = 1.10
CLIENTS = 16
CHAT = PATHS["chat_completions"]

SCRIPT = """
wrk.method = "POST"
wrk.headers["Authorization"] = "Bearer {key}"
wrk.headers["Content-Type"] = "application/json"
wrk.headers["X-KiloCode-Mode"] = "code"
wrk.body = [==[{body}]==]
"""


@dataclass
class Used:
    """What a process has in use."""

    memory_bytes: int
    files: int
    threads: int


@dataclass
class Watched:
    """A server with one worker, which is looked at from outside."""

    gateway: Gateway
    tenant: LiveTenant
    script: Path
    worker: psutil.Process

    def request(self, count: int) -> int:
        """At least so many requests from a few clients; how many there were."""
        done = 0
        while done < count:
            command = [
                "wrk",
                "-t1",
                "--timeout=30s",
                f"-c{CLIENTS}",
                f"-d{10 if IS_LONG else 1}s",
                "-s",
                str(self.script),
            ]
            said = subprocess.run(
                [*command, f"{self.gateway.base_url}{CHAT}"], check=True, capture_output=True, text=True
            ).stdout
            assert "Non-2xx" not in said, said
            assert "Socket errors" not in said, said
            done += int(re.findall(r"(\d+) requests in", said)[0])
        return done

    def abort(self, count: int) -> int:
        """So many streams that the client leaves after the first event."""
        self.gateway.upstream.behave(events=500, interval_ms=20)
        try:
            with ThreadPoolExecutor(CLIENTS) as clients:
                list(clients.map(lambda _: self._abort_one(), range(count)))
        finally:
            self.gateway.upstream.reset_behaviour()
        return count

    def _abort_one(self) -> None:
        body = body_of("chat_completions", stream=True)
        stream = wire.send(self.gateway.base_url, CHAT, body, self.tenant.key, {"x-kilocode-mode": "code"})
        next(stream.pieces())
        stream.close()

    def recorded(self) -> int:
        query = "SELECT count(*) AS n FROM routing_usagerecord WHERE organization_id = %s"
        return int(self.gateway.sql(query, self.tenant.organization_id)[0]["n"])

    def used(self) -> Used:
        memory = self.worker.memory_full_info().uss
        return Used(memory, self.worker.num_fds(), self.worker.num_threads())


@pytest.fixture(scope="module")
def watched(gateway: Gateway, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watched]:
    if shutil.which("wrk") is None:
        pytest.skip("wrk is missing: apt-get install wrk")
    folder = tmp_path_factory.mktemp("memory")
    described = {"watched": {"settings": auto_settings({"code": "anthropic/claude-sonnet-5"}), "balance": 10**15}}
    tenant = make_tenants(gateway, described)["watched"]
    script = folder / "requests.lua"
    script.write_text(SCRIPT.format(key=tenant.key, body=json.dumps(body_of("chat_completions"))))
    with server_beside(gateway, folder) as server:
        children = psutil.Process(server.process.pid).children()
        worker = max(children, key=lambda process: process.num_threads())
        yield Watched(server, tenant, script, worker)
        server.upstream.clear()


def test_it_stays_flat(watched: Watched) -> None:
    """After the warm-up, neither requests nor aborted streams leave anything behind; and each has its record."""
    done = watched.request(WARM_UP_REQUESTS) + watched.abort(WARM_UP_ABORTED)
    assert eventually(lambda: watched.recorded() >= done, 20)
    before = watched.used()
    done += watched.request(REQUESTS) + watched.abort(ABORTED)
    assert eventually(lambda: watched.recorded() >= done, 20)
    time.sleep(0.2)
    after = watched.used()
    assert after.memory_bytes <= before.memory_bytes * GROWTH, (before, after)
    assert after.files <= before.files + 2 * CLIENTS, (before, after)
    assert after.threads <= before.threads + CLIENTS, (before, after)
