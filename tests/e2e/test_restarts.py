"""Processes that are killed and a database that goes away, in the middle of streams."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict, make_conninfo

from routing.demo import DemoUpstream
from tests.e2e import wire
from tests.e2e.lab import PATHS, USAGE, body_of, events_in, eventually, is_error_event
from tests.support.live import Gateway, live_gateway, wait_until_ready

CHAT = "chat_completions"


@pytest.fixture(scope="module")
def frail(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """A gateway of this file's own, with two worker processes, for whatever breaks it."""
    with live_gateway(tmp_path_factory.mktemp("frail"), WORKERS="2") as gateway:
        yield gateway


@pytest.fixture
def upstream(frail: Gateway) -> Iterator[DemoUpstream]:
    frail.upstream.clear()
    frail.upstream.reset_behaviour()
    yield frail.upstream
    frail.upstream.reset_behaviour()


def send(gateway: Gateway, kind: str = CHAT, *, stream: bool = False, mode: str = "code") -> wire.Exchange:
    key = gateway.user("alice")["api_key"]
    return wire.send(gateway.base_url, PATHS[kind], body_of(kind, stream=stream), key, {"x-kilocode-mode": mode})


def workers(gateway: Gateway) -> list[int]:
    """The processes that serve: the children of the one that was started, helpers of Python's own aside."""
    children = Path(f"/proc/{gateway.process.pid}/task/{gateway.process.pid}/children").read_text().split()
    return [int(child) for child in children if b"resource_tracker" not in Path(f"/proc/{child}/cmdline").read_bytes()]


def clients_of(gateway: Gateway, pid: int) -> list[int]:
    """The ports of the clients that a worker has connections with."""
    port = int(gateway.environment["PORT"])
    connections = psutil.Process(pid).net_connections("tcp")
    return [found.raddr.port for found in connections if found.laddr.port == port and found.status == "ESTABLISHED"]


def rows_of(gateway: Gateway, ids: list[str]) -> int:
    query = "SELECT count(*) AS n FROM routing_usagerecord WHERE request_id = ANY(%s::uuid[])"
    return int(gateway.sql(query, ids)[0]["n"])


class TestAWorkerIsKilled:
    def test_the_next_request_works_and_nothing_that_was_done_is_lost(
        self, frail: Gateway, upstream: DemoUpstream
    ) -> None:
        before = workers(frail)
        assert len(before) == 2
        done = [send(frail).reply().request_id for _ in range(60)]
        ended_at = time.monotonic()
        upstream.behave(events=200, interval_ms=50)
        streams = [send(frail, stream=True) for _ in range(8)]
        for stream in streams:
            next(stream.pieces())
        time.sleep(max(0.0, ended_at + 1.0 - time.monotonic()))
        for worker in before:
            os.kill(worker, signal.SIGKILL)
        for stream in streams:
            with pytest.raises(wire.BrokenAnswer):
                list(stream.pieces())
        upstream.reset_behaviour()
        assert eventually(lambda: upstream.stats()["disconnects"] == len(streams)), "upstreams were left waiting"
        assert eventually(lambda: self._answers(frail), 30), "no worker came back"
        assert rows_of(frail, done) == len(done)
        assert eventually(lambda: len(workers(frail)) == 2, 30)
        assert not set(workers(frail)) & set(before)
        again = [send(frail).reply() for _ in range(20)]
        assert {reply.status for reply in again} == {200}
        assert eventually(lambda: rows_of(frail, [reply.request_id for reply in again]) == 20)

    @staticmethod
    def _answers(gateway: Gateway) -> bool:
        try:
            return send(gateway).reply().status == 200
        except (OSError, wire.BrokenAnswer):
            return False

    def test_one_of_two(self, frail: Gateway, upstream: DemoUpstream) -> None:
        """Streams of the other worker do not notice."""
        assert eventually(lambda: len(workers(frail)) == 2, 30)
        upstream.behave(events=40, interval_ms=50)
        streams = [send(frail, stream=True) for _ in range(12)]
        for stream in streams:
            next(stream.pieces())
        # The kernel may well have given all of them to one.
        victim, survivor = sorted(workers(frail), key=lambda pid: -len(clients_of(frail, pid)))
        cut = len(clients_of(frail, victim))
        os.kill(victim, signal.SIGKILL)
        complete = sum(self._is_complete(stream) for stream in streams)
        assert complete == len(streams) - cut < len(streams)
        assert survivor in workers(frail)
        assert eventually(lambda: len(workers(frail)) == 2, 30)
        wait_until_ready(f"{frail.base_url}/readyz", frail.process, frail.log_file)

    def test_again_and_again(self, frail: Gateway, upstream: DemoUpstream) -> None:
        """However often, and however soon after the last time: the one that has just taken a dead one's place, too."""
        assert eventually(lambda: len(workers(frail)) == 2, 30)
        victim = workers(frail)[0]
        for _ in range(4):
            before = set(workers(frail))
            os.kill(victim, signal.SIGKILL)
            assert eventually(lambda before=before: set(workers(frail)) - before, 30)
            (victim,) = set(workers(frail)) - before
            assert eventually(lambda: self._answers(frail), 30)
        assert eventually(lambda: len(workers(frail)) == 2, 30)
        wait_until_ready(f"{frail.base_url}/readyz", frail.process, frail.log_file)

    @staticmethod
    def _is_complete(stream: wire.Exchange) -> bool:
        try:
            return list(stream.pieces())[-1][1].endswith(b"data: [DONE]\n\n")
        except wire.BrokenAnswer:
            return False


class TestTheUpstreamIsKilled:
    @pytest.mark.parametrize("kind", [CHAT, "responses", "messages"])
    def test_in_the_middle_of_a_stream(self, frail: Gateway, upstream: DemoUpstream, kind: str) -> None:
        upstream.behave(events=200, interval_ms=20)
        stream = send(frail, kind, stream=True)
        pieces = stream.pieces()
        content = b"".join(next(pieces)[1] for _ in range(5))
        upstream.stop()
        try:
            content += b"".join(piece for _, piece in pieces)
            assert is_error_event(kind, events_in(content)[-1])
            refused = send(frail, kind).reply()
            assert (refused.status, refused.error_type) == (503, "temporarily_unavailable")
        finally:
            upstream.start()
        upstream.reset_behaviour()
        assert send(frail, kind).reply().status == 200
        row = frail.usage(stream.request_id)
        assert (row["error_type"], row["cancelled"]) == ("upstream_broke", False)


@contextmanager
def database_away(gateway: Gateway) -> Iterator[None]:
    """The gateway's database refuses every connection and has ended those that it had."""
    parts: dict[str, Any] = dict(conninfo_to_dict(gateway.environment["DATABASE_URL"]))
    name = parts["dbname"]
    elsewhere = make_conninfo(**{**parts, "dbname": "postgres"})
    end_all = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s"
    with psycopg.connect(elsewhere, autocommit=True) as connection:
        connection.execute(f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS false')
        connection.execute(end_all, [name])
        try:
            yield
        finally:
            connection.execute(f'ALTER DATABASE "{name}" ALLOW_CONNECTIONS true')


class TestTheDatabaseGoesAway:
    def test_streams_go_on_requests_are_told_and_it_recovers_by_itself(
        self, frail: Gateway, upstream: DemoUpstream
    ) -> None:
        assert [send(frail, mode=mode).reply().status for mode in ("code", "debug") * 4] == [200] * 8
        upstream.behave(text="x" * 40, events=40, interval_ms=100, usage=USAGE)
        streams = [send(frail, stream=True, mode=mode) for mode in ("code", "debug", "local-docs") * 2]
        for stream in streams:
            next(stream.pieces())
        with database_away(frail):
            away_at = time.monotonic()
            calls = [lambda kind=kind: send(frail, kind).reply() for kind in (CHAT, "messages") * 4]
            refused = self._at_once([*calls, lambda: _get(frail, "/readyz"), lambda: _get(frail, "/healthz")])
            assert time.monotonic() - away_at < 9, "nobody waits for long"
            *refused, ready, healthy = refused
            assert (ready.status, healthy.status) == (503, 200)
            for reply in refused:
                assert reply.status == 503
                assert reply.error_type == "temporarily_unavailable"
                assert int(reply["retry-after"]) > 0
                assert "x-request-id" in reply
            ended = [b"".join(piece for _, piece in stream.pieces()) for stream in streams]
            assert all(content.endswith(b"data: [DONE]\n\n") for content in ended)
        back_at = time.monotonic()
        upstream.reset_behaviour()
        assert eventually(lambda: send(frail).reply().status == 200, 20)
        recovered_after = time.monotonic() - back_at
        assert recovered_after < 8
        # Every worker, not only the first to notice.
        assert {send(frail).reply().status for _ in range(20)} == {200}
        ids = [stream.request_id for stream in streams]
        assert eventually(lambda: rows_of(frail, ids) == len(ids), 20)
        assert all(frail.usage(request_id)["input_tokens"] == USAGE["input"] for request_id in ids)
        assert eventually(lambda: _get(frail, "/readyz").status == 200)

    @staticmethod
    def _at_once(calls: Sequence[Callable[[], wire.Reply]]) -> list[wire.Reply]:
        with ThreadPoolExecutor(len(calls)) as executor:
            return [future.result(30) for future in [executor.submit(call) for call in calls]]

    def test_connections_that_are_cut_cost_no_request(self, frail: Gateway, upstream: DemoUpstream) -> None:
        """As when PostgreSQL restarts between two requests: the next one does not notice."""
        assert {send(frail).reply().status for _ in range(10)} == {200}
        frail.sql(
            "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE datname = current_database() AND"
            " pid <> pg_backend_pid()"
        )
        replies = [send(frail).reply() for _ in range(10)]
        assert {reply.status for reply in replies} == {200}
        assert eventually(lambda: rows_of(frail, [reply.request_id for reply in replies]) == 10, 10)
        assert {send(frail, mode=f"new-{number}").reply().status for number in range(4)} == {200}

    def test_a_record_is_written_once(self, frail: Gateway, upstream: DemoUpstream) -> None:
        """Connections are cut again and again while records are written."""
        ids: list[str] = []
        for _ in range(4):
            for _ in range(5):
                reply = send(frail).reply()
                assert reply.status == 200
                ids.append(reply.request_id)
            frail.sql(
                "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity WHERE datname = current_database() AND"
                " pid <> pg_backend_pid()"
            )
        assert eventually(lambda: rows_of(frail, ids) == len(ids), 15)


def _get(gateway: Gateway, path: str) -> wire.Reply:
    return wire.Exchange(gateway.base_url, path, b"", "", {}, method="GET").reply()


def test_nothing_of_the_above_was_unexpected(frail: Gateway) -> None:
    assert "Unexpected error" not in frail.log()
    assert "records are lost" not in frail.log()


def test_a_server_that_is_told_to_end_finishes_what_runs(frail: Gateway, upstream: DemoUpstream) -> None:
    """SIGTERM in the middle of a stream: the stream ends well, and its record is written. The last test here."""
    upstream.behave(events=20, interval_ms=100, usage=USAGE)
    stream = send(frail, stream=True)
    pieces = stream.pieces()
    next(pieces)
    frail.process.send_signal(signal.SIGTERM)
    content = b"".join(piece for _, piece in pieces)
    assert content.endswith(b"data: [DONE]\n\n")
    frail.process.wait(40)
    assert frail.usage(stream.request_id)["input_tokens"] == USAGE["input"]
