"""Which PostgreSQL this process uses, decided before Django reads its settings.

The process that supervises a server decides too and stays as small as it can, so what is large is loaded where it is
needed.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Final, Self

from kilo_gateway.env import Environment, SettingError

# How a server or a network that is gone shows itself: at first by silence. In seconds, but for the second.
_DEAD_PEER: Final = {
    "keepalives": "1",
    "tcp_user_timeout": "15000",
    "keepalives_idle": "30",
    "keepalives_interval": "5",
    "keepalives_count": "3",
}
# How much longer than a catalog sync a transaction may do nothing; the sync's own waits for the network.
_BEYOND_SYNC_SECONDS: Final = 60


@dataclass(frozen=True, slots=True)
class DatabaseLimits:
    """What a connection, a statement, a wait for a lock and a transaction without statements may last, in seconds.

    0 is no limit. Behind PgBouncer the database's role has to hold all but the first, because connections are shared.
    """

    connect_seconds: int
    statement_seconds: float
    lock_seconds: float
    idle_transaction_seconds: float
    pgbouncer: bool

    statements_are_limited: ClassVar[bool] = True

    @classmethod
    def from_environment(cls, environment: Environment, *, sync_seconds: float) -> Self:
        """Read them; `sync_seconds` is what a catalog sync may take, during which its transaction does nothing.

        Raises:
            SettingError: one is malformed, or would cut a catalog sync off.
        """
        least_idle = sync_seconds + _BEYOND_SYNC_SECONDS
        idle = environment.limit_seconds("DATABASE_IDLE_TRANSACTION_TIMEOUT", least_idle)
        if 0 < idle <= sync_seconds:
            raise SettingError("DATABASE_IDLE_TRANSACTION_TIMEOUT must be more than CATALOG_SYNC_TIMEOUT, or 0.")
        return cls(
            connect_seconds=environment.integer("DATABASE_CONNECT_TIMEOUT", 5, minimum=2, maximum=120),
            statement_seconds=environment.limit_seconds("DATABASE_STATEMENT_TIMEOUT", 30.0),
            lock_seconds=environment.limit_seconds("DATABASE_LOCK_TIMEOUT", 15.0),
            idle_transaction_seconds=idle,
            pgbouncer=environment.flag("DATABASE_PGBOUNCER", default=False),
        )

    @property
    def server_options(self) -> str:
        """As PostgreSQL takes them when a connection starts."""
        limits = {
            "statement_timeout": self.statement_seconds if self.statements_are_limited else 0,
            "lock_timeout": self.lock_seconds,
            "idle_in_transaction_session_timeout": self.idle_transaction_seconds,
        }
        return " ".join(f"-c {name}={round(seconds * 1000)}" for name, seconds in limits.items())


def lift_statement_timeout() -> None:
    """In a process that is no server a statement may last: a migration, a backfill, a check of all rows.

    Called before the settings load. A wait for a lock stays limited: what waits for one lets others wait behind it.
    """
    DatabaseLimits.statements_are_limited = False


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
    from kilo_gateway import embedded_postgres

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


def django_database(url: str, *, pool_size: int, limits: DatabaseLimits) -> dict[str, Any]:
    """Django's description of the database at a libpq URL (any that `psql` takes, Unix sockets included).

    What the URL says of time-outs and options itself comes before ours.

    Raises:
        SettingError: the URL does not parse or names no database; its text, which may hold a password, is not shown.
    """
    from psycopg import ProgrammingError
    from psycopg.conninfo import conninfo_to_dict

    try:
        parts = {key: str(value) for key, value in conninfo_to_dict(url).items()}
    except ProgrammingError:
        parts = {}
    if not url.startswith(("postgresql://", "postgres://")) or not parts.get("dbname"):
        raise SettingError("DATABASE_URL must look like postgresql://user:password@host:5432/name.")
    if not limits.pgbouncer:
        parts["options"] = f"{limits.server_options} {parts.get('options', '')}".strip()
    return {
        "ENGINE": "kilo_gateway.postgresql",
        "NAME": parts.pop("dbname"),
        "USER": parts.pop("user", ""),
        "PASSWORD": parts.pop("password", ""),
        "HOST": parts.pop("host", ""),
        "PORT": parts.pop("port", ""),
        # A cursor that outlives its transaction belongs to a server connection, which PgBouncer gives to others.
        "DISABLE_SERVER_SIDE_CURSORS": limits.pgbouncer,
        "OPTIONS": {
            **_DEAD_PEER,
            "connect_timeout": str(limits.connect_seconds),
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
            "prepare_threshold": None if limits.pgbouncer else 5,
        },
    }
