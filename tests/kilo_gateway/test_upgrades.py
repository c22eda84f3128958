"""A newer version changes the tables while this one still serves."""

from __future__ import annotations

import psycopg
from django.db import connection

from kilo_gateway.fixed_query import FixedQuery
from organizations.models import Organization, Plan


def test_a_column_that_changes_fails_no_query_that_is_prepared(committed_db: None) -> None:
    query = FixedQuery(lambda name: Organization.objects.filter(name=name).values_list("name"), "an example")
    Organization.objects.create(name="One", plan=Plan.TEAMS)
    for _ in range(7):
        assert query.rows("One") == [("One",)]
    length = Organization._meta.get_field("name").max_length
    assert length
    alter = "ALTER TABLE organizations_organization ALTER COLUMN name TYPE varchar({})"
    with psycopg.connect(connection.connection.info.dsn, autocommit=True) as other:
        other.execute(alter.format(length + 1))
        try:
            for _ in range(7):
                assert query.rows("One") == [("One",)]
        finally:
            other.execute(alter.format(length))
