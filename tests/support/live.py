"""A gateway as people run it, for tests: its own database, seeded, with a real demo upstream and a real server."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import psycopg
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from psycopg.rows import dict_row

from routing.catalog.bundled import bundled_models
from routing.demo import DemoUpstream
from tests.support.canaries import Kind, canaries, printed_by, watched_gateway

ROOT = Path(__file__).resolve().parents[2]
START_SECONDS = 60


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def fresh_database() -> Iterator[str]:
    """A new empty database on the tests' PostgreSQL; its URL. Dropped at the end."""
    parts: dict[str, Any] = conninfo_to_dict(os.environ["DATABASE_URL"])
    name = f"gateway_{uuid.uuid4().hex[:12]}"
    with psycopg.connect(make_conninfo(**parts), autocommit=True) as connection:
        connection.execute(f'CREATE DATABASE "{name}"')
    try:
        yield _url(parts, name)
    finally:
        with psycopg.connect(make_conninfo(**parts), autocommit=True) as connection:
            connection.execute(f'DROP DATABASE "{name}" WITH (FORCE)')


def _url(parts: dict[str, Any], name: str) -> str:
    user = f"{parts.get('user', '')}:{parts.get('password', '')}@" if parts.get("user") else ""
    host = str(parts.get("host", ""))
    if host.startswith("/"):
        return f"postgresql://{user}/{name}?host={host}"
    return f"postgresql://{user}{host}:{parts.get('port', 5432)}/{name}"


@dataclass
class Gateway:
    """A running gateway and everything around it."""

    base_url: str
    seed: dict[str, Any]
    upstream: DemoUpstream
    environment: dict[str, str]
    process: subprocess.Popen[bytes]
    log_file: Path

    def user(self, name: str) -> dict[str, Any]:
        return next(user for user in self.seed["users"] if user["email"].split("@")[0] == name)

    def organization(self, name: str) -> dict[str, Any]:
        return next(row for row in self.seed["organizations"] if row["name"] == name)

    def sql(self, query: str, *params: Any) -> list[dict[str, Any]]:
        with psycopg.connect(self.environment["DATABASE_URL"], autocommit=True, row_factory=dict_row) as connection:
            cursor = connection.execute(query, params or None)
            return cursor.fetchall() if cursor.description else []

    def manage(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [sys.executable, "manage.py", *arguments],
            cwd=ROOT,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        command = f"the output of the command {arguments[0]}"
        canaries.search_text(command, done.stdout + done.stderr, but=printed_by(arguments[0]))
        return done

    def usage(self, request_id: str, *, seconds: float = 5.0) -> dict[str, Any]:
        """The usage record of a request, waiting for the batch that brings it."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            rows = self.sql("SELECT * FROM routing_usagerecord WHERE request_id = %s", request_id)
            if rows:
                return rows[0]
            time.sleep(0.05)
        raise AssertionError(f"no usage record of {request_id}")

    def log(self) -> str:
        return self.log_file.read_text()


def gateway_environment(database_url: str, data_dir: Path, **settings: str) -> dict[str, str]:
    """What a production server is started with; nothing of the developer's own environment but the path."""
    kept = ("PATH", "HOME", "LANG", "TMPDIR")
    return {
        **{name: os.environ[name] for name in kept if name in os.environ},
        "DATABASE_URL": database_url,
        "DATA_DIR": str(data_dir),
        # Collected once for all gateways of all runs.
        "STATIC_ROOT": str(ROOT / ".data" / "tests" / "static"),
        "HOST": "127.0.0.1",
        "WORKERS": "1",
        "CATALOG_SYNC": "0",
        "SHUTDOWN_DELAY": "0",
        "LOG_FORMAT": "json",
        "PYTHONDONTWRITEBYTECODE": "1",
        **settings,
    }


@contextmanager
def running_server(environment: dict[str, str], log_file: Path) -> Iterator[subprocess.Popen[bytes]]:
    """The production server as a process of its own; ready when the block begins, ended with it."""
    with log_file.open("ab") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "kilo_gateway.serve"],
            cwd=ROOT,
            env=environment,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    try:
        wait_until_ready(f"http://127.0.0.1:{environment['PORT']}/readyz", process, log_file)
        with watched_gateway(environment):
            yield process
    finally:
        stop(process)
        canaries.search("a server's log", log_file.read_bytes())


def wait_until_ready(url: str, process: subprocess.Popen[bytes], log_file: Path) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise AssertionError(f"the server ended with {process.returncode}:\n{log_file.read_text()[-4000:]}")
        try:
            with urllib.request.urlopen(url, timeout=2) as answer:
                if answer.status == 200:
                    return
        except (urllib.error.URLError, OSError):
            time.sleep(0.05)
    raise AssertionError(f"the server was not ready in {START_SECONDS} s:\n{log_file.read_text()[-4000:]}")


def stop(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(timeout=15)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait(timeout=5)


@contextmanager
def live_gateway(folder: Path, *, seeded: bool = True, **settings: str) -> Iterator[Gateway]:
    """A seeded gateway with its demo upstream as the hosted upstream and as the direct providers `neuralwatt` and
    `anthropic-byok`.

    Settings given here replace the usual ones, the addresses of the upstreams included.
    """
    with fresh_database() as database_url, DemoUpstream(bundled_models()) as upstream:
        port = free_port()
        usual = {
            "PORT": str(port),
            "OPENROUTER_API_KEY": "demo-hosted-key-0001",
            "OPENROUTER_BASE_URL": f"{upstream.base_url}/api/v1",
            "PROVIDER_BASE_URL_NEURALWATT": f"{upstream.base_url}/v1",
            "PROVIDER_BASE_URL_ANTHROPIC_BYOK": f"{upstream.base_url}/v1",
        }
        environment = gateway_environment(database_url, folder / "data", **{**usual, **settings})
        log_file = folder / "server.log"
        with running_server(environment, log_file) as process:
            gateway = Gateway(f"http://127.0.0.1:{port}", {}, upstream, environment, process, log_file)
            if seeded:
                gateway.seed = seed(gateway)
            yield gateway
        _search_rows(gateway)


def _search_rows(gateway: Gateway) -> None:
    """The newest rows of what a server writes down of others."""
    for table in ("organizations_auditlog", "routing_usagerecord"):
        rows = gateway.sql(f"SELECT to_jsonb(t)::text AS row FROM {table} t ORDER BY created_at DESC LIMIT 10000")
        canaries.search_text(f"a row of {table}", "\n".join(row["row"] for row in rows))


@contextmanager
def server_beside(gateway: Gateway, folder: Path, **settings: str) -> Iterator[Gateway]:
    """Another server on the same database, with the same upstreams, and with these settings in place of the usual."""
    environment = {**gateway.environment, "MIGRATE": "0", "PORT": str(free_port()), **settings}
    port = environment["PORT"]
    log_file = folder / f"server-{port}.log"
    with running_server(environment, log_file) as process:
        url = f"http://127.0.0.1:{port}"
        yield replace(gateway, base_url=url, environment=environment, process=process, log_file=log_file)


def seed(gateway: Gateway) -> dict[str, Any]:
    """Fill its database with the demo; what `seed_demo` says of it."""
    done = gateway.manage("seed_demo", "--json")
    if done.returncode:
        raise AssertionError(f"seed_demo failed: {done.stderr[-4000:]}")
    shown: dict[str, Any] = json.loads(done.stdout)
    for user in shown["users"]:
        canaries.plant(user["password"], Kind.PASSWORD, lasting=True)
    return shown
