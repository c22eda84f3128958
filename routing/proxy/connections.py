"""Borrowing a database connection for one prepared statement, without Django's layers in between."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, cast

import psycopg
from django.db import connections

if TYPE_CHECKING:
    from django.db.backends.postgresql.base import DatabaseWrapper


def _wrapper() -> DatabaseWrapper:
    return cast("DatabaseWrapper", connections["default"])


@contextmanager
def borrowed_connection() -> Iterator[psycopg.Connection[Any]]:
    """A connection of the process's pool, for as long as the block lasts; the open transaction's, inside one.

    Raises:
        psycopg.OperationalError: the database does not answer.
    """
    wrapper = _wrapper()
    if wrapper.in_atomic_block:
        yield cast("psycopg.Connection[Any]", wrapper.connection)
        return
    pool = wrapper.pool
    if pool.closed:
        pool.open()
    connection = pool.getconn()
    try:
        yield connection
    finally:
        pool.putconn(connection)


def drop_dead_connections() -> None:
    """Replace the connections of the pool that the database has closed, for example because it restarted."""
    pool = _wrapper().pool
    if pool is not None:
        pool.check()


def release_connection() -> None:
    """Give this thread's own connection back to the pool, so that a stream does not hold one while it lasts."""
    wrapper = _wrapper()
    if wrapper.connection is not None and not wrapper.in_atomic_block:
        wrapper.close()
