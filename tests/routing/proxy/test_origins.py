"""The origins that are remembered: as many as there may be, and no more."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from routing.proxy import origins
from routing.proxy.answer import read_whole
from routing.proxy.origins import KEPT_ORIGINS, MAX_IDLE_SECONDS, Connection, address_of
from routing.proxy.upstream import Answer, send
from tests.e2e.lab import eventually
from tests.e2e.scripted import ScriptedUpstream


@pytest.fixture
def upstream() -> Iterator[ScriptedUpstream]:
    with ScriptedUpstream() as started:
        started.script = lambda line: line.answer("200 OK", b"hello")
        yield started


@pytest.fixture
def _forgets_afterwards() -> Iterator[None]:
    yield
    address_of.cache_clear()
    origins._kept_origin.cache_clear()


def ask(upstream: ScriptedUpstream) -> bytes:
    return read_whole(send(f"{upstream.base_url}/v1/chat", {"Accept": "*/*"}, b"{}"))


@pytest.mark.usefixtures("_forgets_afterwards")
def test_one_that_nobody_asks_for_any_more_is_forgotten(upstream: ScriptedUpstream) -> None:
    """With the connections that were kept to it; and should it be asked for again, it is made again."""
    ask(upstream)
    assert upstream.open_connections == 1
    for number in range(KEPT_ORIGINS - 1):
        address_of(f"https://upstream-{number}.example.com/v1", guarded=True)
    ask(upstream)
    assert upstream.accepted == 1
    for number in range(KEPT_ORIGINS):
        address_of(f"https://another-{number}.example.com/v1", guarded=True)
    assert eventually(lambda: upstream.open_connections == 0)
    assert ask(upstream) == b"hello"
    assert upstream.accepted == 2


@pytest.mark.usefixtures("_forgets_afterwards")
def test_the_list_of_authorities_is_kept_once() -> None:
    """It is large, and the same for all."""
    urls = [f"https://upstream-{number}.example.com/v1" for number in range(3)]
    pools = [address_of(url, guarded=guarded).origin._pool for url in urls for guarded in (True, False)]
    assert len({id(pool.conn_kw["ssl_context"]) for pool in pools}) == 1


class TestAge:
    @pytest.fixture(autouse=True)
    def _starts_anew(self, _forgets_afterwards: None, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(origins._sweeper, "_due", 0.0)

    @staticmethod
    def kept(upstream: ScriptedUpstream, guarded: bool = False) -> list[Connection]:
        return address_of(f"{upstream.base_url}/v1/chat", guarded=guarded).origin._idle

    def test_one_that_was_idle_for_long_is_not_used_again(self, upstream: ScriptedUpstream) -> None:
        """Neither are those below it, which are older still."""
        several = [upstream_answer(upstream) for _ in range(3)]
        for each in several:
            read_whole(each)
        assert (len(self.kept(upstream)), upstream.accepted) == (3, 3)
        self.kept(upstream)[-1].idle_since -= MAX_IDLE_SECONDS - 1
        ask(upstream)
        assert upstream.accepted == 3
        for connection in self.kept(upstream):
            connection.idle_since -= MAX_IDLE_SECONDS
        ask(upstream)
        assert upstream.accepted == 4
        assert eventually(lambda: upstream.open_connections == 1)

    def test_a_busy_origin_closes_those_that_it_does_not_need(self, upstream: ScriptedUpstream) -> None:
        several = [upstream_answer(upstream) for _ in range(4)]
        for each in several:
            read_whole(each)
        for connection in self.kept(upstream)[:2]:
            connection.idle_since -= MAX_IDLE_SECONDS
        origins._sweeper._due = 0.0
        ask(upstream)
        assert eventually(lambda: upstream.open_connections == 2)
        assert len(self.kept(upstream)) == 2

    def test_one_that_nobody_asks_is_swept_by_others(self, upstream: ScriptedUpstream) -> None:
        with ScriptedUpstream() as other:
            other.script = upstream.script
            ask(other)
            (connection,) = self.kept(other)
            connection.idle_since -= MAX_IDLE_SECONDS
            ask(upstream)
            assert len(self.kept(other)) == 1, "it is not looked for at each request"
            origins._sweeper._due = 0.0
            ask(upstream)
            assert eventually(lambda: other.open_connections == 0)
            assert (self.kept(other), len(self.kept(upstream))) == ([], 1)

    def test_many_at_once(self, upstream: ScriptedUpstream, monkeypatch: pytest.MonkeyPatch) -> None:
        """Taking, giving back and sweeping from all sides."""
        monkeypatch.setattr(origins, "SWEEP_SECONDS", 0.0)
        monkeypatch.setattr(origins, "MAX_IDLE_SECONDS", 0.0005)
        answers: list[bytes] = []

        def work() -> None:
            answers.extend(ask(upstream) for _ in range(25))

        threads = [threading.Thread(target=work) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
        assert answers == [b"hello"] * 200


def upstream_answer(upstream: ScriptedUpstream) -> Answer:
    return send(f"{upstream.base_url}/v1/chat", {"Accept": "*/*"}, b"{}")
