"""Statements that connections keep prepared."""

from __future__ import annotations

import psycopg
from django.db import connection, transaction

from routing.proxy.connections import Prepared


def test_one_that_the_server_has_forgotten_fails_no_transaction(db: None) -> None:
    """psycopg makes it forget all of them when a transaction is rolled back; within one there is no second try."""
    statement = Prepared("kilo_test", "SELECT $1::text || '!'")
    with transaction.atomic(), connection.cursor() as cursor:
        for word in (b"one", b"two"):
            assert statement.fetch_row([word]) == (word + b"!",)
            cursor.execute("DEALLOCATE ALL")


def test_nor_is_it_lost_outside_of_one(committed_db: None) -> None:
    statement = Prepared("kilo_test", "SELECT $1::text || '!'")
    # Only this one: psycopg keeps statements of its own on the same connection.
    forget = Prepared("kilo_forget", "DEALLOCATE kilo_test")
    for word in (b"one", b"two"):
        # Each on a connection of the pool, which is the same one while nobody else asks.
        assert statement.fetch_row([word]) == (word + b"!",)
        forget.fetch_row([])


def test_a_column_that_a_newer_version_changes_fails_nothing(committed_db: None) -> None:
    statement = Prepared("kilo_test_column", "SELECT word FROM changing_column WHERE $1::text <> ''")
    connection.ensure_connection()
    with psycopg.connect(connection.connection.info.dsn, autocommit=True) as other:
        other.execute("CREATE TABLE changing_column AS SELECT 'yes'::varchar(5) AS word")
        try:
            assert statement.fetch_row([b"x"]) == (b"yes",)
            other.execute("ALTER TABLE changing_column ALTER COLUMN word TYPE varchar(6)")
            for _ in range(3):
                assert statement.fetch_row([b"x"]) == (b"yes",)
        finally:
            other.execute("DROP TABLE changing_column")
