"""The roll-ups are the sums of the records, whoever writes these, and however many at once."""

from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta
from importlib import import_module
from typing import Any
from uuid import UUID, uuid4

import psycopg
import pytest
from django.db import connection, connections, transaction
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from routing.models import UsageRecord, UsageRollup
from routing.proxy.usage_writer import Usage, UsageWriter
from tests.routing.usage.records import NOON, expected, fields, kept, used

pytestmark = pytest.mark.usefixtures("no_leftovers")

ORGANIZATIONS = [UUID(int=1), UUID(int=2), None]
USERS = [UUID(int=number) for number in range(11, 14)]
counts = st.none() | st.integers(0, 10**9)
MOMENTS = st.sampled_from(
    [NOON, NOON.replace(hour=23, minute=59, second=59, microsecond=999_999), NOON + timedelta(days=1)]
)


@st.composite
def records(draw: st.DrawFn) -> dict[str, Any]:
    status = draw(st.sampled_from([200, 200, 400, 502]))
    return fields(
        draw(st.sampled_from(ORGANIZATIONS)),
        draw(st.sampled_from(USERS)),
        created_at=draw(MOMENTS),
        mode=draw(st.sampled_from(["code", "ask", "", "Ä" * 500, "Ä" * 100 + "b"])),
        resolved_model=draw(st.sampled_from(["a/b", "c/d", ""])),
        status=status,
        error_type=draw(st.sampled_from(["", "upstream_error", "upstream_broke"])),
        cancelled=draw(st.booleans()),
        is_byok=draw(st.booleans()),
        input_tokens=draw(counts),
        output_tokens=draw(counts),
        cache_read_tokens=draw(counts),
        cache_write_tokens=draw(counts),
        reasoning_tokens=draw(counts),
        hosted_cost_microdollars=draw(counts),
        market_cost_microdollars=draw(counts),
        time_to_first_byte_ms=draw(st.none() | st.integers(0, 2**31 - 1)),
        duration_ms=draw(st.integers(0, 2**31 - 1)),
    )


@pytest.mark.django_db
class TestSums:
    @settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
    @given(batches=st.lists(st.lists(records(), max_size=6), max_size=4))
    def test_they_are_those_of_the_records(self, batches: list[list[dict[str, Any]]]) -> None:
        with transaction.atomic():
            for batch in batches:
                UsageRecord.objects.bulk_create([UsageRecord(**record) for record in batch])
            assert kept() == expected(UsageRecord.objects.all())
            transaction.set_rollback(True)

    def test_a_day_is_one_of_utc(self) -> None:
        with connection.cursor() as cursor:
            cursor.execute("SET LOCAL TIME ZONE 'Pacific/Auckland'")
        used(None, USERS[0], created_at=datetime(2026, 5, 10, 23, 59, 59, tzinfo=UTC))
        assert set(UsageRollup.objects.values_list("day", flat=True)) == {NOON.date()}

    def test_what_is_rolled_back_is_not_counted(self) -> None:
        with transaction.atomic():
            used(None, USERS[0])
            transaction.set_rollback(True)
        assert kept() == {}

    def test_records_from_before_there_were_roll_ups(self) -> None:
        migration = import_module("routing.migrations.0006_usage_rolled_up")
        for number in range(20):
            used(
                ORGANIZATIONS[number % 3], USERS[number % 2], status=200 + 300 * (number % 5 == 0), mode=f"{number % 4}"
            )
        with connection.cursor() as cursor:
            cursor.execute(migration.BACK)
            assert kept() == {}
            cursor.execute(migration.TRIGGER)
            cursor.execute(migration.BACKFILL)
        assert kept() == expected(UsageRecord.objects.all())
        used(None, USERS[0])
        assert kept() == expected(UsageRecord.objects.all())


def usage(number: int, organization_id: UUID | None, user_id: UUID) -> Usage:
    values = fields(organization_id, user_id, request_id=UUID(int=number + 1), api_key_id=uuid4())
    return Usage(**values | {"mode": f"mode-{number % 3}", "hosted_cost_microdollars": number, "input_tokens": 1})


class TestWriters:
    """Each process has a writer of its own; they write the same rows of the roll-ups."""

    def test_many_at_once(self, committed_db: None) -> None:
        writers = [UsageWriter() for _ in range(6)]
        start = threading.Barrier(len(writers))
        failures: list[Exception] = []

        def write(index: int) -> None:
            writer = writers[index]
            numbers = range(index * 200, index * 200 + 200)
            # In a different order each, which is what makes a circle of locks; some are handed over twice.
            for number in numbers if index % 2 else reversed(numbers):
                for _ in range(1 + (number % 20 == 0)):
                    writer._unwritten.append(usage(number, ORGANIZATIONS[number % 2], USERS[number % 3]))
            batches = [writer._unwritten[place : place + 25] for place in range(0, len(writer._unwritten), 25)]
            start.wait()
            try:
                for batch in batches:
                    writer._unwritten = batch
                    writer.flush()
            except Exception as error:
                failures.append(error)
            finally:
                connections.close_all()

        threads = [threading.Thread(target=write, args=(index,)) for index in range(len(writers))]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert failures == []
        assert UsageRecord.objects.count() == 1200
        assert kept() == expected(UsageRecord.objects.all())

    def test_a_batch_whose_commit_was_not_confirmed(self, committed_db: None) -> None:
        """It is there already; writing it again adds the records that are missing, and counts nothing twice."""
        batch = [usage(number, ORGANIZATIONS[0], USERS[number % 2]) for number in range(10)]
        for written in (batch[:6], batch):
            writer = UsageWriter()
            writer._unwritten = list(written)
            writer.flush()
        assert UsageRecord.objects.count() == 10
        assert kept() == expected(UsageRecord.objects.all())

    def test_a_batch_with_a_value_that_does_not_fit(self, committed_db: None) -> None:
        bad = usage(3, ORGANIZATIONS[0], USERS[0])
        bad.mode = "m" * 501
        writer = UsageWriter()
        writer._unwritten = [usage(1, ORGANIZATIONS[0], USERS[0]), bad, usage(2, ORGANIZATIONS[0], USERS[0])]
        writer.flush()
        assert UsageRecord.objects.count() == 2
        assert kept() == expected(UsageRecord.objects.all())

    def test_such_a_batch_that_was_written_in_part(self, committed_db: None) -> None:
        """The database went away after the first of its records: it must not be tried again and again."""
        # More than PostgreSQL reads before it inserts, so that it meets the first before the last.
        batch = [usage(number, ORGANIZATIONS[0], USERS[0]) for number in range(900)]
        batch[-1].mode = "m" * 501
        writer = UsageWriter()
        for written in (batch[:1], batch):
            writer._unwritten = list(written)
            writer.flush()
        assert UsageRecord.objects.count() == 899
        assert (writer.depth, writer.dropped) == (0, 1)
        assert kept() == expected(UsageRecord.objects.all())


def test_nobody_can_name_an_unknown_grain(db: None) -> None:
    used(None, USERS[0])
    with pytest.raises(Exception, match="usage_rollup_grain_known") as raised, transaction.atomic():
        UsageRollup.objects.filter(grain="day").update(grain="week")
    assert isinstance(raised.value.__cause__, psycopg.errors.CheckViolation)
