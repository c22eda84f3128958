"""Servers that start together migrate one after the other."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import psycopg

from kilo_gateway.prepare import ADVISORY_LOCK
from tests.e2e.lab import eventually
from tests.support.live import ROOT, fresh_database, gateway_environment

_WAITING = "SELECT 1 FROM pg_locks WHERE locktype = 'advisory' AND NOT granted AND database = %s"


def test_one_waits_while_another_migrates(tmp_path: Path) -> None:
    with fresh_database() as url, psycopg.connect(url) as another:
        another.execute("SELECT pg_advisory_xact_lock(%s)", [ADVISORY_LOCK])
        (database,) = another.execute("SELECT oid FROM pg_database WHERE datname = current_database()").fetchone() or (
            0,
        )
        starting = subprocess.Popen(
            [sys.executable, "-m", "kilo_gateway.prepare", "--migrate"],
            cwd=ROOT,
            env=gateway_environment(url, tmp_path),
            stderr=subprocess.PIPE,
        )
        try:
            assert eventually(lambda: another.execute(_WAITING, [database]).fetchone() is not None, 20)
            assert another.execute("SELECT to_regclass('django_migrations')").fetchone() == (None,)
        finally:
            starting.kill()
            starting.communicate(timeout=10)
