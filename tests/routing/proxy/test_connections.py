"""Statements that connections keep prepared."""

from __future__ import annotations

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
    forget = Prepared("kilo_forget", "DEALLOCATE ALL")
    for word in (b"one", b"two"):
        # Each on a connection of the pool, which is the same one while nobody else asks.
        assert statement.fetch_row([word]) == (word + b"!",)
        forget.fetch_row([])
