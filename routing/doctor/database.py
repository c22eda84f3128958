"""The database: whether it answers, which one it is, whether it is migrated, and what time it is there."""

from __future__ import annotations

import time
from collections.abc import Iterator

import psycopg
from django.db import DatabaseError, connection
from django.db.migrations.executor import MigrationExecutor
from psycopg_pool import PoolTimeout

from routing.doctor.findings import Finding, clock_finding, failed, good, warned

CHECK = "database"
OLDEST_VERSION = 14


def check_database() -> Iterator[Finding]:
    """Does not raise: a database that is away is a finding."""
    try:
        version, ahead_seconds = _asked()
        plan = _missing_migrations()
    except (DatabaseError, psycopg.Error, PoolTimeout) as error:
        yield failed(
            CHECK,
            f"The database does not answer ({type(error).__name__}).",
            "Check DATABASE_URL, that PostgreSQL runs, and that this machine reaches it.",
        )
        return
    if version // 10_000 < OLDEST_VERSION:
        yield failed(
            CHECK, f"PostgreSQL {version // 10_000} is too old.", f"Upgrade it to {OLDEST_VERSION} or a newer one."
        )
    else:
        yield good(CHECK, f"PostgreSQL {version // 10_000}.{version % 10_000} answers.")
    yield from plan
    yield clock_finding("the database", ahead_seconds)


def _asked() -> tuple[int, float]:
    """The version as a number, and how far the database's clock is ahead of ours."""
    # Past the pool, which tries again and again before it gives up.
    with psycopg.connect(**connection.get_connection_params()) as opened, psycopg.Cursor(opened) as cursor:
        before = time.time()
        cursor.execute("SELECT current_setting('server_version_num')::int, extract(epoch FROM clock_timestamp())")
        row = cursor.fetchone()
        between = (before + time.time()) / 2
    if row is None:
        raise psycopg.OperationalError("no answer")
    return int(row[0]), float(row[1]) - between


def _missing_migrations() -> list[Finding]:
    executor = MigrationExecutor(connection)
    missing = executor.migration_plan(executor.loader.graph.leaf_nodes())
    if missing:
        first = missing[0][0]
        return [
            failed(
                "migrations",
                f"{len(missing)} migrations are missing, the first is {first.app_label}.{first.name}.",
                "Run manage.py migrate, or start one server without MIGRATE=0.",
            )
        ]
    unknown = sorted(set(executor.loader.applied_migrations) - set(executor.loader.graph.nodes))
    ours = [f"{app}.{name}" for app, name in unknown if app in executor.loader.migrated_apps]
    if ours:
        return [
            warned(
                "migrations",
                f"The database is ahead of this version: it has {ours[-1]}.",
                "Run the version of the gateway that the database was last migrated by.",
            )
        ]
    return [good("migrations", "The database is migrated.")]
