"""One request to a provider: what goes out, and how it ends whatever the other side does."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from byok.outbound import Failure, Fetched, OutboundFailed, fetch
from byok.providers import PROVIDERS, KeyStyle, UnsendableSecretError
from kilo_gateway.secret import Secret
from tests.e2e.lab import eventually, self_signed
from tests.e2e.scripted import Line, ScriptedUpstream, with_raw_server

pytestmark = pytest.mark.django_db
SECRET = Secret("sk-canary-of-outbound-1234")
KNOWN = PROVIDERS["openai-byok"]


def ask(upstream: ScriptedUpstream, method: str = "GET", *, seconds: float = 5.0, **options: Any) -> Fetched:
    fields: dict[str, Any] = {"limit_bytes": 1000, "deadline_seconds": seconds, **options}
    provider = fields.pop("provider", KNOWN)
    return fetch(provider, method, f"{upstream.base_url}/v1/models", SECRET, **fields)


def fails(upstream: ScriptedUpstream, **options: Any) -> Failure:
    with pytest.raises(OutboundFailed) as raised:
        ask(upstream, **options)
    assert "canary" not in f"{raised.value!r} {raised.value}"
    assert "127.0.0.1" not in str(raised.value)
    return raised.value.failure


def test_what_is_sent(provider: ScriptedUpstream, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The key and headers of ours, and nothing that lies about in the environment."""
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login someone password else\n")
    monkeypatch.setenv("NETRC", str(netrc))
    provider.script = lambda line: line.answer("200 OK", b"[]", set_cookie="a=b")
    for _ in range(2):
        assert ask(provider) == Fetched(200, b"[]")
    seen = provider.requests[-1]
    assert seen.line == "GET /v1/models HTTP/1.1"
    assert seen.names() == {"host", "accept", "accept-encoding", "user-agent", "connection", "authorization"}
    assert seen.header("authorization") == f"Bearer {SECRET.reveal()}"


def test_a_body_and_another_way_to_send_the_key(provider: ScriptedUpstream) -> None:
    provider.script = lambda line: line.answer("201 Created", b"done")
    headers = (("anthropic-version", "2023-06-01"),)
    fetched = ask(provider, "POST", key_style=KeyStyle.X_API_KEY, headers=headers, json={"a": 1})
    assert fetched == Fetched(201, b"done")
    seen = provider.requests[0]
    assert (seen.json(), seen.header("x-api-key"), seen.header("authorization")) == ({"a": 1}, SECRET.reveal(), None)
    assert seen.header("anthropic-version") == "2023-06-01"


def test_a_key_that_no_header_can_carry_is_not_sent(provider: ScriptedUpstream) -> None:
    with pytest.raises(UnsendableSecretError):
        fetch(KNOWN, "GET", f"{provider.base_url}/v1", Secret("a\r\nb: c"), limit_bytes=1, deadline_seconds=1)
    assert provider.accepted == 0


@pytest.mark.parametrize("status", ["301 Moved", "302 Found", "307 Temporary", "308 Permanent"])
def test_redirects_are_not_followed(provider: ScriptedUpstream, status: str) -> None:
    with ScriptedUpstream() as elsewhere:
        provider.script = lambda line: line.answer(status, b"", location=f"{elsewhere.base_url}/v1")
        assert ask(provider).status == int(status[:3])
        assert (len(provider.requests), elsewhere.accepted) == (1, 0)


def dripping(piece: bytes) -> Callable[[Line], None]:
    """Never silent for long, and never at an end."""

    def script(line: Line) -> None:
        with suppress(OSError):
            while True:
                line.write(piece)
                time.sleep(0.02)

    return script


def chunks_forever(line: Line) -> None:
    line.event_stream()
    with suppress(OSError):
        while True:
            line.chunk(b"x")
            time.sleep(0.02)


def silent(line: Line) -> None:
    line.wait_for_peer_to_leave()


@pytest.mark.parametrize(
    "script",
    [silent, dripping(b"H"), dripping(b"HTTP/1.1 100 Continue\r\n\r\n"), chunks_forever],
    ids=["silent", "head", "interim", "body"],
)
def test_the_deadline_is_for_all_of_it(provider: ScriptedUpstream, script: Callable[[Line], None]) -> None:
    provider.script = script
    started = time.monotonic()
    assert fails(provider, seconds=0.3, limit_bytes=10**9) in {Failure.TIMED_OUT, Failure.BROKEN}
    assert time.monotonic() - started < 5
    assert eventually(lambda: provider.open_connections == 0), "the connection is not left behind"


def test_a_tls_handshake_that_stalls_has_no_time_of_its_own(
    provider: ScriptedUpstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that begins when the deadline has passed ends at once."""
    resolve, resolved = socket.getaddrinfo, threading.Event()

    def late(*args: Any, **options: Any) -> Any:
        resolved.wait(10)
        return resolve(*args, **options)

    def serve(listener: socket.socket) -> None:
        connection, _ = listener.accept()
        with connection:
            while connection.recv(4096):
                pass

    def ask_over_tls() -> None:
        monkeypatch.setattr(socket, "getaddrinfo", late)
        url = f"https://{provider.base_url.partition('://')[2]}/v1"
        with pytest.raises(OutboundFailed) as raised:
            fetch(KNOWN, "GET", url, SECRET, limit_bytes=1000, deadline_seconds=2.0)
        assert raised.value.failure is Failure.TIMED_OUT
        resolved.set()
        assert eventually(lambda: "outbound" not in {thread.name for thread in threading.enumerate()}, 1.0)

    with_raw_server(provider, serve, ask_over_tls)


def test_a_name_that_takes_its_time(provider: ScriptedUpstream, monkeypatch: pytest.MonkeyPatch) -> None:
    resolve = socket.getaddrinfo

    def slowly(*args: Any, **options: Any) -> Any:
        time.sleep(0.6)
        return resolve(*args, **options)

    monkeypatch.setattr(socket, "getaddrinfo", slowly)
    assert fails(provider, seconds=0.2) is Failure.TIMED_OUT


@pytest.mark.parametrize("stated", [True, False], ids=["stated", "chunked"])
def test_too_large(provider: ScriptedUpstream, stated: bool) -> None:
    def script(line: Line) -> None:
        with suppress(OSError):
            if stated:
                line.answer("200 OK", b"x" * 100_000)
            else:
                line.event_stream()
                for _ in range(100):
                    line.chunk(b"x" * 1000)
                line.end()

    provider.script = script
    assert fails(provider) is Failure.TOO_LARGE


@pytest.mark.parametrize(
    "raw",
    [b"", b"nonsense\r\n\r\n", b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nshort"],
    ids=["nothing", "no HTTP", "short"],
)
def test_broken(provider: ScriptedUpstream, raw: bytes) -> None:
    def script(line: Line) -> None:
        line.write(raw)
        line.close()

    provider.script = script
    assert fails(provider) is Failure.BROKEN


def test_unreachable(provider: ScriptedUpstream) -> None:
    provider.stop()
    assert fails(provider) is Failure.UNREACHABLE
    assert fails(provider, provider=replace(KNOWN, is_custom=True)) is Failure.FORBIDDEN_ADDRESS


def test_tls_is_verified(provider: ScriptedUpstream, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    tls, certificate = self_signed(tmp_path)
    with ScriptedUpstream(tls) as secure:
        secure.script = lambda line: line.answer("200 OK", b"[]")
        assert fails(secure) is Failure.UNREACHABLE
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(certificate))
        assert ask(secure).status == 200


class TestCustomProviders:
    CUSTOM = replace(KNOWN, is_custom=True)

    def test_a_private_address_sees_no_connection(self, provider: ScriptedUpstream) -> None:
        assert fails(provider, provider=self.CUSTOM) is Failure.FORBIDDEN_ADDRESS
        assert provider.accepted == 0

    def test_it_is_allowed_where_the_installation_says_so(self, provider: ScriptedUpstream, settings: Any) -> None:
        settings.ALLOW_PRIVATE_UPSTREAMS = True
        provider.script = lambda line: line.answer("200 OK", b"[]")
        assert ask(provider, provider=self.CUSTOM).status == 200
        provider.stop()
        assert fails(provider, provider=self.CUSTOM) is Failure.UNREACHABLE

    def test_no_proxy_of_the_environment(
        self, provider: ScriptedUpstream, settings: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """It would resolve the name a second time, elsewhere."""
        settings.ALLOW_PRIVATE_UPSTREAMS = True
        provider.script = lambda line: line.answer("200 OK", b"[]")
        monkeypatch.setenv("NO_PROXY", "")
        with ScriptedUpstream() as proxy:
            proxy.script = lambda line: line.answer("200 OK", b"[1]")
            monkeypatch.setenv("HTTP_PROXY", proxy.base_url)
            assert ask(provider, provider=self.CUSTOM).body == b"[]"
            assert proxy.accepted == 0
            assert ask(provider).body == b"[1]"
