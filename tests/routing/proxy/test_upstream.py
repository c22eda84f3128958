"""The connections to upstreams: when one is used again, when another is made, and what is never sent twice."""

from __future__ import annotations

import base64
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from routing.proxy.answer import read_whole
from routing.proxy.origins import READ_BYTES, UpstreamForbidden, UpstreamUnreachable
from routing.proxy.upstream import Answer, UpstreamBroke, UpstreamTimedOut, send
from tests.e2e.lab import self_signed
from tests.e2e.scripted import Line, ScriptedUpstream

HEADERS = {"Content-Type": "application/json", "Authorization": "Bearer sk-upstream-0001"}


@pytest.fixture
def upstream() -> Iterator[ScriptedUpstream]:
    with ScriptedUpstream() as started:
        started.script = lambda line: line.answer("200 OK", b"hello")
        yield started
    assert not started.failures


def post(upstream: ScriptedUpstream, body: bytes = b"{}", *, guarded: bool = False) -> Answer:
    return send(f"{upstream.base_url}/v1/chat", HEADERS, body, guarded=guarded)


class TestOneRequest:
    def test_it_arrives_as_it_was_given(self, upstream: ScriptedUpstream) -> None:
        assert read_whole(post(upstream, b'{"a": 1}')) == b"hello"
        (seen,) = upstream.requests
        assert seen.line == "POST /v1/chat HTTP/1.1"
        assert seen.body == b'{"a": 1}'
        host = upstream.base_url.removeprefix("http://")
        assert dict(seen.headers) == {"Host": host, **HEADERS, "Content-Length": "8"}

    def test_a_large_body(self, upstream: ScriptedUpstream) -> None:
        body = b"x" * 3_000_000
        read_whole(post(upstream, body))
        assert upstream.requests[0].body == body

    @pytest.mark.parametrize("value", ["a\r\nx: y", "a\ny", "a\rb"])
    def test_a_header_cannot_begin_another(self, upstream: ScriptedUpstream, value: str) -> None:
        with pytest.raises(ValueError, match="line break"):
            send(f"{upstream.base_url}/v1/chat", {"X-Title": value}, b"{}")
        assert upstream.accepted == 0

    def test_what_there_is_to_do_is_done_while_the_upstream_works(self, upstream: ScriptedUpstream) -> None:
        done = threading.Event()

        def script(line: Line) -> None:
            line.answer("200 OK", b"in time" if done.wait(5) else b"too late")

        upstream.script = script
        answer = send(f"{upstream.base_url}/v1/chat", HEADERS, b"{}", meanwhile=done.set)
        assert read_whole(answer) == b"in time"

    def test_interim_answers_have_an_end(self, upstream: ScriptedUpstream) -> None:
        def script(line: Line) -> None:
            line.write(b"HTTP/1.1 103 Early Hints\r\n\r\n" * 50)
            line.answer("200 OK", b"at last")

        upstream.script = script
        with pytest.raises(UpstreamBroke):
            post(upstream)
        assert len(upstream.requests) == 1

    def test_a_head_in_drops_takes_no_longer_than_one_in_a_piece(
        self, upstream: ScriptedUpstream, settings: Any
    ) -> None:
        settings.UPSTREAM_FIRST_BYTE_TIMEOUT = 0.4

        def script(line: Line) -> None:
            line.write(b"HTTP/1.1 200 OK\r\n")
            while line.wait_for_peer_to_leave(0.1) is None:
                line.write(b"x: y\r\n")
            line.close()

        upstream.script = script
        with pytest.raises(UpstreamTimedOut):
            post(upstream)


def leaves_the_body_unread(answer: Answer) -> None:
    answer.close()


def reads_a_part(answer: Answer) -> None:
    answer.read()
    answer.close()


class TestConnections:
    def test_one_that_was_read_to_its_end_is_used_again(self, upstream: ScriptedUpstream) -> None:
        for _ in range(5):
            read_whole(post(upstream))
        assert upstream.accepted == 1

    @pytest.mark.parametrize("use", [leaves_the_body_unread, reads_a_part])
    def test_one_that_was_not_is_closed(self, upstream: ScriptedUpstream, use: Callable[[Answer], None]) -> None:
        upstream.script = lambda line: line.answer("200 OK", b"x" * 500_000)
        use(post(upstream))
        upstream.script = lambda line: line.answer("200 OK", b"second")
        assert read_whole(post(upstream)) == b"second"
        assert upstream.accepted == 2

    def test_one_whose_answer_has_not_come_is_closed(self, upstream: ScriptedUpstream) -> None:
        """Nothing is there to be read, and still it is not free."""
        upstream.script = lambda line: line.head(content_length="5")
        post(upstream).close()
        upstream.script = lambda line: line.answer("200 OK", b"second")
        assert read_whole(post(upstream)) == b"second"
        assert upstream.accepted == 2

    def test_one_with_something_behind_the_answer_is_closed(self, upstream: ScriptedUpstream) -> None:
        upstream.script = lambda line: line.write(
            b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nfirstHTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\nsecret"
        )
        assert read_whole(post(upstream)) == b"first"
        upstream.script = lambda line: line.answer("200 OK", b"second")
        assert read_whole(post(upstream)) == b"second"
        assert upstream.accepted == 2

    def test_nor_is_one_on_which_tls_has_read_ahead(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """What is decrypted already is no longer where the kernel sees it."""
        tls, certificate = self_signed(tmp_path)
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(certificate))
        head = b"HTTP/1.1 200 OK\r\ncontent-length: 4000\r\nx-filler: "
        first = head + b"x" * (READ_BYTES - 4000 - 4 - len(head)) + b"\r\n\r\n" + b"1" * 4000
        with ScriptedUpstream(tls) as secure:
            secure.script = lambda line: line.write(first + b"HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\nsecret")
            assert read_whole(post(secure)) == b"1" * 4000
            secure.script = lambda line: line.answer("200 OK", b"second")
            assert read_whole(post(secure)) == b"second"
            assert secure.accepted == 2

    def test_two_ways_to_say_the_length_are_the_last_on_their_connection(self, upstream: ScriptedUpstream) -> None:
        upstream.script = lambda line: line.write(
            b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"
        )
        for _ in range(2):
            assert read_whole(post(upstream)) == b"hello"
        assert upstream.accepted == 2

    def test_a_kept_one_that_died_is_noticed_before_anything_is_sent(self, upstream: ScriptedUpstream) -> None:
        read_whole(post(upstream))
        upstream.stop()
        upstream.start()
        assert read_whole(post(upstream)) == b"hello"
        assert len(upstream.requests) == 2

    def test_without_one_nothing_is_sent(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            port = listener.getsockname()[1]
        with pytest.raises(UpstreamUnreachable) as caught:
            send(f"http://127.0.0.1:{port}/v1", HEADERS, b"{}")
        assert "127.0.0.1" not in str(caught.value)


class TestProxies:
    def test_one_of_the_environment_is_used(self, upstream: ScriptedUpstream, monkeypatch: pytest.MonkeyPatch) -> None:
        proxy = upstream.base_url.replace("http://", "http://user:word@")
        monkeypatch.setenv("HTTP_PROXY", proxy)
        monkeypatch.delenv("NO_PROXY", raising=False)
        assert read_whole(send("http://models.example/v1/chat?x=1", HEADERS, b"{}")) == b"hello"
        (seen,) = upstream.requests
        assert seen.line == "POST http://models.example/v1/chat?x=1 HTTP/1.1"
        assert seen.header("Host") == "models.example"
        assert seen.header("Proxy-Authorization") == f"Basic {base64.b64encode(b'user:word').decode()}"

    def test_a_guarded_origin_goes_through_none(
        self, upstream: ScriptedUpstream, settings: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        settings.ALLOW_PRIVATE_UPSTREAMS = True
        monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
        monkeypatch.delenv("NO_PROXY", raising=False)
        assert read_whole(post(upstream, guarded=True)) == b"hello"


class TestGuardedOrigins:
    def test_a_forbidden_address_is_not_connected_to(self, upstream: ScriptedUpstream, settings: Any) -> None:
        settings.ALLOW_PRIVATE_UPSTREAMS = False
        read_whole(post(upstream))
        with pytest.raises(UpstreamForbidden):
            post(upstream, guarded=True)
        assert upstream.accepted == 1, "neither a new connection nor the one that others have left"

    def test_its_connections_are_its_own(self, upstream: ScriptedUpstream, settings: Any) -> None:
        settings.ALLOW_PRIVATE_UPSTREAMS = True
        for _ in range(2):
            read_whole(post(upstream))
            read_whole(post(upstream, guarded=True))
        assert upstream.accepted == 2
