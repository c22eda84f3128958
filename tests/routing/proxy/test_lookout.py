"""Waiting awake: for a moment, and only by whom nobody else needs the processor."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from unittest import mock

import psycopg
import pytest
from django.db import connection as django_connection
from psycopg.conninfo import make_conninfo

from routing.proxy import connections
from routing.proxy.connections import Prepared
from routing.proxy.lookout import Presence, requests_present, wait_awake
from tests.support.live import ROOT

LATE_SECONDS = 0.3


@contextmanager
def late_end() -> Iterator[str]:
    """How to reach PostgreSQL through `tests.support.late_end`."""
    django_connection.ensure_connection()
    info = django_connection.connection.info
    command = [sys.executable, "-m", "tests.support.late_end", info.host, str(info.port), str(LATE_SECONDS)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE) as between:
        assert between.stdout is not None
        port = int(between.stdout.readline())
        given = {"host": "127.0.0.1", "port": port, "dbname": info.dbname, "user": info.user, "sslmode": "disable"}
        try:
            yield make_conninfo(**given, password=info.password or None)
        finally:
            between.kill()


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        yield ours, theirs


def test_presence_counts_who_is_inside() -> None:
    presence = Presence()
    assert not presence.is_alone
    with presence:
        assert presence.is_alone
        with presence:
            assert not presence.is_alone
        assert presence.is_alone
    assert not presence.is_alone


def test_what_is_there_is_seen(pair: tuple[socket.socket, socket.socket]) -> None:
    ours, theirs = pair
    theirs.send(b"x")
    with requests_present:
        assert wait_awake(ours.fileno())


def test_what_does_not_come_is_given_up(pair: tuple[socket.socket, socket.socket]) -> None:
    with requests_present:
        assert not wait_awake(pair[0].fileno())


def test_with_a_second_request_nobody_looks(pair: tuple[socket.socket, socket.socket]) -> None:
    ours, theirs = pair
    theirs.send(b"x")
    with requests_present, requests_present:
        assert not wait_awake(ours.fileno())


class TestPreparedStatement:
    @pytest.fixture(autouse=True)
    def _database(self, committed_db: None) -> Iterator[None]:
        with requests_present:
            yield

    def test_alone_it_says_the_same(self) -> None:
        statement = Prepared("kilo_lookout", "SELECT $1::text || '!', NULL")
        for word in (b"one", b"two"):
            assert statement.fetch_row([word]) == (word + b"!", None)

    def test_one_that_takes_longer_is_waited_for(self) -> None:
        statement = Prepared("kilo_lookout_slow", "SELECT pg_sleep(0.05), $1::text")
        assert statement.fetch_row([b"done"]) == (b"", b"done")

    def test_who_waits_for_the_end_of_an_answer_holds_nobody_up(self) -> None:
        """PostgreSQL says first what it has found and then that it is ready; the second may be late."""
        with late_end() as conninfo, psycopg.connect(conninfo, autocommit=True) as connection:
            connection.pgconn.prepare(b"kilo_lookout_late", b"SELECT $1::text")
            with ThreadPoolExecutor(1) as pool:
                asked = pool.submit(connections._exec_prepared, connection.pgconn, b"kilo_lookout_late", [b"x"])
                turns = 0
                while not asked.done():
                    time.sleep(LATE_SECONDS / 50)
                    turns += 1
            assert asked.result().get_value(0, 0) == b"x"
        assert turns > 5

    def test_a_failure_is_the_same_failure(self) -> None:
        statement = Prepared("kilo_lookout_fails", "SELECT 1 / $1::int")
        with pytest.raises(psycopg.errors.DivisionByZero):
            statement.fetch_row([b"0"])
        assert statement.fetch_row([b"1"]) == (b"1",)

    def test_a_connection_that_is_cut_is_an_operational_error(self) -> None:
        statement = Prepared("kilo_lookout_cut", "SELECT pg_terminate_backend(pg_backend_pid()), $1::text")
        with pytest.raises(psycopg.OperationalError):
            statement.fetch_row([b"x"])

    def test_it_looks_awake_when_alone_and_else_not(self) -> None:
        statement = Prepared("kilo_lookout_way", "SELECT $1::text")
        statement.fetch_row([b"prepared"])
        looks: list[int] = []

        def noted(descriptor: int) -> bool:
            looks.append(descriptor)
            return wait_awake(descriptor)

        with mock.patch.object(connections, "wait_awake", noted):
            statement.fetch_row([b"alone"])
            assert looks
            looks.clear()
            with requests_present:
                statement.fetch_row([b"not alone"])
        assert not looks

    def test_what_there_is_to_do_is_done_while_the_database_works(self) -> None:
        statement = Prepared("kilo_lookout_meanwhile", "SELECT pg_sleep(0.05), $1::text")
        statement.fetch_row([b"prepared"])
        ended: list[float] = []
        started = time.monotonic()
        assert statement.fetch_row([b"x"], lambda: ended.append(time.monotonic() - started)) == (b"", b"x")
        assert time.monotonic() - started >= 0.05
        assert len(ended) == 1
        assert ended[0] < 0.05

    def test_with_a_second_request_others_work_instead(self) -> None:
        statement = Prepared("kilo_lookout_others", "SELECT $1::text")
        done: list[None] = []
        with requests_present:
            assert statement.fetch_row([b"x"], lambda: done.append(None)) == (b"x",)
        assert not done
