"""The origins that are remembered: as many as there may be, and no more."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from routing.proxy import origins
from routing.proxy.answer import read_whole
from routing.proxy.origins import KEPT_ORIGINS, address_of
from routing.proxy.upstream import send
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
