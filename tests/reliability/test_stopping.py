"""A server that is told to end, with clients that come straight to it. Behind nginx: `test_topology.py`."""

from __future__ import annotations

import signal
import threading
import urllib.error
import urllib.request
from collections import Counter
from pathlib import Path

from tests.e2e import wire
from tests.e2e.lab import PATHS, body_of, eventually
from tests.support.live import Gateway, server_beside

CHAT = "chat_completions"
CLIENTS = 6


def readiness(server: Gateway) -> int:
    try:
        with urllib.request.urlopen(f"{server.base_url}/readyz", timeout=10) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        with error:
            return error.code


def test_whoever_watches_readiness_loses_no_request(gateway: Gateway, tmp_path: Path) -> None:
    """As a balancer does that sends nothing more from the moment in which it is told."""
    results: Counter[str] = Counter()
    is_told = threading.Event()

    def send(server: Gateway, *, stream: bool = False) -> wire.Exchange:
        key = server.user("alice")["api_key"]
        return wire.send(server.base_url, PATHS[CHAT], body_of(CHAT, stream=stream), key, {"x-kilocode-mode": "code"})

    def load(server: Gateway) -> None:
        while not is_told.is_set():
            try:
                results[str(send(server).reply().status)] += 1
            except (OSError, wire.BrokenAnswer) as error:
                results[repr(error)] += 1

    # Longer than it takes to notice: the wait ends when everybody has, by a second signal.
    with server_beside(gateway, tmp_path, WORKERS="2", SHUTDOWN_DELAY="60") as server:
        threads = [threading.Thread(target=load, args=(server,)) for _ in range(CLIENTS)]
        for thread in threads:
            thread.start()
        try:
            assert eventually(lambda: results["200"] > 100, 20)
            assert readiness(server) == 200
            server.process.send_signal(signal.SIGTERM)
            assert eventually(lambda: readiness(server) == 503)
            before = results["200"]
            assert eventually(lambda: results["200"] > before + 100, 20), "it serves on"
        finally:
            is_told.set()
            for thread in threads:
                thread.join(30)
        server.upstream.behave(events=10, interval_ms=100)
        try:
            stream = send(server, stream=True)
            pieces = stream.pieces()
            next(pieces)
            server.process.send_signal(signal.SIGTERM)
            assert b"".join(piece for _, piece in pieces).endswith(b"data: [DONE]\n\n")
        finally:
            server.upstream.reset_behaviour()
        assert server.process.wait(20) == 0
    assert set(results) == {"200"}, results
