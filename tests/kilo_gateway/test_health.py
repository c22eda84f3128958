"""What a load balancer is told, and what a request is told, while something that the gateway needs is missing."""

from __future__ import annotations

import json
import os
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import psycopg
import pytest
from django.db import OperationalError, ProgrammingError, connection
from django.db.migrations.recorder import MigrationRecorder
from django.test import Client

from kilo_gateway import health
from routing.models import Installation
from tests.support.errors import check_error
from tests.support.inprocess import CHAT, chat
from tests.support.live import Gateway

READY = {"status": "ok", "database": "ok", "migrations": "ok", "catalog": "ok"}


@pytest.fixture(autouse=True)
def _new_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(health, "_migrated", False)


class TestHealthz:
    def test_it_works(self, client: Client) -> None:
        """Without a database: the test has not asked for one."""
        answer = client.get("/healthz")
        assert (answer.status_code, answer.json()) == (200, {"status": "ok"})
        assert "no-store" in answer["Cache-Control"]

    def test_it_is_asked_for_by_any_name(self, client: Client, settings: Any) -> None:
        settings.ALLOWED_HOSTS, settings.SECURE_SSL_REDIRECT = ["gateway.example.com"], True
        for host in ("10.1.2.3:8000", "[2001:db8::1]:8000", "pod_1.internal"):
            answer = client.get("/healthz", headers={"Host": host})
            assert (answer.status_code, answer.json()) == (200, {"status": "ok"})
            assert answer["Content-Length"] == str(len(answer.content))
            assert client.get("/accounts/login", headers={"Host": host}, secure=True).status_code == 400
            assert client.get("/healthz/", headers={"Host": host}, secure=True).status_code == 400

    @pytest.mark.parametrize("address", ["/healthz", "/readyz"])
    def test_it_is_only_read(self, client: Client, address: str) -> None:
        assert client.post(address).status_code == 405
        assert client.delete(address).status_code == 405


@pytest.mark.django_db
class TestReadyz:
    def ask(self, client: Client) -> tuple[int, dict[str, str]]:
        answer = client.get("/readyz")
        assert "no-store" in answer["Cache-Control"]
        return answer.status_code, answer.json()

    def test_it_works(self, client: Client, django_assert_num_queries: Any) -> None:
        assert self.ask(client) == (200, READY)
        with django_assert_num_queries(1):
            assert self.ask(client) == (200, READY)

    @pytest.mark.parametrize("app", ["routing", "organizations", "byok", "sessions"])
    def test_a_pending_migration(self, client: Client, app: str) -> None:
        row = MigrationRecorder.Migration.objects.filter(app=app).order_by("name").last()
        assert row is not None
        row.delete()
        assert self.ask(client) == (503, {**READY, "status": "unavailable", "migrations": "pending"})
        row.save(force_insert=True)
        assert self.ask(client) == (200, READY)

    def test_an_empty_database(self, client: Client) -> None:
        with connection.cursor() as cursor:
            cursor.execute("DROP TABLE django_migrations")
        assert self.ask(client) == (503, {**READY, "status": "unavailable", "migrations": "pending"})

    def test_no_catalog(self, client: Client) -> None:
        Installation.objects.all().delete()
        assert self.ask(client) == (503, {**READY, "status": "unavailable", "catalog": "missing"})

    @pytest.mark.parametrize("error", [OperationalError, ProgrammingError])
    def test_a_database_that_fails(
        self, client: Client, monkeypatch: pytest.MonkeyPatch, error: type[Exception]
    ) -> None:
        def fail() -> bool:
            raise error("connection to server at 10.0.0.1, user secret-user, failed")

        assert self.ask(client)[0] == 200
        monkeypatch.setattr(health, "_has_catalog", fail)
        answer = client.get("/readyz")
        assert answer.json() == {**READY, "status": "unavailable", "database": "unreachable"}
        assert b"secret-user" not in answer.content


@dataclass(frozen=True)
class Reply:
    status: int
    headers: dict[str, str]
    body: Any


def get(gateway: Gateway, path: str) -> Reply:
    return fetch(urllib.request.Request(f"{gateway.base_url}{path}"))


def ask(gateway: Gateway) -> Reply:
    headers = {"Authorization": f"Bearer {gateway.user('alice')['api_key']}"}
    return fetch(urllib.request.Request(f"{gateway.base_url}{CHAT}", json.dumps(chat()).encode(), headers))


def fetch(request: urllib.request.Request) -> Reply:
    try:
        with urllib.request.urlopen(request, timeout=20) as answer:
            return Reply(answer.status, {}, json.load(answer))
    except urllib.error.HTTPError as error:
        headers = {name.lower(): value for name, value in error.headers.items()}
        return Reply(error.code, headers, json.load(error))


@contextmanager
def database_away(gateway: Gateway) -> Iterator[None]:
    """The gateway's database refuses new connections and has ended those that there were."""
    name = gateway.sql("SELECT current_database() AS name")[0]["name"]
    with psycopg.connect(os.environ["DATABASE_URL"], autocommit=True) as outside:
        outside.execute(f'ALTER DATABASE "{name}" WITH ALLOW_CONNECTIONS false')
        try:
            outside.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", [name])
            yield
        finally:
            outside.execute(f'ALTER DATABASE "{name}" WITH ALLOW_CONNECTIONS true')


def test_the_database_goes_and_comes_back(gateway: Gateway) -> None:
    assert (get(gateway, "/readyz").status, ask(gateway).status) == (200, 200)
    with database_away(gateway):
        ready = get(gateway, "/readyz")
        assert (ready.status, ready.body) == (503, {**READY, "status": "unavailable", "database": "unreachable"})
        assert get(gateway, "/healthz").status == 200
        refused = ask(gateway)
        assert refused.status == 503
        assert check_error(503, refused.headers, refused.body, CHAT) == "temporarily_unavailable"
        assert refused.body["error"]["code"] == "database"
    deadline = time.monotonic() + 20
    while (get(gateway, "/readyz").status, ask(gateway).status) != (200, 200):
        assert time.monotonic() < deadline, "the gateway has not found its database again"
        time.sleep(0.1)
