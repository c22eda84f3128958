"""Work that a server does again and again beside its requests: a thread in each of its processes."""

from __future__ import annotations

import logging
import random
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import ClassVar, Final, Generic, TypeVar

from django.db import connections

logger = logging.getLogger(__name__)

# Processes do not wake at the same moment: whichever is first does the work, the others find it done.
JITTER: Final = 0.1


class RepeatingThread(ABC):
    """A running thread, which works once in an interval, until `stop`.

    Attributes:
        name: Of the thread.
        title: Of the work, as a log line begins.
        stopped: Whether the work should end.
    """

    name: ClassVar[str]
    title: ClassVar[str]

    def __init__(self, *, interval_seconds: float, first_delay_seconds: tuple[float, float]) -> None:
        self.interval_seconds = interval_seconds
        self.stopped = threading.Event()
        self._first_delay_seconds = first_delay_seconds
        self._thread = threading.Thread(target=self._run, name=self.name, daemon=True)

    @abstractmethod
    def work(self) -> None:
        """Do it once; what this raises is logged, and the next interval tries again."""

    def start(self) -> None:
        self._thread.start()

    @property
    def is_alive(self) -> bool:
        return self._thread.is_alive()

    def stop(self, timeout_seconds: float = 5.0) -> None:
        """End the thread."""
        self.stopped.set()
        self._thread.join(timeout_seconds)

    def _run(self) -> None:
        delay = random.uniform(*self._first_delay_seconds)  # noqa: S311 - spreads load, guards nothing
        while not self.stopped.wait(delay):
            self._work_safely()
            delay = self.interval_seconds * random.uniform(1 - JITTER, 1 + JITTER)  # noqa: S311 - as above

    def _work_safely(self) -> None:
        try:
            self.work()
        except Exception:
            # Whatever it was, the next interval tries again: a thread that has ended would never.
            logger.exception("%s broke off.", self.title)
        finally:
            connections.close_all()


T = TypeVar("T", bound=RepeatingThread)


class OfThisProcess(Generic[T]):
    """At most one running thread of a kind."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._running: T | None = None

    def start(self, make: Callable[[], T]) -> T:
        """The thread that runs, or a new one."""
        with self._lock:
            if self._running is None or not self._running.is_alive:
                self._running = make()
                self._running.start()
            return self._running
