"""Waiting awake: for a moment, and only by whom nobody else needs the processor."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from unittest import mock

import psycopg
import pytest

from routing.proxy import connections
from routing.proxy.connections import Prepared
from routing.proxy.lookout import Presence, requests_present, wait_awake


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
