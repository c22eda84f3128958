"""The end of old records, after which every total is what it was."""

from __future__ import annotations

import io
import logging
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, date, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest
from django.core.management import CommandError, call_command
from django.db import connection
from django.test import Client
from pytest_django import Settings

from kilo_gateway.background import OfThisProcess
from organizations.models import Role, Scope
from routing.models import Installation, UsageRecord
from routing.usage import background, retention
from routing.usage.background import BackgroundPruning, start_background_pruning
from routing.usage.retention import ADVISORY_LOCK, day_before, usage_prune
from tests.factories import ApiKeyFactory, MembershipFactory, bearer
from tests.routing.usage.records import NOON, expected, kept, used

pytestmark = pytest.mark.usefixtures("no_leftovers")

DAY = NOON.date()
TODAY = date(2026, 3, 31)


@pytest.mark.parametrize(
    ("age", "day"),
    [
        ("90d", date(2025, 12, 31)),
        ("1d", date(2026, 3, 30)),
        (" 12M ", date(2025, 3, 31)),
        ("1m", date(2026, 2, 28)),
        ("3m", date(2025, 12, 31)),
        ("25m", date(2024, 2, 29)),
    ],
)
def test_ages(age: str, day: date) -> None:
    assert day_before(age, today=TODAY) == day


@pytest.mark.parametrize("age", ["", "90", "0d", "-1d", "1y", "d", "1.5m", "99999m", "\uff11d"])
def test_what_is_no_age(age: str) -> None:
    with pytest.raises(ValueError, match=r"number of days|calendar"):
        day_before(age, today=TODAY)


@pytest.fixture
def user_id(db: None) -> Any:
    user_id = uuid4()
    for ago in range(6):
        for hour in (-12, 0, 11):
            used(uuid4(), user_id, created_at=NOON - timedelta(days=ago, hours=-hour))
    return user_id


class TestPruning:
    def test_whole_days_go_and_the_sums_stay(self, user_id: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        sums = expected(UsageRecord.objects.all())
        monkeypatch.setattr(retention, "BATCH", 4)
        pruned = usage_prune(DAY - timedelta(days=2))
        assert (pruned.records, pruned.is_complete) == (9, True)
        assert UsageRecord.objects.order_by("created_at").values_list("created_at", flat=True)[0] == NOON.replace(
            day=NOON.day - 2, hour=0
        )
        assert kept() == sums
        assert Installation.objects.get().usage_pruned_before == DAY - timedelta(days=2)
        usage_prune(DAY - timedelta(days=4))
        assert Installation.objects.get().usage_pruned_before == DAY - timedelta(days=2)

    def test_it_goes_on_where_it_was_broken_off(self, user_id: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(retention, "BATCH", 4)
        stops = iter([False, False, True])
        assert usage_prune(DAY, is_stopped=lambda: next(stops)).is_complete is False
        assert UsageRecord.objects.count() == 10
        assert usage_prune(DAY).records == 7

    def test_the_command(self, db: None) -> None:
        now = datetime.now(UTC)
        for days in (0, 29, 31):
            used(None, uuid4(), created_at=now - timedelta(days=days))
        output = io.StringIO()
        call_command("prune_usage", older_than="30d", stdout=output)
        assert output.getvalue().startswith("1 usage records from before ")
        assert UsageRecord.objects.count() == 2
        with pytest.raises(CommandError, match="90d or 12m"):
            call_command("prune_usage", older_than="soon")

    def test_a_range_that_cuts_a_pruned_day_has_all_of_it(self, db: None) -> None:
        carol = MembershipFactory.create(role=Role.BILLING_MANAGER)
        for ago in range(3):
            used(carol.organization_id, carol.user_id, created_at=NOON - timedelta(days=ago))
        key = ApiKeyFactory.create(user=carol.user, scopes=[Scope.MANAGEMENT.value])
        client = Client(**bearer(key))
        url = f"/api/organizations/{carol.organization_id}/usage?from=2026-05-08T13:00:00Z&to=2026-05-10T13:00:00Z"
        answer = client.get(url).json()
        assert (answer["totals"]["requests"], answer["from"]) == (2, "2026-05-08T13:00:00Z")
        usage_prune(DAY)
        answer = client.get(url).json()
        assert (answer["totals"]["requests"], answer["from"], answer["to"]) == (
            3,
            "2026-05-08T00:00:00Z",
            "2026-05-10T13:00:00Z",
        )


def soon(condition: Callable[[], bool], seconds: float = 10.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.02)


@pytest.fixture
def _committed(committed_db: None) -> Iterator[None]:
    yield
    Installation.objects.update(usage_pruned_before=None)


@pytest.mark.usefixtures("_committed")
class TestBackground:
    def started(self, interval_seconds: float = 600.0) -> BackgroundPruning:
        thread = BackgroundPruning(30, interval_seconds=interval_seconds, first_delay_seconds=(0.0, 0.02))
        thread.start()
        return thread

    def test_of_several_processes_one_works(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(retention, "BATCH", 3)
        now = datetime.now(UTC)
        for days in [*range(31, 51), 0, 29]:
            used(None, uuid4(), created_at=now - timedelta(days=days))
        sums = kept()
        threads = [self.started(interval_seconds=0.1) for _ in range(4)]
        soon(lambda: UsageRecord.objects.count() == 2)
        for thread in threads:
            thread.stop()
            assert not thread.is_alive
        assert kept() == sums

    def test_while_another_is_at_it(self) -> None:
        used(None, uuid4(), created_at=NOON)
        held, release = threading.Event(), threading.Event()

        def hold() -> None:
            with connection.cursor() as cursor:
                cursor.execute("SELECT pg_advisory_lock(%s)", [ADVISORY_LOCK])
                held.set()
                release.wait(10)
                cursor.execute("SELECT pg_advisory_unlock(%s)", [ADVISORY_LOCK])
            connection.close()

        holder = threading.Thread(target=hold)
        holder.start()
        held.wait(10)
        try:
            with pytest.raises(CommandError, match="already"):
                call_command("prune_usage", older_than="1d")
        finally:
            release.set()
            holder.join()
        assert UsageRecord.objects.count() == 1

    def test_an_exception_is_logged_and_does_not_end_it(
        self, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        calls: list[int] = []

        def fail(*_: Any, **__: Any) -> None:
            calls.append(1)
            raise RuntimeError("the database went away")

        monkeypatch.setattr(background, "usage_prune", fail)
        thread = self.started(interval_seconds=0.05)
        soon(lambda: len(calls) >= 2)
        assert thread.is_alive
        thread.stop()
        assert any(record.levelno == logging.ERROR and record.exc_info for record in caplog.records)


def test_a_process_has_one_thread_or_none(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(background, "_started", OfThisProcess())
    settings.USAGE_RETENTION_DAYS = 0
    assert start_background_pruning() is None
    settings.USAGE_RETENTION_DAYS = 30
    thread = start_background_pruning()
    assert thread is not None
    assert start_background_pruning() is thread
    thread.stop()
    assert not thread.is_alive
