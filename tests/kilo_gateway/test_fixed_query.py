"""Queries of which the SQL is made once."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest
from django.db import DataError, connection, transaction
from django.db.models import QuerySet
from django.test.utils import CaptureQueriesContext

from kilo_gateway.fixed_query import FixedQuery, columns_of, preparing_cursor
from organizations.models import Organization, Plan

pytestmark = pytest.mark.django_db


def _named(name: str) -> QuerySet[Organization]:
    return Organization.objects.filter(name=name).order_by("pk")


class TestFixedQuery:
    def test_each_call_has_its_own_values(self) -> None:
        query = FixedQuery(lambda name: _named(name).values_list("name", "settings"), "an example")
        for name in ("One", "Two"):
            Organization.objects.create(name=name, plan=Plan.TEAMS, settings={"of": name})
        assert query.rows("One") == [("One", {"of": "One"})]
        assert query.rows("Two") == [("Two", {"of": "Two"})]
        assert query.rows("' OR true --") == []

    def test_a_whole_row_is_what_django_reads(self) -> None:
        stored = Organization.objects.create(name="One", plan=Plan.TEAMS, settings={"a": [1, None]})
        columns = columns_of(Organization)
        query = FixedQuery(lambda pk: Organization.objects.filter(pk=pk).values_list(*columns), UUID(int=1))
        found = Organization.from_db("default", columns, query.rows(stored.pk)[0])
        read = Organization.objects.get(pk=stored.pk)
        assert {name: getattr(found, name) for name in columns} == {name: getattr(read, name) for name in columns}

    def test_a_value_that_is_not_sent_is_refused(self) -> None:
        query = FixedQuery(lambda _: Organization.objects.values_list("name"), "an example")
        with pytest.raises(ValueError, match="not among"):
            query.rows("One")


def _prepared() -> set[str]:
    """The statements that this connection has prepared; it may be used already."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT statement FROM pg_prepared_statements")
        return {statement for (statement,) in cursor.fetchall()}


class TestPreparingCursor:
    def test_what_comes_again_is_prepared(self) -> None:
        query = FixedQuery(lambda name: _named(name).values_list("name"), "an example")
        Organization.objects.create(name="One", plan=Plan.TEAMS)
        before = _prepared()
        for _ in range(7):
            assert query.rows("One") == [("One",)]
            assert query.rows("Two") == []
        (statement,) = _prepared() - before
        assert "$1" in statement
        assert "One" not in statement

    def test_what_is_wrong_is_an_error_of_djangos(self) -> None:
        with pytest.raises(DataError), transaction.atomic(), preparing_cursor() as cursor:
            cursor.execute("SELECT 1 / %s", [0])

    def test_what_is_logged_can_be_run_again(self) -> None:
        query = FixedQuery(lambda name: _named(name).values_list("name"), "an example")
        with CaptureQueriesContext(connection) as captured:
            query.rows("One")
        assert "'One'" in captured[0]["sql"]


class TestMoments:
    @pytest.mark.parametrize("zone", ["UTC", "Asia/Kolkata", "America/St_Johns"])
    @pytest.mark.parametrize("microseconds", [0, 1, 120_000, 999_999])
    def test_are_of_utc_to_the_microsecond(self, zone: str, microseconds: int) -> None:
        moment = datetime(2026, 2, 28, 23, 59, 59, microseconds, UTC)
        with connection.cursor() as cursor:
            cursor.execute("SELECT set_config('TimeZone', %s, true)", [zone])
            cursor.execute("SELECT %s::timestamptz", [moment])
            (found,) = cursor.fetchone()
        assert found == moment
        assert found.tzinfo is UTC
        assert found.utcoffset() == timedelta(0)

    def test_what_python_has_no_moment_for_is_refused(self) -> None:
        with connection.cursor() as cursor:
            cursor.execute("SELECT 'infinity'::timestamptz")
            with pytest.raises(DataError):
                cursor.fetchone()
