"""The backend that `DATABASES` names: Django's own, but for the order in which connections are used."""

from __future__ import annotations

from typing import Any, cast

from django.db.backends.base.base import NO_DB_ALIAS
from django.db.backends.postgresql import base
from psycopg import Connection
from psycopg_pool import ConnectionPool


class LastUsedFirstPool(ConnectionPool[Connection[Any]]):
    """Lends the connection that was given back last.

    psycopg's own lends the one that was idle longest, so that all take turns: each statement wakes another server
    process, with what it needs in no cache of the processor any more. For one short statement that costs more than the
    statement does. In this order as few connections as possible are in use, and the pool can close the others.
    """

    def _get_ready_connection(self, timeout: float | None) -> Connection[Any] | None:
        # Called with the pool's lock held. The base takes from the left, as the one that closes unused connections
        # does; what is given back comes in on the right.
        self._pool.rotate(1)
        return super()._get_ready_connection(timeout)


class DatabaseWrapper(base.DatabaseWrapper):
    """Django's, with the pool above in place of psycopg's."""

    @property
    def pool(self) -> ConnectionPool[Connection[Any]] | None:
        """The process's pool for this database, made when it is asked for the first time and not opened yet."""
        pools = self._connection_pools  # type: ignore[attr-defined]  # the stubs leave it out
        options = self.settings_dict["OPTIONS"].get("pool")
        if self.alias not in pools and self.alias != NO_DB_ALIAS and options:
            pool = LastUsedFirstPool(
                # As Django makes its own: the pool's connections commit by themselves until a transaction is begun.
                kwargs={**self.get_connection_params(), "autocommit": True},
                configure=self._configure_connection,  # type: ignore[attr-defined]
                open=False,
                **options,
            )
            # Another thread may have been quicker; both use the same one then.
            pools.setdefault(self.alias, pool)
        return cast("ConnectionPool[Connection[Any]] | None", super().pool)
