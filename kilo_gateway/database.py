"""Which PostgreSQL this process uses, decided before Django reads its settings."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from psycopg import ProgrammingError
from psycopg.conninfo import conninfo_to_dict

from kilo_gateway import embedded_postgres
from kilo_gateway.env import Environment, SettingError


def data_directory(environment: Environment) -> Path:
    """Where this installation keeps files of its own: the embedded database and generated secrets."""
    return Path(environment.text("DATA_DIR", ".data")).expanduser().resolve()


def provide_database() -> None:
    """Make sure that `DATABASE_URL` is set, by starting the embedded PostgreSQL when none was named.

    Called by every entry point (`manage.py`, the server, the tests) before the settings load. A command beside a
    gateway that runs on the embedded PostgreSQL joins it without being told.

    Raises:
        SettingError: no database was named and the embedded one is not allowed here, or it does not start.
    """
    environment = Environment()
    if environment.text("DATABASE_URL"):
        return
    directory = data_directory(environment)
    allowed = environment.flag("DEBUG", default=False) or environment.flag("EMBEDDED_POSTGRES", default=False)
    if not allowed and not embedded_postgres.is_running(directory):
        raise SettingError(
            "DATABASE_URL is not set. Name a PostgreSQL database (postgresql://user:password@host/name), or set "
            "EMBEDDED_POSTGRES=1 to use the bundled one, which trusts every local user."
        )
    try:
        os.environ["DATABASE_URL"] = embedded_postgres.start(directory)
    except RuntimeError as error:
        raise SettingError(str(error)) from error


def django_database(url: str, *, pool_size: int) -> dict[str, Any]:
    """Django's description of the database at a libpq URL (any that `psql` takes, Unix sockets included).

    Raises:
        SettingError: the URL does not parse or names no database; its text, which may hold a password, is not shown.
    """
    try:
        parts = {key: str(value) for key, value in conninfo_to_dict(url).items()}
    except ProgrammingError:
        parts = {}
    if not url.startswith(("postgresql://", "postgres://")) or not parts.get("dbname"):
        raise SettingError("DATABASE_URL must look like postgresql://user:password@host:5432/name.")
    return {
        "ENGINE": "django.db.backends.postgresql",
        "NAME": parts.pop("dbname"),
        "USER": parts.pop("user", ""),
        "PASSWORD": parts.pop("password", ""),
        "HOST": parts.pop("host", ""),
        "PORT": parts.pop("port", ""),
        "OPTIONS": {
            **parts,
            # A streamed answer must not keep a connection while it streams, so connections belong to the process, not
            # to a thread; a request borrows one for as long as its statements take.
            "pool": {
                "min_size": 1,
                "max_size": pool_size,
                "timeout": 5.0,
                "max_idle": 300.0,
                # While the database is away the pool tries again after ever longer pauses, up to this; then the next
                # request starts anew. So after an outage of any length it is back within seconds.
                "reconnect_timeout": 2.0,
            },
            # Allows prepared statements where a cursor asks for them; Django's own cursors never do.
            "prepare_threshold": 5,
        },
    }
