"""Names whose owners let everybody wait: given up in time, and in nobody's way."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from byok import addresses
from byok.addresses import BadBaseUrl, check_base_url, connect_checked
from byok.lookups import Found, Lookups
from byok.outbound import Failure, OutboundFailed, fetch
from byok.providers import PROVIDERS
from kilo_gateway.secret import Secret
from routing.proxy.origins import UpstreamUnreachable
from routing.proxy.upstream import send
from tests.e2e.lab import eventually

PUBLIC: Found = [(socket.AF_INET, ("93.184.215.14", 443))]


class SlowResolver:
    """Names that begin with `slow` are answered when the test says so."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.answer = threading.Event()

    def __call__(self, host: str, port: int) -> Found:
        self.asked.append(host)
        if host.startswith("slow"):
            self.answer.wait(20)
        return [(socket.AF_INET, ("127.0.0.1", port))]


@pytest.fixture
def resolver(monkeypatch: pytest.MonkeyPatch) -> Iterator[SlowResolver]:
    slow = SlowResolver()
    monkeypatch.setattr(addresses, "resolve", slow)
    monkeypatch.setattr(addresses, "_lookups", Lookups())
    yield slow
    slow.answer.set()
    assert eventually(lambda: not running(), 5)


def running() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "lookup"]


class TestDeadlines:
    """Whatever connects to a custom provider gives up; threads of requests are not held."""

    @pytest.fixture(autouse=True)
    def _short(self, resolver: SlowResolver, settings: Any) -> None:
        settings.ALLOW_PRIVATE_UPSTREAMS, settings.UPSTREAM_CONNECT_TIMEOUT = True, 0.1

    def test_a_connection(self, resolver: SlowResolver) -> None:
        with pytest.raises(TimeoutError):
            connect_checked("slow.example.com", 443, 0.1)
        assert len(running()) == 1

    def test_a_proxied_request(self, resolver: SlowResolver) -> None:
        """It tries twice, and waits for the same lookup."""
        with pytest.raises(UpstreamUnreachable):
            send("https://slow-of-a-request.example.com/v1", {"Accept": "*/*"}, b"{}", guarded=True)
        assert resolver.asked == ["slow-of-a-request.example.com"]

    def test_discovery(self, resolver: SlowResolver, db: None) -> None:
        provider = replace(PROVIDERS["openai-byok"], is_custom=True)
        url = "https://slow.example.com/v1/models"
        with pytest.raises(OutboundFailed) as raised:
            fetch(provider, "GET", url, Secret("sk-lab-0001"), limit_bytes=100, deadline_seconds=5)
        assert raised.value.failure is Failure.TIMED_OUT
        assert eventually(lambda: "outbound" not in {thread.name for thread in threading.enumerate()}, 2)

    def test_a_base_url_that_is_written(self, resolver: SlowResolver) -> None:
        with pytest.raises(BadBaseUrl):
            check_base_url("https://slow.example.com/v1")


class TestSharing:
    def test_one_lookup_for_all_who_wait_and_each_gets_his_port(self, resolver: SlowResolver, settings: Any) -> None:
        settings.ALLOW_PRIVATE_UPSTREAMS = True
        servers = [socket.create_server(("127.0.0.1", 0)) for _ in range(3)]
        ports = [server.getsockname()[1] for server in servers]
        connected: list[Any] = []

        def connect(port: int) -> None:
            with connect_checked("slow.example.com", port, 10) as connection:
                connected.append(connection.getpeername()[1])

        threads = [threading.Thread(target=connect, args=(port,)) for port in ports]
        for thread in threads:
            thread.start()
        assert eventually(lambda: bool(running()), 5)
        resolver.answer.set()
        for thread in threads:
            thread.join(10)
        assert sorted(connected) == sorted(ports)
        for server in servers:
            server.close()

    def test_a_name_that_is_late_does_not_hold_up_another(self, resolver: SlowResolver) -> None:
        for _ in range(3):
            with pytest.raises(TimeoutError):
                addresses._found("slow.example.com", 443, 0.01)
        assert addresses._found("quick.example.com", 443, 5) == [(socket.AF_INET, ("127.0.0.1", 443))]
        assert resolver.asked == ["slow.example.com", "quick.example.com"]

    def test_an_address_needs_no_lookup(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(addresses, "_lookups", Lookups(0, 0))
        for host in ("127.0.0.1", "::1"):
            assert addresses._found(host, 80, 0)[0][1][:2] == (host, 80)


class TestBounds:
    def test_threads_are_as_many_as_there_may_be(self, resolver: SlowResolver) -> None:
        lookups = Lookups(limit=4, limit_of_a_domain=2)

        def ask(host: str, seconds: float = 0.01) -> Found:
            return lookups.ask(host, lambda: resolver(host, 443), seconds)

        for host in ("slow.a.example", "slow.b.A.Example.", "slow.c.a.example", "slow.d.other.test"):
            with pytest.raises(TimeoutError):
                ask(host)
        assert len(running()) == 3, "two of one domain, and no third"
        assert ask("quick.test", 5)
        for number in range(5):
            with pytest.raises(TimeoutError):
                ask(f"slow{number}.{number}.test")
        assert len(running()) == 4

        waiting: list[Found] = []
        thread = threading.Thread(target=lambda: waiting.append(ask("quick.a.example", 10)))
        thread.start()
        assert not waiting
        resolver.answer.set()
        thread.join(10)
        assert len(waiting) == 1
        assert eventually(lambda: not running(), 5)
        assert (lookups._running, lookups._of_domain) == ({}, {})

    def test_a_failure_belongs_to_who_asked(self) -> None:
        lookups = Lookups()

        def fail() -> Found:
            raise socket.gaierror(-2, "no such name")

        with pytest.raises(socket.gaierror):
            lookups.ask("gone.example.com", fail, 5)
        assert lookups.ask("gone.example.com", lambda: PUBLIC, 5) == PUBLIC
