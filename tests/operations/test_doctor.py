"""`manage.py doctor`: it finds what is wrong, says how to mend it, and tells no secret."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import StringIO
from ipaddress import ip_network
from pathlib import Path
from typing import Any

import pytest
from allauth.mfa.models import Authenticator
from django.core.management import call_command
from django.db import connection
from django.utils import timezone

from byok.encryption import generate_key
from byok.keys import keyring
from byok.second_factors import SealedSecondFactors
from routing.models import CatalogSnapshot, Installation
from tests.support.live import ROOT, free_port
from tests.support.tenants import PROVIDER_SECRET, make_tenant

HOSTED_KEY = "sk-hosted-canary-0001"
pytestmark = pytest.mark.django_db


class Upstream(ThreadingHTTPServer):
    """Answers each path with a status, and tells a time."""

    def __init__(self, *, ahead: timedelta = timedelta()) -> None:
        self.statuses: dict[str, int] = {}
        self.keys: list[str] = []
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                server.keys.append(self.headers["authorization"])
                self.send_response_only(server.statuses.get(self.path, 404))
                self.send_header("date", format_datetime(timezone.now() + ahead, usegmt=True))
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, *args: Any) -> None:
                """Quiet."""

        super().__init__(("127.0.0.1", 0), Handler)

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


@contextmanager
def upstream(**options: Any) -> Iterator[Upstream]:
    server = Upstream(**options)
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()


@pytest.fixture(autouse=True)
def installation(settings: Any, tmp_path: Path) -> Iterator[None]:
    """One that is well, but for what each test does to it."""
    settings.DATA_DIR = tmp_path
    settings.DEBUG = False
    settings.BASE_URL = "https://gateway.example.com"
    settings.TRUSTED_PROXIES = (ip_network("10.0.0.0/8"),)
    settings.ALLOWED_HOSTS = ["gateway.example.com"]
    settings.SECRET_KEY = "a-Long_enough0secret1with2all3kinds4of5characters6!7?8"
    settings.ALLOW_PRIVATE_UPSTREAMS = False
    settings.CATALOG_SYNC = True
    settings.OPENROUTER_API_KEY = HOSTED_KEY
    settings.VERCEL_AI_GATEWAY_API_KEY = ""
    snapshot = CatalogSnapshot.objects.create(
        origin=CatalogSnapshot.Origin.SYNCED, source="https://example.com", entries=[{}], model_count=1
    )
    Installation.objects.filter(pk=1).update(
        catalog_snapshot=snapshot, catalog_checked_at=timezone.now(), catalog_error=""
    )
    keyring.cache_clear()
    with upstream() as openrouter:
        openrouter.statuses["/key"] = 200
        settings.OPENROUTER_BASE_URL = openrouter.base_url
        yield
    keyring.cache_clear()


class Report:
    def __init__(self) -> None:
        out = StringIO()
        self.code = 0
        try:
            call_command("doctor", "--json", stdout=out)
        except SystemExit as ended:
            self.code = int(str(ended.code))
        report = json.loads(out.getvalue())
        self.status: str = report["status"]
        self.text = out.getvalue()
        self.bad = [finding for finding in report["findings"] if finding["level"] != "ok"]
        self.good = [finding for finding in report["findings"] if finding["level"] == "ok"]

    def only(self, check: str, level: str) -> str:
        """The one thing that is wrong; it says how to mend it."""
        assert [(finding["check"], finding["level"]) for finding in self.bad] == [(check, level)], self.text
        assert self.bad[0]["mend"]
        assert self.status == level
        assert self.code == (1 if level == "fail" else 0)
        assert HOSTED_KEY not in self.text
        assert PROVIDER_SECRET not in self.text
        return str(self.bad[0]["what"])


def test_all_is_well() -> None:
    make_tenant().store_credential("neuralwatt")
    report = Report()
    assert (report.status, report.code, report.bad) == ("ok", 0, [])
    checked = {finding["check"] for finding in report.good}
    assert checked == {"database", "migrations", "clock", "credentials", "catalog", "settings", "files", "upstream"}
    assert len([finding for finding in report.good if finding["check"] == "clock"]) == 2


def test_for_people(settings: Any) -> None:
    settings.ALLOW_PRIVATE_UPSTREAMS = True
    out = StringIO()
    call_command("doctor", stdout=out)
    text = out.getvalue()
    assert "ok    database" in text
    assert "warn  settings" in text
    assert "-> Set it to 0 unless" in text
    assert text.endswith("0 failures, 1 warnings.\n")


class TestCredentials:
    def test_a_key_that_is_gone(self, settings: Any) -> None:
        make_tenant().store_credential("neuralwatt")
        settings.CREDENTIAL_KEYS = generate_key("another")
        keyring.cache_clear()
        assert 'has no key "' in Report().only("credentials", "fail")

    def test_another_key_under_the_same_id(self, settings: Any) -> None:
        make_tenant().store_credential("neuralwatt")
        settings.CREDENTIAL_KEYS = generate_key(keyring().primary_key_id)
        keyring.cache_clear()
        assert "1 of a sample" in Report().only("credentials", "fail")

    def test_an_older_key(self, settings: Any) -> None:
        make_tenant().store_credential("neuralwatt")
        settings.CREDENTIAL_KEYS = f"{generate_key('newer')},{settings.CREDENTIAL_KEYS}"
        keyring.cache_clear()
        assert "older key" in Report().only("credentials", "warn")

    def test_second_factors_too(self, settings: Any) -> None:
        """Sealed with the same keys: without them nobody who has one comes in."""
        user = make_tenant().user
        sealed = SealedSecondFactors().encrypt("a-second-factor")
        Authenticator.objects.create(user=user, type=Authenticator.Type.TOTP, data={"secret": sealed})
        assert not Report().bad
        settings.CREDENTIAL_KEYS = generate_key("another")
        keyring.cache_clear()
        assert "1 of a sample of second factors" in Report().only("credentials", "fail")


class TestUpstream:
    def test_cannot_be_reached(self, settings: Any) -> None:
        settings.OPENROUTER_BASE_URL = f"http://127.0.0.1:{free_port()}"
        assert "openrouter cannot be reached" in Report().only("upstream", "fail")

    @pytest.mark.parametrize(("status", "level"), [(401, "fail"), (402, "fail"), (500, "warn"), (302, "warn")])
    def test_answers_with_no(self, settings: Any, status: int, level: str) -> None:
        with upstream() as openrouter:
            openrouter.statuses["/key"] = status
            settings.OPENROUTER_BASE_URL = openrouter.base_url
            assert str(status) in Report().only("upstream", level)
            assert openrouter.keys == [f"Bearer {HOSTED_KEY}"]

    def test_does_not_tell_about_the_key(self, settings: Any) -> None:
        with upstream() as openrouter:
            openrouter.statuses["/models"] = 200
            settings.OPENROUTER_BASE_URL = openrouter.base_url
            report = Report()
        assert not report.bad
        assert "whether it takes the key, it does not tell" in report.text

    def test_there_is_none(self, settings: Any) -> None:
        settings.OPENROUTER_API_KEY = ""
        assert "No hosted upstream" in Report().only("upstream", "warn")

    def test_its_clock_is_another(self, settings: Any) -> None:
        with upstream(ahead=timedelta(minutes=10)) as openrouter:
            openrouter.statuses["/key"] = 200
            settings.OPENROUTER_BASE_URL = openrouter.base_url
            assert "openrouter are 600 s apart" in Report().only("clock", "fail")


class TestCatalog:
    @pytest.mark.parametrize(("age", "level"), [(timedelta(hours=2), "warn"), (timedelta(days=3), "fail")])
    def test_stale(self, age: timedelta, level: str) -> None:
        Installation.objects.update(catalog_checked_at=timezone.now() - age)
        assert "stale" in Report().only("catalog", level)

    def test_bundled(self) -> None:
        CatalogSnapshot.objects.update(origin=CatalogSnapshot.Origin.BUNDLED)
        assert "came with the gateway" in Report().only("catalog", "warn")

    def test_the_last_sync_failed(self) -> None:
        Installation.objects.update(catalog_error="The upstream lists nothing.")
        assert "The upstream lists nothing." in Report().only("catalog", "warn")


class TestDatabase:
    def test_a_migration_is_missing(self) -> None:
        with connection.cursor() as cursor:
            cursor.execute(
                "DELETE FROM django_migrations WHERE app = 'byok' AND name = ("
                "SELECT max(name) FROM django_migrations WHERE app = 'byok') RETURNING name"
            )
            (name,) = cursor.fetchone()
        assert f"the first is byok.{name}." in Report().only("migrations", "fail")

    def test_it_is_ahead(self) -> None:
        with connection.cursor() as cursor:
            cursor.execute("INSERT INTO django_migrations (app, name, applied) VALUES ('byok', '9999_later', now())")
        assert "byok.9999_later" in Report().only("migrations", "warn")


class TestSettings:
    @pytest.mark.parametrize(
        ("name", "value", "level", "told"),
        [
            ("DEBUG", True, "fail", "DEBUG is on"),
            ("BASE_URL", "http://gateway.example.com", "fail", "in clear"),
            ("TRUSTED_PROXIES", (), "fail", "TRUSTED_PROXIES is not set"),
            ("TRUSTED_PROXIES", (ip_network("0.0.0.0/0"),), "warn", "believes everybody"),
            ("SECRET_KEY", "x" * 60, "fail", "SECRET_KEY can be guessed"),
            ("ALLOWED_HOSTS", ["*"], "warn", "any host name"),
            ("ALLOW_PRIVATE_UPSTREAMS", True, "warn", "ALLOW_PRIVATE_UPSTREAMS"),
            ("HOSTED_WITHOUT_ORGANIZATION", True, "warn", "at your cost"),
        ],
    )
    def test_unsafe(self, settings: Any, name: str, value: Any, level: str, told: str) -> None:
        setattr(settings, name, value)
        assert told in Report().only("settings", level)

    def test_on_one_machine_http_is_right(self, settings: Any) -> None:
        settings.BASE_URL = "http://127.0.0.1:8000"
        settings.DEBUG = True
        assert not Report().bad

    def test_redis_is_away(self, settings: Any) -> None:
        settings.CACHE_URL = f"redis://:canary-password@127.0.0.1:{free_port()}/0"
        report = Report()
        assert "Redis does not answer" in report.only("redis", "fail")
        assert "canary-password" not in report.text


class TestFiles:
    def test_a_secret_that_others_may_read(self, tmp_path: Path) -> None:
        (tmp_path / "secret_key").write_text("x")
        (tmp_path / "secret_key").chmod(0o644)
        report = Report()
        assert [(finding["check"], finding["level"]) for finding in report.bad] == [
            ("files", "fail"),
            ("files", "warn"),
        ]
        assert "Other users of this machine may read secret_key" in report.bad[0]["what"]

    def test_secrets_that_another_machine_lacks(self, tmp_path: Path) -> None:
        (tmp_path / "credential_keys").write_text("x")
        (tmp_path / "credential_keys").chmod(stat.S_IRUSR | stat.S_IWUSR)
        assert "credential_keys were generated here" in Report().only("files", "warn")


def test_without_a_database() -> None:
    """As a command of its own, on an address where nothing listens."""
    environment = {
        **os.environ,
        "DATABASE_URL": f"postgresql://nobody:canary-password@127.0.0.1:{free_port()}/none",
        "DEBUG": "1",
    }
    done = subprocess.run(
        [sys.executable, "manage.py", "doctor"], cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1, done.stderr
    assert "fail  database" in done.stdout
    assert "The database does not answer" in done.stdout
    assert "canary-password" not in done.stdout + done.stderr
