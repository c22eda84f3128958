"""Upstreams that take their time. How a single request ends then is in `tests/e2e/test_interrupted_streams.py`."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.e2e import wire
from tests.e2e.lab import PATHS, body_of, eventually
from tests.support.live import Gateway, server_beside

CHAT = "chat_completions"
WAITING = 150
PATIENCE_SECONDS = 2


def test_whoever_waits_for_one_holds_nobody_else_up(gateway: Gateway, tmp_path: Path) -> None:
    """Far more requests wait than there are connections to the database, and all others are served meanwhile."""
    with server_beside(gateway, tmp_path, UPSTREAM_FIRST_BYTE_TIMEOUT=str(PATIENCE_SECONDS)) as server:
        key = server.user("alice")["api_key"]

        def send(mode: str) -> wire.Exchange:
            return wire.send(server.base_url, PATHS[CHAT], body_of(CHAT), key, {"x-kilocode-mode": mode})

        server.upstream.clear()
        server.upstream.behave("stall_before_headers", model="demo-model", seconds=2 * PATIENCE_SECONDS)
        try:
            waiting = [send("local-docs") for _ in range(WAITING)]
            assert eventually(lambda: len(server.upstream.requests()) >= WAITING, 10)
            with ThreadPoolExecutor(8) as clients:
                served = list(clients.map(lambda _: send("code").reply(), range(40)))
            told = [exchange.reply() for exchange in waiting]
        finally:
            server.upstream.reset_behaviour()
        assert {reply.status for reply in served} == {200}
        assert {(reply.status, reply.error_type) for reply in told} == {(504, "upstream_timeout")}
        first_told = min(server.usage(reply.request_id)["duration_ms"] for reply in told)
        assert first_told >= PATIENCE_SECONDS * 1000
        last_served = max(server.usage(reply.request_id)["duration_ms"] for reply in served)
        assert last_served < first_told, "nobody waited for those who wait"
        assert send("local-docs").reply().status == 200
