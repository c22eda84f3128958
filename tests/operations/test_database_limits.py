"""How long the database may be waited for: as a process of the gateway sees it, directly and behind PgBouncer."""

from __future__ import annotations

import getpass
import shutil
import subprocess
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict

from kilo_gateway.database import DatabaseLimits, django_database
from kilo_gateway.env import Environment, SettingError
from tests.e2e.lab import eventually
from tests.operations.test_metrics import send
from tests.support.live import Gateway, free_port, fresh_database, server_beside

URL = "postgresql://user@example.com/name"


def limits(**variables: str) -> DatabaseLimits:
    return DatabaseLimits.from_environment(Environment(variables), sync_seconds=120.0)


def options(url: str = URL, **variables: str) -> dict[str, Any]:
    found: dict[str, Any] = django_database(url, pool_size=2, limits=limits(**variables))
    return dict(found["OPTIONS"])


@pytest.fixture(autouse=True)
def _as_a_server(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(DatabaseLimits, "statements_are_limited", True)


class TestSettings:
    def test_the_usual_ones(self) -> None:
        found = options()
        assert found["options"] == (
            "-c statement_timeout=30000 -c lock_timeout=15000 -c idle_in_transaction_session_timeout=180000"
        )
        assert (found["connect_timeout"], found["tcp_user_timeout"], found["keepalives"]) == ("5", "15000", "1")

    def test_what_the_url_says_comes_first(self) -> None:
        """PostgreSQL takes the last of two."""
        found = options(f"{URL}?connect_timeout=9&options=-c%20statement_timeout%3D1")
        assert found["connect_timeout"] == "9"
        assert found["options"].endswith(" -c statement_timeout=1")

    def test_none(self) -> None:
        names = ("DATABASE_STATEMENT_TIMEOUT", "DATABASE_LOCK_TIMEOUT", "DATABASE_IDLE_TRANSACTION_TIMEOUT")
        found = options(**dict.fromkeys(names, "0"))
        assert found["options"] == "-c statement_timeout=0 -c lock_timeout=0 -c idle_in_transaction_session_timeout=0"

    @pytest.mark.parametrize(
        ("name", "value"),
        [
            ("DATABASE_IDLE_TRANSACTION_TIMEOUT", "120"),
            ("DATABASE_STATEMENT_TIMEOUT", "-1"),
            ("DATABASE_LOCK_TIMEOUT", "soon"),
            ("DATABASE_CONNECT_TIMEOUT", "1"),
            ("DATABASE_PGBOUNCER", "maybe"),
        ],
    )
    def test_refused(self, name: str, value: str) -> None:
        """The first would cut every catalog sync off."""
        with pytest.raises(SettingError, match=name):
            limits(**{name: value})

    def test_commands_may_take_their_time_over_statements(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(DatabaseLimits, "statements_are_limited", False)
        assert options()["options"].startswith("-c statement_timeout=0 -c lock_timeout=15000")


class TestInForce:
    def test_a_statement_and_a_lock(self) -> None:
        with fresh_database() as url:
            parts = options(url, DATABASE_STATEMENT_TIMEOUT="0.3", DATABASE_LOCK_TIMEOUT="0.1")
            given = {**conninfo_to_dict(url), "options": parts["options"]}
            with psycopg.connect(**given) as one, psycopg.connect(**given) as other:
                one.execute("SELECT pg_advisory_xact_lock(1)")
                with pytest.raises(psycopg.errors.LockNotAvailable):
                    other.execute("SELECT pg_advisory_xact_lock(1)")
                other.rollback()
                with pytest.raises(psycopg.errors.QueryCanceled):
                    other.execute("SELECT pg_sleep(5)")

    def test_a_catalog_sync_is_not_cut(self) -> None:
        """Its transaction does nothing for as long as it reads; so one that is idle for longer than a sync lives."""
        found = limits(CATALOG_SYNC_TIMEOUT="1")
        assert found.idle_transaction_seconds > 120.0


@contextmanager
def pgbouncer(url: str, folder: Path) -> Iterator[str]:
    """In front of a database, in transaction mode, with fewer connections than the gateway has; its URL of it."""
    program = shutil.which("pgbouncer") or shutil.which("pgbouncer", path="/usr/sbin")
    if program is None:
        pytest.skip("needs PgBouncer: apt-get install pgbouncer")
    parts = conninfo_to_dict(url)
    port = free_port()
    folder.mkdir()
    target = " ".join(
        f"{name}={parts[name]}" for name in ("host", "port", "user", "password", "dbname") if parts.get(name)
    )
    (folder / "users.txt").write_text(f'"{parts.get("user", "postgres")}" ""\n')
    (folder / "pgbouncer.ini").write_text(
        f"[databases]\nkilo = {target}\n"
        f"[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\nunix_socket_dir =\npool_mode = transaction\n"
        f"default_pool_size = 3\nmax_client_conn = 100\nauth_type = any\nauth_file = {folder / 'users.txt'}\n"
    )
    # It does not run as root, and has to get at the embedded server's socket.
    host = str(parts.get("host", ""))
    user = Path(host).owner() if host.startswith("/") else "nobody"
    as_user = ["-u", user] if getpass.getuser() == "root" else []
    for path in (folder, *folder.iterdir()):
        path.chmod(0o755)
    log_file = folder / "pgbouncer.log"
    with log_file.open("wb") as log:
        process = subprocess.Popen([program, *as_user, str(folder / "pgbouncer.ini")], stdout=log, stderr=log)
    address = f"postgresql://postgres@127.0.0.1:{port}/kilo"
    try:
        assert eventually(lambda: _connects(address), 5), log_file.read_text()
        yield address
    finally:
        process.terminate()
        process.wait(10)


def _connects(address: str) -> bool:
    try:
        psycopg.connect(address, connect_timeout=2).close()
    except psycopg.OperationalError:
        time.sleep(0.05)
        return False
    return True


@pytest.fixture(scope="module")
def pooled_gateway(gateway: Gateway, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    folder = tmp_path_factory.mktemp("pooled")
    for parent in (folder, *folder.parents[:2]):
        parent.chmod(0o755)
    with (
        pgbouncer(gateway.environment["DATABASE_URL"], folder / "pgbouncer") as pooled,
        server_beside(gateway, folder, DATABASE_URL=pooled, DATABASE_PGBOUNCER="1", WORKERS="2") as running,
    ):
        yield running


class TestPgBouncer:
    def test_everything_works(self, pooled_gateway: Gateway) -> None:
        """Requests are answered and noted, and so are commands that read all rows."""
        replies = [send(pooled_gateway, mode=f"mode-{number % 4}") for number in range(24)]
        assert {reply.status for reply in replies} == {200}
        assert pooled_gateway.usage(replies[-1].request_id)["status"] == 200
        done = pooled_gateway.manage("verify_audit_log")
        assert (done.returncode, "intact" in done.stdout) == (0, True), done.stderr
        assert "prepared statement" not in pooled_gateway.log()

    def test_many_at_once(self, pooled_gateway: Gateway) -> None:
        with ThreadPoolExecutor(16) as executor:
            statuses = list(executor.map(lambda n: send(pooled_gateway, mode=f"other-{n % 8}").status, range(64)))
        assert set(statuses) == {200}
        assert "Unexpected error" not in pooled_gateway.log()
