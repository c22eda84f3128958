"""Borrowing a database connection for one prepared statement, without Django's layers in between."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, cast
from weakref import WeakSet

import psycopg
from django.db import connections
from psycopg import pq

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


class Prepared:
    """A statement that each connection prepares once, run by libpq itself.

    psycopg's cursors adapt types, keep results and serve asynchronous callers as well; for one short row on the request
    path that costs ten times what the statement does. Parameters and results are text, in libpq's sense.
    """

    def __init__(self, name: str, sql: str) -> None:
        """`sql` has its parameters as `$1`, `$2`."""
        self._name = name.encode()
        self._sql = sql.encode()
        self._prepared_on: WeakSet[psycopg.Connection[Any]] = WeakSet()

    def fetch_row(self, parameters: Sequence[bytes | None]) -> list[str | None] | None:
        """The first row of the result, or None.

        Raises:
            psycopg.Error: as a cursor would raise it; `psycopg.OperationalError` when the database does not answer.
        """
        with borrowed_connection() as connection:
            result = self._run(connection, parameters)
        if not result.ntuples:
            return None
        values = (result.get_value(0, column) for column in range(result.nfields))
        return [None if value is None else value.decode() for value in values]

    def _run(self, connection: psycopg.Connection[Any], parameters: Sequence[bytes | None]) -> pq.abc.PGresult:
        pgconn = connection.pgconn
        if connection not in self._prepared_on:
            _checked(connection, pgconn.prepare(self._name, self._sql))
            self._prepared_on.add(connection)
        try:
            # NULL is None, whatever the stubs say.
            return _checked(connection, pgconn.exec_prepared(self._name, cast("Sequence[bytes]", parameters)))
        except psycopg.errors.InvalidSqlStatementName:
            # Something between us and the server (a pooler, DISCARD) has forgotten it.
            self._prepared_on.discard(connection)
            return self._run(connection, parameters)


def _checked(connection: psycopg.Connection[Any], result: pq.abc.PGresult) -> pq.abc.PGresult:
    if result.status in {pq.ExecStatus.TUPLES_OK, pq.ExecStatus.COMMAND_OK}:
        return result
    error = psycopg.errors.error_from_result(result, encoding=connection.info.encoding)
    if connection.pgconn.status != pq.ConnStatus.OK:
        raise psycopg.OperationalError(str(error)) from None
    raise error
