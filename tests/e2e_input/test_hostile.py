"""What can arrive on a socket, sent byte by byte to the real server.

A request that the HTTP layer cannot read is answered there, with an empty 400 or 431; every other one is answered by
us. Never with 5xx, and never not at all.
"""

from __future__ import annotations

import gzip
import json
import select
import socket
import time
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self
from urllib.parse import urlsplit

import pytest

from routing.proxy.urls import PREFIXES
from tests.support.errors import check_error
from tests.support.live import Gateway

CHAT = "/api/gateway/v1/chat/completions"
MESSAGES = "/api/gateway/v1/messages"
BODY = b'{"model":"kilo-auto/org","messages":[{"role":"user","content":"hello"}]}'
MIB = 1024 * 1024
LIMIT = 32 * MIB
SECONDS = 10.0


@dataclass(frozen=True)
class Reply:
    status: int
    headers: dict[str, str]
    content: bytes

    def json(self) -> Any:
        return json.loads(self.content)


class Line:
    """A connection that sends whatever bytes it is given."""

    def __init__(self, gateway: Gateway) -> None:
        address = urlsplit(gateway.base_url)
        self._socket = socket.create_connection((address.hostname, address.port), timeout=SECONDS)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self._socket.close()

    def send(self, data: bytes) -> None:
        self._socket.sendall(data)

    def end(self) -> None:
        """Say that nothing more will come, and go on listening."""
        self._socket.shutdown(socket.SHUT_WR)

    def has_answer(self) -> bool:
        return bool(select.select([self._socket], [], [], 0)[0])

    def replies(self, *, without_body: bool = False) -> list[Reply]:
        """All answers up to the end of the connection; a server that keeps silent fails the test.

        Args:
            without_body: The answer is one to HEAD, whose stated length is that of a body which does not come.
        """
        received = b""
        while piece := self._receive():
            received += piece
        replies = []
        while received:
            head, _, rest = received.partition(b"\r\n\r\n")
            first, *lines = head.decode("latin-1").split("\r\n")
            headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
            status = int(first.split(" ")[1])
            length = 0 if without_body or status == 100 else int(headers["content-length"])
            replies.append(Reply(status, headers, rest[:length]))
            received = rest[length:]
        return replies

    def _receive(self) -> bytes:
        try:
            return self._socket.recv(65536)
        except ConnectionResetError:
            return b""


class Client:
    """Alice, who sends odd requests."""

    def __init__(self, gateway: Gateway) -> None:
        self.gateway = gateway
        self.key = gateway.user("alice")["api_key"]

    def request(
        self,
        *lines: str | bytes,
        method: str = "POST",
        path: str = CHAT,
        body: bytes = BODY,
        version: str = "1.1",
        length: bool = True,
        last: bool = True,
    ) -> bytes:
        """The bytes of a request; `lines` are added to its head as they are."""
        head: list[str | bytes] = [
            f"{method} {path} HTTP/{version}",
            "Host: localhost",
            f"Authorization: Bearer {self.key}",
        ]
        head += [f"Content-Length: {len(body)}"] if length else []
        head += ["Connection: close"] if last else []
        encoded = [line if isinstance(line, bytes) else line.encode("latin-1") for line in [*head, *lines]]
        return b"\r\n".join(encoded) + b"\r\n\r\n" + body

    def talk(self, data: bytes, *, end: bool = False) -> list[Reply]:
        with Line(self.gateway) as line:
            line.send(data)
            if end:
                line.end()
            return line.replies()

    def ask(self, *lines: str | bytes, end: bool = False, **options: Any) -> Reply:
        """One request, one answer."""
        replies = self.talk(self.request(*lines, **options), end=end)
        assert len(replies) == 1
        return replies[0]


@pytest.fixture
def client(gateway: Gateway) -> Iterator[Client]:
    """Afterwards the server still serves, and its log is what it always is: one JSON object a line, no traceback."""
    gateway.upstream.reset_behaviour()
    begin = gateway.log_file.stat().st_size
    yield Client(gateway)
    assert Client(gateway).ask().status == 200
    for line in log_lines(gateway.log_file, begin):
        assert line["level"] != "error"
        assert "exception" not in line


def log_lines(file: Path, begin: int) -> list[dict[str, Any]]:
    with file.open("rb") as log:
        log.seek(begin)
        return [json.loads(line) for line in log.read().splitlines()]


def chunked(body: bytes, size: int = 20) -> bytes:
    pieces = [body[start : start + size] for start in range(0, len(body), size)]
    return b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n\r\n"


def refused(reply: Reply, status: int, error_type: str, path: str = CHAT) -> None:
    assert reply.status == status, reply
    assert check_error(status, reply.headers, reply.json(), path) == error_type


class TestFraming:
    """Where a body ends."""

    def test_it_works(self, client: Client) -> None:
        reply = client.ask()
        assert (reply.status, reply.headers["x-kilo-route"]) == (200, "fallback")

    @pytest.mark.parametrize("size", [1, 20, 10_000])
    def test_chunked(self, client: Client, size: int) -> None:
        assert client.ask("Transfer-Encoding: chunked", body=chunked(BODY, size), length=False).status == 200

    def test_chunked_with_extensions_and_trailers(self, client: Client) -> None:
        body = b"%x;name=value\r\n%b\r\n0\r\nX-KiloCode-Mode: code\r\n\r\n" % (len(BODY), BODY)
        reply = client.ask("Transfer-Encoding: chunked", body=body, length=False)
        assert (reply.status, reply.headers["x-kilo-route"]) == (200, "fallback")

    @pytest.mark.parametrize(
        "body", [b"zz\r\nhello\r\n0\r\n\r\n", b"-1\r\n\r\n", b"ffffffffffffffffff\r\nx", b"0\r\n\r\n"]
    )
    def test_chunks_that_are_none(self, client: Client, body: bytes) -> None:
        assert client.ask("Transfer-Encoding: chunked", body=body, length=False).status == 400

    @pytest.mark.parametrize("cut", [1, 10, len(BODY) - 1])
    def test_chunks_that_break_off(self, client: Client, cut: int) -> None:
        body = b"%x\r\n%b" % (len(BODY), BODY[:cut])
        refused(client.ask("Transfer-Encoding: chunked", body=body, length=False, end=True), 400, "invalid_request")

    @pytest.mark.parametrize("length", [len(BODY) + 1, 1_000_000])
    def test_a_body_that_breaks_off(self, client: Client, length: int) -> None:
        refused(client.ask(f"Content-Length: {length}", length=False, end=True), 400, "invalid_request")

    def test_clients_that_leave_in_the_middle_of_a_body(self, client: Client) -> None:
        for _ in range(30):
            with Line(client.gateway) as line:
                line.send(client.request("Content-Length: 1000000", length=False))
        assert client.ask().status == 200

    def test_a_body_that_is_longer_than_stated(self, client: Client) -> None:
        replies = client.talk(client.request(last=False) + b"GARBAGE\r\n\r\n")
        assert [reply.status for reply in replies] == [200, 400]

    @pytest.mark.parametrize(
        "value",
        ["-1", "+5", "abc", "0x10", "5 5", "5,6", "", "1e3", "9" * 20, "9" * 5000, "\xb2", "18446744073709551616"],
    )
    def test_what_is_no_length(self, client: Client, value: str) -> None:
        assert client.ask(f"Content-Length: {value}", length=False).status == 400

    def test_a_length_with_leading_zeros(self, client: Client) -> None:
        assert client.ask(f"Content-Length: {len(BODY):040d}", length=False).status == 200
        assert client.ask(f"Content-Length: {LIMIT + 1:040d}", length=False).status == 413

    def test_two_lengths(self, client: Client) -> None:
        assert client.ask("Content-Length: 5").status == 400

    def test_a_length_and_chunks(self, client: Client) -> None:
        """The chunks count, and the connection ends with the answer: nothing that follows is taken for a request."""
        smuggled = client.request(path="/api/gateway/v1/smuggled", body=b"")
        for length in (4, len(BODY), 1000):
            lines = ("Transfer-Encoding: chunked", f"Content-Length: {length}")
            both = client.request(*lines, body=chunked(BODY), length=False, last=False)
            assert [reply.status for reply in client.talk(both + smuggled)] == [200]

    @pytest.mark.parametrize("encoding", ["identity", "xchunked", "chunked, identity", "gzip"])
    def test_other_transfer_encodings(self, client: Client, encoding: str) -> None:
        assert client.ask(f"Transfer-Encoding: {encoding}", body=chunked(BODY), length=False).status == 400

    def test_no_length_is_no_body(self, client: Client) -> None:
        replies = client.talk(client.request(length=False))
        refused(replies[0], 400, "invalid_request")

    def test_requests_in_a_row(self, client: Client) -> None:
        """Each gets its own answer, in order, whatever became of the one before."""
        requests = [
            client.request(last=False),
            client.request(body=b"{", last=False),
            client.request(method="GET", body=b"", last=False),
            client.request("Transfer-Encoding: chunked", body=chunked(BODY), length=False, last=False),
            client.request("x-kilocode-mode: code"),
        ]
        replies = client.talk(b"".join(requests))
        assert [reply.status for reply in replies] == [200, 400, 405, 200, 200]
        assert len({reply.headers["x-request-id"] for reply in replies}) == 5
        assert [replies[0].headers["x-kilo-route"], replies[4].headers["x-kilo-route"]] == ["fallback", "exact:code"]

    def test_expect_100_continue(self, client: Client) -> None:
        with Line(client.gateway) as line:
            line.send(client.request("Expect: 100-continue")[: -len(BODY)])
            time.sleep(0.2)
            assert line.has_answer()
            line.send(BODY)
            assert [reply.status for reply in line.replies()] == [100, 200]

    def test_expect_100_continue_with_too_much(self, client: Client) -> None:
        with Line(client.gateway) as line:
            line.send(client.request("Expect: 100-continue", f"Content-Length: {LIMIT + 1}", body=b"", length=False))
            assert [reply.status for reply in line.replies()] == [413]

    def test_http_1_0(self, client: Client) -> None:
        assert client.ask(version="1.0", last=False).status == 200
        assert client.ask("Transfer-Encoding: chunked", body=chunked(BODY), length=False, version="1.0").status == 400

    @pytest.mark.parametrize("version", ["2.0", "0.9", "1.2", "", "9" * 100])
    def test_other_versions(self, client: Client, version: str) -> None:
        assert client.ask(version=version).status == 400


class TestSize:
    def test_a_stated_length(self, client: Client) -> None:
        """Answered before anything of the body was sent."""
        with Line(client.gateway) as line:
            line.send(client.request(f"Content-Length: {33 * MIB}", body=b"", length=False))
            [reply] = line.replies()
        refused(reply, 413, "request_too_large")

    def test_even_without_a_key(self, client: Client) -> None:
        client.key = "kilo_unknown"
        for path in (CHAT, MESSAGES):
            reply = client.ask(f"Content-Length: {33 * MIB}", path=path, body=b"", length=False)
            refused(reply, 413, "request_too_large", path)

    def test_chunks_without_end(self, client: Client) -> None:
        piece = b"10000\r\n" + b" " * 65536 + b"\r\n"
        sent = 0
        with Line(client.gateway) as line:
            line.send(client.request("Transfer-Encoding: chunked", body=b"", length=False))
            while not line.has_answer() and sent < 200 * MIB:
                try:
                    line.send(piece)
                except BrokenPipeError:
                    # It has answered and closed in the middle of this piece.
                    break
                sent += 65536
            [reply] = line.replies()
        refused(reply, 413, "request_too_large")
        assert LIMIT < sent < 3 * LIMIT

    def test_just_as_much_as_is_allowed(self, client: Client) -> None:
        body = BODY[:-1] + b" " * (LIMIT - len(BODY)) + b"}"
        client.gateway.upstream.behave("status", status=418, body="enough")
        assert client.ask(body=body).status == 418
        client.gateway.upstream.reset_behaviour()

    def test_a_head_that_is_too_large(self, client: Client) -> None:
        assert client.ask(b"x-kilocode-mode: " + b"a" * 600_000).status == 431
        assert client.ask(*[f"x-{number}: a" for number in range(500)]).status == 431


class TestAddresses:
    @pytest.mark.parametrize("method", ["GET", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT", "BREW"])
    @pytest.mark.parametrize("path", [CHAT, MESSAGES])
    def test_methods(self, client: Client, method: str, path: str) -> None:
        refused(client.ask(method=method, path=path, body=b""), 405, "method_not_allowed", path)

    def test_head(self, client: Client) -> None:
        with Line(client.gateway) as line:
            line.send(client.request(method="HEAD", body=b""))
            [reply] = line.replies(without_body=True)
        assert (reply.status, reply.headers["allow"]) == (405, "POST")

    @pytest.mark.parametrize("prefix", PREFIXES)
    def test_all_prefixes(self, client: Client, prefix: str) -> None:
        for name in ("chat/completions", "messages"):
            assert client.ask(path=f"/{prefix}/{name}").status == 200
            refused(client.ask(path=f"/{prefix}/{name}", method="GET"), 405, "method_not_allowed", f"/{prefix}/{name}")

    @pytest.mark.parametrize(
        "path",
        [
            f"{CHAT}/",
            f"{CHAT}//",
            f"{CHAT}%00",
            f"{CHAT}%0d%0ax-evil:%201",
            f"{CHAT}%20",
            f"{CHAT}.json",
            f"{MESSAGES}/",
            f"{MESSAGES}/count_tokens",
            "/api/gateway/v1//chat/completions",
            "/api/gateway/v1/./chat/completions",
            "/api/gateway/v1/../v1/chat/completions",
            "/api/gateway/v1/chat\\completions",
            "/api/gateway/v2/chat/completions",
            "/api/gateway/v1/Chat/Completions",
            "/api/gateway/v1/completions",
            "/api/gateway/v1/%63%68%61%74/%ff%fe",
            "/api/%ff",
            "/api/gateway/v1/chat/compl\xe9tions",
            "/api/" + "a" * 50_000,
            "/api/\x7f",
            "/api/%252e%252e/",
        ],
        ids=lambda path: repr(path)[:40],
    )
    def test_unknown_ones(self, client: Client, path: str) -> None:
        reply = client.ask(path=path)
        assert "x-evil" not in reply.headers
        if reply.content or reply.status != 400:  # what is no request line is answered below us
            refused(reply, 404, "not_found", path)

    @pytest.mark.parametrize(
        "path", ["", "*", "nothing", "//", "/%", "/%zz", "http://", "http://other/", "?", "/\x80\xff"]
    )
    def test_odd_ones_elsewhere(self, client: Client, path: str) -> None:
        """Some of them are read as the start page, which takes no post from elsewhere."""
        assert client.ask(path=path).status in {400, 403, 404}

    @pytest.mark.parametrize(
        "path",
        [f"{CHAT}?x=%ff&a=1", f"{CHAT}?", f"{CHAT}#x", f"http://localhost{CHAT}", "/api/gateway/v1/chat%2fcompletions"],
    )
    def test_other_spellings_of_a_known_one(self, client: Client, path: str) -> None:
        """All of them ask for the same key."""
        assert client.ask(path=path).status == 200
        client.key = "kilo_unknown"
        assert client.ask(path=path).status == 401


class TestHeads:
    @pytest.mark.parametrize("value", [b"a\x00b", b"a\x01b", b"a\rb", b"a\x7fb", b"a\r\n folded", b"a\nb"])
    def test_control_characters(self, client: Client, value: bytes) -> None:
        assert client.ask(b"x-kilocode-mode: " + value).status == 400

    @pytest.mark.parametrize("value", [b"\xc3\xa9", b"\xff\x85\xad", b"a\tb", b"a" * 10_000, b"%0d%0ax-evil:1", b'"\\'])
    def test_odd_modes(self, client: Client, value: bytes) -> None:
        reply = client.ask(b"x-kilocode-mode: " + value)
        assert (reply.status, reply.headers["x-kilo-route"]) == (200, "fallback")
        assert "x-evil" not in reply.headers
        assert len(reply.headers["x-kilo-mode"]) <= 6000

    @pytest.mark.parametrize(
        "model",
        ["kilo-auto/org:a\r\nx-evil: 1", "kilo-auto/org:\x00\x7f\x85\u2028", "kilo-auto/org:" + "\U0001f600" * 500],
        ids=["break", "control", "long"],
    )
    def test_odd_modes_in_the_model(self, client: Client, model: str) -> None:
        reply = client.ask(body=json.dumps({"model": model, "messages": [{"role": "user"}]}).encode())
        assert (reply.status, reply.headers["x-kilo-route"]) == (200, "fallback")
        assert "x-evil" not in reply.headers
        usage = client.gateway.usage(reply.headers["x-request-id"])
        assert usage["mode"].isprintable()
        assert usage["requested_model"].isprintable()

    @pytest.mark.parametrize("model", ["nobody/\r\nx-evil: 1", "nobody/\x00", "\U0001f600" * 200, "é" * 1000])
    def test_odd_models(self, client: Client, model: str) -> None:
        body = json.dumps({"model": model, "messages": [{"role": "user"}]}, ensure_ascii=False).encode()
        reply = client.ask(body=body)
        refused(reply, 404, "model_not_found")
        assert "x-evil" not in reply.headers
        assert client.gateway.usage(reply.headers["x-request-id"])["status"] == 404

    @pytest.mark.parametrize(
        "value",
        [
            "application/json; charset*=nonsense''x",
            "; ;;; =; a*0*=x'y'z",
            "\t;a*=?utf-80\t;a*0*",
            "\xff\xfe; charset=\xff",
            "multipart/form-data",
            "text/plain; charset=utf-16",
            "",
        ],
    )
    def test_odd_content_types(self, client: Client, value: str) -> None:
        """The body is JSON, whatever is said about it; and no page fails over it either."""
        assert client.ask(f"Content-Type: {value}").status == 200
        assert client.ask(f"Content-Type: {value}", path="/healthz", method="GET", body=b"").status == 200
        refused(client.ask(f"Content-Type: {value}", path="/api/none"), 404, "not_found", "/api/none")

    @pytest.mark.parametrize(
        "value", [b"Bearer \xc3\xa9", b"Bearer " + b"a" * 100_000, b"Bearer", b"Basic eDp5", b"\xff"]
    )
    def test_odd_credentials(self, client: Client, value: bytes) -> None:
        raw = client.request().replace(f"Bearer {client.key}".encode(), value)
        [reply] = client.talk(raw)
        assert reply.status == 401
        check_error(401, reply.headers, reply.json(), CHAT)

    def test_two_credentials_are_none(self, client: Client) -> None:
        refused(client.ask(f"Authorization: Bearer {client.key}"), 401, "invalid_token")

    def test_two_modes_are_no_mode(self, client: Client) -> None:
        reply = client.ask("x-kilocode-mode: code", "x-kilocode-mode: architect")
        assert reply.headers["x-kilo-route"] == "fallback"

    def test_a_compressed_body(self, client: Client) -> None:
        refused(client.ask("Content-Encoding: gzip", body=gzip.compress(BODY)), 400, "invalid_request")
        bomb = gzip.compress(b" " * (64 * MIB))
        refused(client.ask("Content-Encoding: gzip", body=bomb), 400, "invalid_request")

    def test_any_host(self, client: Client) -> None:
        raw = client.request()
        for host in (b"evil.example", b"", b"a\x80b", b"localhost:99999"):
            [reply] = client.talk(raw.replace(b"Host: localhost", b"Host: " + host))
            assert reply.status in {200, 400}

    def test_line_ends_without_carriage_return(self, client: Client) -> None:
        assert [reply.status for reply in client.talk(client.request().replace(b"\r\n", b"\n"))] == [200]


class TestLog:
    def test_a_request_cannot_write_a_line_of_its_own(self, client: Client) -> None:
        gateway, mark = client.gateway, uuid.uuid4().hex
        begin = gateway.log_file.stat().st_size
        line = f'\r\n{{"level": "error", "message": "{mark}"}}\r\n'
        escaped = "".join(f"%{ord(character):02x}" for character in line)
        client.ask(path=f"/api/{escaped}")
        client.ask(path=f"/{escaped}")
        client.ask(body=json.dumps({"model": line, "messages": [{}]}).encode())
        client.ask(body=json.dumps({"model": f"kilo-auto/org:{line}", "messages": [{}]}).encode())
        client.ask(f"x-kilocode-mode: {escaped}", f"user-agent: {mark}")
        assert all(
            mark not in told["message"] or told["level"] == "warning" for told in log_lines(gateway.log_file, begin)
        )

    def test_neither_key_nor_prompt_is_logged(self, client: Client) -> None:
        gateway = client.gateway
        begin = gateway.log_file.stat().st_size
        canary = f"canary-{uuid.uuid4().hex}"
        gateway.upstream.behave("break_before_headers", times=1)
        bodies: Sequence[bytes] = [
            BODY.replace(b"hello", canary.encode()),
            b'{"' + canary.encode() + b'": ' + canary.encode(),
            json.dumps({"model": "nobody/nothing", "messages": [{"content": canary}]}).encode(),
        ]
        assert [client.ask(body=body).status for body in bodies] == [503, 400, 404]
        told = json.dumps(log_lines(gateway.log_file, begin))
        assert canary not in told
        assert client.key not in told
