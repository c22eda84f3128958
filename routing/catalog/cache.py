"""What the process keeps of the database, compiled: one value, replaced whole when its version changes."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Final, Generic, TypeVar

Value = TypeVar("Value")

# Whoever waits may hold the database connection that the loading thread waits for: then it loads for itself.
LONGEST_WAIT_SECONDS: Final = 2.0


class CatalogUnreadable(Exception):
    """The catalog or the table of the auto tiers cannot be read. Callers refuse; they never take it for "allowed"."""


@dataclass(frozen=True, slots=True)
class _Kept(Generic[Value]):
    version: int
    value: Value


class VersionedCache(Generic[Value]):
    """The value of the newest version asked for, and of the one before, for requests that began before a change.

    `get` is as cheap as comparing a number while the version stays. When it changes, one thread loads and the others
    wait for it; a failure reaches all that waited, and the next call tries again.
    """

    def __init__(self, load: Callable[[int], Value]) -> None:
        """`load` reads one version and raises `CatalogUnreadable` when it cannot."""
        self._load = load
        self._kept: tuple[_Kept[Value], ...] = ()
        self._loading: dict[int, Future[Value]] = {}
        self._lock = threading.Lock()

    def get(self, version: int) -> Value:
        """The value of this version; raises `CatalogUnreadable`."""
        kept = self._find(version)
        return kept.value if kept is not None else self._wait_or_load(version)

    def clear(self) -> None:
        """Forget everything, as after the database was replaced below the process."""
        with self._lock:
            self._kept = ()

    def _find(self, version: int) -> _Kept[Value] | None:
        # Read without the lock: the tuple is replaced, never changed.
        for kept in self._kept:
            if kept.version == version:
                return kept
        return None

    def _wait_or_load(self, version: int) -> Value:
        with self._lock:
            if (kept := self._find(version)) is not None:
                return kept.value
            others = self._loading.get(version)
            if others is None:
                mine = self._loading[version] = Future()
        if others is None:
            return self._load_for_all(version, mine)
        try:
            return others.result(timeout=LONGEST_WAIT_SECONDS)
        except TimeoutError:
            return self._load(version)
        except CatalogUnreadable as error:
            # An exception of its own for each thread: one that is raised in many collects the tracebacks of all.
            raise CatalogUnreadable(str(error)) from error

    def _load_for_all(self, version: int, mine: Future[Value]) -> Value:
        try:
            value = self._load(version)
        except BaseException as error:
            self._end(version, ())
            unreadable = isinstance(error, CatalogUnreadable)
            mine.set_exception(error if unreadable else CatalogUnreadable("The load was interrupted."))
            raise
        self._end(version, (_Kept(version, value),))
        mine.set_result(value)
        return value

    def _end(self, version: int, loaded: tuple[_Kept[Value], ...]) -> None:
        with self._lock:
            del self._loading[version]
            self._kept = (loaded + self._kept)[:2]
