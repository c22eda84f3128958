"""Borrowing a database connection for one prepared statement, without Django's layers in between."""

from __future__ import annotations

import select
import threading
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Final, cast
from weakref import WeakSet

import psycopg
from django.conf import settings
from django.db import connections
from psycopg import pq

from routing.proxy.lookout import requests_present, wait_awake, wait_ready

if TYPE_CHECKING:
    from django.db.backends.postgresql.base import DatabaseWrapper

_SUCCESSES = frozenset({pq.ExecStatus.TUPLES_OK, pq.ExecStatus.COMMAND_OK})


class _Own(threading.local):
    """Django's connection of each thread, which costs a request less to find here than where Django keeps it."""

    def __init__(self) -> None:
        self.wrapper = cast("DatabaseWrapper", connections["default"])


_own: Final = _Own()


def _wrapper() -> DatabaseWrapper:
    return _own.wrapper


class borrowed_connection:  # noqa: N801 - it is used like a function; a generator would cost each request more
    """A connection of the process's pool, for as long as the block lasts; the open transaction's, inside one.

    Raises:
        psycopg.OperationalError: the database does not answer.
    """

    __slots__ = ("_connection", "_pool")

    def __enter__(self) -> psycopg.Connection[Any]:
        wrapper = _wrapper()
        self._pool = None if wrapper.in_atomic_block else wrapper.pool
        if self._pool is None:
            self._connection = cast("psycopg.Connection[Any]", wrapper.connection)
            return self._connection
        if self._pool.closed:
            self._pool.open()
        self._connection = self._pool.getconn()
        return self._connection

    def __exit__(self, *exc_info: object) -> None:
        if self._pool is not None:
            self._pool.putconn(self._connection)


def drop_dead_connections() -> None:
    """Replace the connections of the pool that the database has closed, for example because it restarted."""
    pool = _wrapper().pool
    if pool is not None:
        pool.check()


def pool_numbers() -> dict[str, int]:
    """How many connections the process's pool has open and idle, and how many requests wait for one."""
    numbers = _wrapper().pool.get_stats()
    return {
        "open": numbers.get("pool_size", 0),
        "idle": numbers.get("pool_available", 0),
        "waiting": numbers.get("requests_waiting", 0),
    }


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

    def fetch_row(
        self, parameters: Sequence[bytes | None], meanwhile: Callable[[], None] | None = None
    ) -> tuple[bytes | None, ...] | None:
        """The first row of the result as text that is not decoded yet, or None.

        Args:
            meanwhile: What there is to do while the database works. It is called when a request is alone in its
                process, perhaps more than once; one that is not lets others work instead.

        Raises:
            psycopg.Error: as a cursor would raise it; `psycopg.OperationalError` when the database does not answer.
        """
        with borrowed_connection() as connection:
            result = self._run(connection, parameters, meanwhile)
        if not result.ntuples:
            return None
        get_value = result.get_value
        return tuple([get_value(0, column) for column in range(result.nfields)])

    def _run(
        self,
        connection: psycopg.Connection[Any],
        parameters: Sequence[bytes | None],
        meanwhile: Callable[[], None] | None,
    ) -> pq.abc.PGresult:
        pgconn = connection.pgconn
        if settings.DATABASE_PGBOUNCER or pgconn.transaction_status != pq.TransactionStatus.IDLE:
            # Behind PgBouncer the next statement may run on another server connection, and nobody here knows what is
            # prepared there. In a transaction there is no second try: psycopg makes the server forget at each rollback.
            return _checked(connection, pgconn.exec_params(self._sql, cast("Sequence[bytes]", parameters)))
        # NULL is None, whatever the stubs say.
        given = cast("Sequence[bytes]", parameters)
        if connection in self._prepared_on:
            try:
                return _checked(connection, _exec_prepared(pgconn, self._name, given, meanwhile))
            except psycopg.errors.InvalidSqlStatementName:
                # Something between us and the server (a pooler, DISCARD) has forgotten it.
                self._prepared_on.discard(connection)
            except psycopg.errors.FeatureNotSupported:
                # A newer version has changed the type of a column since.
                self._prepared_on.discard(connection)
                _checked(connection, pgconn.exec_(b"DEALLOCATE " + self._name))
        _checked(connection, pgconn.prepare(self._name, self._sql))
        self._prepared_on.add(connection)
        return _checked(connection, _exec_prepared(pgconn, self._name, given, meanwhile))


def _exec_prepared(
    pgconn: pq.abc.PGconn,
    name: bytes,
    parameters: Sequence[bytes],
    meanwhile: Callable[[], None] | None = None,
) -> pq.abc.PGresult:
    """Run a statement and wait for its result: awake for a moment when nobody else needs the processor.

    A result is fetched only when it is there: libpq would wait for it with Python's lock held, and everybody with it.
    """
    if not requests_present.is_alone:
        return pgconn.exec_prepared(name, parameters)
    pgconn.send_query_prepared(name, parameters)
    while pgconn.flush():
        wait_ready(pgconn.socket, select.POLLIN | select.POLLOUT)
        pgconn.consume_input()
    if meanwhile is not None:
        meanwhile()
    last: pq.abc.PGresult | None = None
    while (result := _next_result(pgconn)) is not None:
        last = result
    if last is None:
        raise psycopg.OperationalError("the database broke off")
    return last


def _next_result(pgconn: pq.abc.PGconn) -> pq.abc.PGresult | None:
    while pgconn.is_busy():
        if not wait_awake(pgconn.socket):
            wait_ready(pgconn.socket, select.POLLIN)
        pgconn.consume_input()
    return pgconn.get_result()


def _checked(connection: psycopg.Connection[Any], result: pq.abc.PGresult) -> pq.abc.PGresult:
    if result.status in _SUCCESSES:
        return result
    error = psycopg.errors.error_from_result(result, encoding=connection.info.encoding)
    if connection.pgconn.status != pq.ConnStatus.OK:
        raise psycopg.OperationalError(str(error)) from None
    raise error
