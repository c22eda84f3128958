"""What is done before the server starts, in a process of its own: `python -m kilo_gateway.prepare [--migrate]`."""

from __future__ import annotations

import os
import sys
from typing import Final

import django
from django.core.management import call_command

from kilo_gateway.database import lift_statement_timeout
from kilo_gateway.env import MISCONFIGURED, SettingError
from kilo_gateway.static_files import collect_static_files

# The key of the advisory lock, arbitrary but ours: "kilomigr" as a number.
ADVISORY_LOCK: Final = int.from_bytes(b"kilomigr", "big")


def main() -> None:
    """Check the settings, migrate the database if asked to, and collect the static files.

    `DATABASE_URL` is set by the caller. Exits with `MISCONFIGURED` when a setting is missing or malformed, and has said
    which one.
    """
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "kilo_gateway.settings")
    lift_statement_timeout()
    try:
        django.setup()
    except SettingError as error:
        print(f"Configuration error: {error}", file=sys.stderr)  # noqa: T201 - for the operator
        sys.exit(MISCONFIGURED)
    if "--migrate" in sys.argv[1:]:
        migrate()
    collect_static_files()


def migrate() -> None:
    """Bring the database up to date; of several processes that start together one works and the others wait for it.

    The lock is one of a transaction of another connection, because one of a session would be lost behind PgBouncer.
    """
    # Only here: the settings have to be there first.
    from django.db import connection

    holder = connection.copy()
    try:
        holder.ensure_connection()
        holder.set_autocommit(False)
        with holder.cursor() as cursor:
            cursor.execute("SET LOCAL lock_timeout = 0")
            cursor.execute("SET LOCAL idle_in_transaction_session_timeout = 0")
            cursor.execute("SELECT pg_advisory_xact_lock(%s)", [ADVISORY_LOCK])
        call_command("migrate", interactive=False, verbosity=0)
    finally:
        holder.rollback()
        holder.close()


if __name__ == "__main__":
    main()
