"""The search for secrets finds what leaks, by each way that leads out; nothing is found where nothing leaks."""

from __future__ import annotations

import gzip
import http.client
import logging
import secrets
import threading
import zlib
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from django.core.mail import send_mail
from django.core.management import call_command
from django.core.management.base import BaseCommand
from django.http import HttpRequest, HttpResponse, StreamingHttpResponse
from django.test import Client
from django.urls import path
from pytest_django.fixtures import Settings

from byok.encryption import SecretOwner
from byok.keys import keyring
from kilo_gateway.secret import Secret
from organizations import audit
from organizations.models import AuditAction
from tests.factories import OrganizationFactory, UserFactory
from tests.support.canaries import Canaries, Kind, canaries, decoded, shown_once, watched_gateway
from tests.support.canaries_plugin import typed_secrets

API_KEY = f"kilo_{secrets.token_urlsafe(32)}"


def echo(request: HttpRequest) -> HttpResponse:
    """The kind of view that there must not be."""
    return HttpResponse(request.POST.get("password", ""), headers={"x-said": request.POST.get("said", "")})


def stream(request: HttpRequest, **_: Any) -> StreamingHttpResponse:
    return StreamingHttpResponse([API_KEY[:20].encode(), API_KEY[20:].encode()])


urlpatterns = [
    path("echo", echo),
    path("stream", stream),
    path("organizations/<uuid:organization_id>/api-keys/create", stream),
]


@pytest.mark.parametrize(
    "content",
    [b"so sk-canary-1 it is", API_KEY.encode(), b"demo-provider-key-0123456789abcdef"],
    ids=["marked", "API key", "demo"],
)
def test_by_its_looks(content: bytes) -> None:
    search = Canaries()
    search.search("an answer", b"<p>" + content + b"</p>")
    with pytest.raises(AssertionError, match="in an answer, after '<p>"):
        search.judge()
    search.judge()


@pytest.mark.parametrize("written", ["a&amp;b&quot;cdefghijk", 'a&b\\"cdefghijk', "a%26b%22cdefghijk", 'a&b"cdefghijk'])
def test_as_it_is_written(written: str) -> None:
    search = Canaries()
    search.plant('a&b"cdefghijk', Kind.SEALED)
    search.search_text("a page", written)
    assert len(search.found) == 1


@pytest.mark.parametrize("content", ["kilo_abcd…wxyz", "kilo_gateway", "demo-provider-key", "abcdefghijk"])
def test_what_is_none(content: str) -> None:
    search = Canaries()
    search.plant("abcdefghijk", Kind.SEALED)
    search.search_text("a page", content)
    search.judge()


def test_compressed() -> None:
    assert decoded(gzip.compress(b"packed"), "gzip") == decoded(zlib.compress(b"packed"), "deflate") == b"packed"
    assert decoded(b"plain", "gzip") == decoded(b"plain", "deflate") == decoded(b"plain", "") == b"plain"


@pytest.mark.parametrize(
    ("body", "content_type"),
    [
        (b'{"name": "x", "secret": "one \\"more\\" of them"}', "application/json"),
        (b"name=x&header_value=one+%22more%22+of+them", "application/x-www-form-urlencoded"),
        (b'--b\r\nContent-Disposition: form-data; name="password1"\r\n\r\none "more" of them\r\n--b--', "multipart/x"),
    ],
)
def test_what_a_request_brings(body: bytes, content_type: str) -> None:
    assert typed_secrets(body, content_type) == ['one "more" of them']


class TestAnswers:
    @pytest.fixture(autouse=True)
    def _addresses(self, settings: Settings) -> None:
        settings.ROOT_URLCONF = __name__
        settings.MIDDLEWARE = []

    def test_what_was_typed_comes_back(self, client: Client) -> None:
        with canaries.expected() as found:
            client.post("/echo", {"password": "a long password"})
        assert found == [f"{Kind.TYPED} in the answer to POST /echo, after ''"]

    def test_in_an_answer_that_is_compressed(self, client: Client, settings: Settings) -> None:
        settings.MIDDLEWARE = ["django.middleware.gzip.GZipMiddleware"]
        with canaries.expected() as found:
            answer = client.post("/echo", {"password": "a long password" * 20}, headers={"accept-encoding": "gzip"})
        assert answer.headers["content-encoding"] == "gzip"
        assert b"password" not in answer.content
        assert found == [f"{Kind.TYPED} in the answer to POST /echo, after ''"]

    def test_in_a_header(self, client: Client) -> None:
        with canaries.expected() as found:
            client.post("/echo", {"said": API_KEY})
        assert len(found) == 1
        assert "a header of the answer to POST /echo" in found[0]

    def test_across_two_pieces(self, client: Client) -> None:
        with canaries.expected() as found:
            b"".join(client.get("/stream"))  # type: ignore[arg-type]  # it is a streaming one
        assert len(found) == 1

    def test_where_it_is_shown_once(self, client: Client) -> None:
        b"".join(client.post("/organizations/00000000-0000-0000-0000-000000000000/api-keys/create"))  # type: ignore[arg-type]
        assert Kind.PASSWORD not in shown_once("GET", "/api/device-auth/codes/BBBB?once=1")
        assert shown_once("GET", "/organizations/1/api-keys/create") == frozenset()


class TestRecords:
    def test_a_log_line(self) -> None:
        with canaries.expected() as found:
            try:
                raise ValueError(f"no good: {API_KEY}")
            except ValueError:
                logging.getLogger("elsewhere").exception("It broke.")
            logging.getLogger("elsewhere").warning("It broke.", extra={"key": API_KEY})
        assert [line.partition(",")[0] for line in found] == ["an API key in a log line of elsewhere"] * 2

    def test_an_audit_row(self, db: None) -> None:
        organization = OrganizationFactory.create()
        secret = Secret("a provider's key")
        keyring().encrypt(secret, owner=SecretOwner.organization(organization.pk), provider_id="neuralwatt")
        with canaries.expected() as found:
            audit.record(
                AuditAction.API_KEY_CREATED,
                organization=organization,
                actor=audit.COMMAND,
                message="made",
                changes={"key": (None, secret.reveal())},
            )
        assert len(found) == 1
        assert found[0].startswith(f"{Kind.SEALED} in the audit row")

    def test_a_mail(self, db: None) -> None:
        UserFactory.create(password="a long password")
        with canaries.expected() as found:
            send_mail("Welcome", "Sign in with: a long password", None, ["alice@example.com"])
        assert len(found) == 1

    def test_the_output_of_a_command(self) -> None:
        class Command(BaseCommand):
            def handle(self, *args: Any, **options: Any) -> None:
                self.stdout.write(API_KEY)

        with canaries.expected() as found:
            call_command(Command())
        assert len(found) == 1


@pytest.fixture
def talkative() -> Iterator[int]:
    """The port of a server that answers with a key, in two pieces."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            for piece in (API_KEY[:9], API_KEY[9:]):
                self.wfile.write(piece.encode())
                self.wfile.flush()

        def log_message(self, *args: Any) -> None:
            """Quiet."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        yield server.server_port
        server.shutdown()
        thread.join()


def test_what_a_server_of_its_own_answers(talkative: int, tmp_path: Path) -> None:
    (tmp_path / "secret_key").write_text("one of the server's own")

    def ask(address: str) -> list[str]:
        with canaries.expected() as found:
            connection = http.client.HTTPConnection("127.0.0.1", talkative, timeout=5)
            connection.request("GET", address)
            connection.getresponse().read()
            connection.close()
        return list(dict.fromkeys(found))

    assert ask("/models") == []
    with watched_gateway({"PORT": str(talkative), "DATA_DIR": str(tmp_path)}):
        assert len(ask("/models")) >= 1
        assert ask("/api/device-auth/codes/BBBB-CCCC-DDDD") == []
        with canaries.expected() as found:
            canaries.search_text("a page", "one of the server's own")
        assert len(found) == 1
