"""One thread loads, the others wait; failures reach all and are not kept."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from routing.catalog import cache
from routing.catalog.cache import CatalogUnreadable, VersionedCache


class Loader:
    """Counts its loads; slow, or failing, when told to."""

    def __init__(self) -> None:
        self.loads: list[int] = []
        self.seconds = 0.0
        self.error: BaseException | None = None

    def __call__(self, version: int) -> str:
        self.loads.append(version)
        time.sleep(self.seconds)
        if self.error is not None:
            raise self.error
        return f"value {version}"


@pytest.fixture
def loader() -> Loader:
    return Loader()


def at_once(count: int, call: Callable[[], str]) -> list[str | BaseException]:
    """The results of calls that begin together."""
    barrier = threading.Barrier(count)

    def run() -> str | BaseException:
        barrier.wait()
        try:
            return call()
        except CatalogUnreadable as error:
            return error

    with ThreadPoolExecutor(count) as pool:
        return [future.result() for future in [pool.submit(run) for _ in range(count)]]


def test_a_version_is_loaded_once(loader: Loader) -> None:
    kept = VersionedCache(loader)
    assert [kept.get(1), kept.get(1)] == ["value 1", "value 1"]
    assert loader.loads == [1]


def test_another_version_replaces_it_and_the_last_one_stays_for_those_who_began_before(loader: Loader) -> None:
    kept = VersionedCache(loader)
    for version in (1, 2, 1, 2, 3, 2, 1):
        assert kept.get(version) == f"value {version}"
    assert loader.loads == [1, 2, 3, 1]


def test_one_thread_loads_and_the_others_wait(loader: Loader) -> None:
    loader.seconds = 0.2
    kept = VersionedCache(loader)
    assert at_once(16, lambda: kept.get(1)) == ["value 1"] * 16
    assert loader.loads == [1]


def test_a_failure_reaches_all_that_waited_and_the_next_call_tries_again(loader: Loader) -> None:
    loader.seconds, loader.error = 0.2, CatalogUnreadable("the database is away")
    kept = VersionedCache(loader)
    results = at_once(8, lambda: kept.get(1))
    assert all(str(result) == "the database is away" for result in results)
    assert len({id(result) for result in results}) == 8
    assert loader.loads == [1]
    loader.error = None
    assert kept.get(1) == "value 1"


def test_a_failure_does_not_disturb_what_is_kept(loader: Loader) -> None:
    kept = VersionedCache(loader)
    kept.get(1)
    loader.error = CatalogUnreadable("gone")
    with pytest.raises(CatalogUnreadable):
        kept.get(2)
    assert kept.get(1) == "value 1"


def test_an_interruption_of_the_loading_thread_leaves_nobody_waiting(loader: Loader) -> None:
    loader.error = KeyboardInterrupt()
    kept = VersionedCache(loader)
    with pytest.raises(KeyboardInterrupt):
        kept.get(1)
    loader.error = None
    assert kept.get(1) == "value 1"


def test_who_has_waited_long_loads_for_itself(loader: Loader, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache, "LONGEST_WAIT_SECONDS", 0.05)
    loader.seconds = 0.3
    kept = VersionedCache(loader)
    assert at_once(2, lambda: kept.get(1)) == ["value 1"] * 2
    assert loader.loads == [1, 1]


def test_what_is_forgotten_is_loaded_again(loader: Loader) -> None:
    kept = VersionedCache(loader)
    kept.get(1)
    kept.clear()
    kept.get(1)
    assert loader.loads == [1, 1]
