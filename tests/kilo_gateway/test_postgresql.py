"""The pool of database connections."""

from __future__ import annotations

from django.db import connection

from kilo_gateway.postgresql.base import LastUsedFirstPool


def test_the_connection_that_came_back_last_is_lent_first(committed_db: None) -> None:
    pool = connection.pool  # type: ignore[attr-defined]  # the stubs leave it out
    assert isinstance(pool, LastUsedFirstPool)
    lent = [pool.getconn() for _ in range(3)]
    for one in lent:
        pool.putconn(one)
    assert [pool.getconn() for _ in range(3)] == lent[::-1]
    for one in lent:
        pool.putconn(one)
    for _ in range(3):
        again = pool.getconn()
        pool.putconn(again)
        assert again is lent[-1]
