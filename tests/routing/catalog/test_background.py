"""The server's own sync: in due time, once for all processes, and never its end."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.db import connections
from django.utils import timezone
from pytest_django import Settings

from kilo_gateway.background import OfThisProcess
from routing.catalog import background
from routing.catalog.background import BackgroundSync, start_background_sync
from routing.models import Installation
from tests.routing.catalog.upstream import FakeUpstream, dripping, models

pytestmark = pytest.mark.usefixtures("committed_installation")


@pytest.fixture
def started() -> Iterator[Callable[..., BackgroundSync]]:
    threads: list[BackgroundSync] = []

    def start(interval_seconds: float = 600.0) -> BackgroundSync:
        thread = BackgroundSync(interval_seconds=interval_seconds, first_delay_seconds=(0.0, 0.05))
        thread.start()
        threads.append(thread)
        return thread

    yield start
    for thread in threads:
        thread.stop()
        assert not thread.is_alive


def soon(condition: Callable[[], bool], seconds: float = 10.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.02)


def origin_in_force() -> str:
    return Installation.objects.select_related("catalog_snapshot").get().catalog_snapshot.origin


def test_it_works(upstream: FakeUpstream, started: Callable[..., BackgroundSync]) -> None:
    upstream.lists(models(200))
    started()
    soon(lambda: origin_in_force() == "synced")


def test_it_comes_again_after_the_interval(upstream: FakeUpstream, started: Callable[..., BackgroundSync]) -> None:
    upstream.lists(models(200))
    started(interval_seconds=0.1)
    soon(lambda: upstream.asked("/models") >= 3)


def test_it_leaves_the_work_to_the_process_that_was_first(
    upstream: FakeUpstream, started: Callable[..., BackgroundSync]
) -> None:
    upstream.lists(models(200))
    Installation.objects.update(catalog_checked_at=timezone.now())
    started()
    time.sleep(0.5)
    assert upstream.requests == []


def test_of_several_processes_one_asks_the_upstream(
    upstream: FakeUpstream, started: Callable[..., BackgroundSync]
) -> None:
    upstream.lists(models(200))
    for _ in range(4):
        started()
    soon(lambda: origin_in_force() == "synced")
    time.sleep(0.3)
    assert upstream.asked("/models") == 1


def test_a_fault_is_noted_and_does_not_end_it(upstream: FakeUpstream, started: Callable[..., BackgroundSync]) -> None:
    started(interval_seconds=0.1)
    soon(lambda: "404" in Installation.objects.get().catalog_error)
    upstream.lists(models(200))
    soon(lambda: origin_in_force() == "synced")


def test_an_exception_is_logged_and_does_not_end_it(
    upstream: FakeUpstream,
    started: Callable[..., BackgroundSync],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    calls: list[int] = []

    def fail(**_: Any) -> None:
        calls.append(1)
        raise RuntimeError("the database went away")

    monkeypatch.setattr(background, "sync_catalog", fail)
    thread = started(interval_seconds=0.1)
    soon(lambda: len(calls) >= 2)
    assert thread.is_alive
    assert any(record.levelno == logging.ERROR and record.exc_info for record in caplog.records)


def test_it_gives_its_connections_back(
    upstream: FakeUpstream, started: Callable[..., BackgroundSync], monkeypatch: pytest.MonkeyPatch
) -> None:
    closed: list[str] = []
    close_all = connections.close_all

    def note() -> None:
        closed.append(threading.current_thread().name)
        close_all()

    monkeypatch.setattr(connections, "close_all", note)
    upstream.lists(models(200))
    started()
    soon(lambda: "catalog-sync" in closed)


def test_stopping_does_not_wait_for_a_slow_upstream(
    upstream: FakeUpstream, started: Callable[..., BackgroundSync]
) -> None:
    ended = threading.Event()
    upstream.answer("/models", dripping(0.05, ended))
    thread = started()
    soon(lambda: upstream.asked("/models") == 1)
    start = time.monotonic()
    thread.stop()
    assert time.monotonic() - start < 2
    assert not thread.is_alive
    assert Installation.objects.get().catalog_error == ""


def test_stopping_before_the_first_run(upstream: FakeUpstream) -> None:
    thread = BackgroundSync(first_delay_seconds=(60.0, 60.0))
    thread.start()
    thread.stop()
    assert not thread.is_alive
    assert upstream.requests == []


def test_a_process_has_one_thread_or_none(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(background, "_started", OfThisProcess())
    settings.CATALOG_SYNC = False
    assert start_background_sync() is None
    settings.CATALOG_SYNC = True
    thread = start_background_sync()
    assert thread is not None
    assert start_background_sync() is thread
    thread.stop()
    again = start_background_sync()
    assert again is not None
    assert again is not thread
    again.stop()
