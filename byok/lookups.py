"""Asking the resolver for names that an organization has written, without waiting for longer than is wanted.

Whoever owns a name owns the server that answers for it, and the system's resolver waits for that as long as it likes.
So each lookup has a thread of its own; there is one for a name at a time, and only so many for all names together and
for those of one domain.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, Final

MAX_LOOKUPS: Final = 128
MAX_OF_A_DOMAIN: Final = 16

SocketAddress = tuple[Any, ...]
Found = list[tuple[int, SocketAddress]]


class Lookups:
    """The lookups that run in this process. Who asks for a name that is looked up already waits for that answer."""

    def __init__(self, limit: int = MAX_LOOKUPS, limit_of_a_domain: int = MAX_OF_A_DOMAIN) -> None:
        self._limit, self._limit_of_a_domain = limit, limit_of_a_domain
        self._one_ended = threading.Condition()
        self._running: dict[str, Future[Found]] = {}
        self._of_domain: Counter[str] = Counter()

    def ask(self, host: str, resolve: Callable[[], Found], seconds: float) -> Found:
        """What `resolve` finds for a host, in a thread of its own.

        Raises:
            TimeoutError: not in time, be it that the answer is late or that too many lookups run.
            OSError: as `resolve` raises it.
        """
        deadline = time.monotonic() + seconds
        with self._one_ended:
            while (future := self._running.get(host)) is None and not self._has_room(host):
                if not self._one_ended.wait(max(deadline - time.monotonic(), 0)):
                    raise TimeoutError("too many names are looked up")
            if future is None:
                future = self._start(host, resolve)
        return future.result(max(deadline - time.monotonic(), 0))

    def _has_room(self, host: str) -> bool:
        return len(self._running) < self._limit and self._of_domain[_domain(host)] < self._limit_of_a_domain

    def _start(self, host: str, resolve: Callable[[], Found]) -> Future[Found]:
        future: Future[Found] = Future()
        thread = threading.Thread(target=self._run, args=(host, resolve, future), name="lookup", daemon=True)
        try:
            thread.start()
        except RuntimeError:
            raise OSError("there is no thread to look the name up") from None
        self._running[host] = future
        self._of_domain[_domain(host)] += 1
        return future

    def _run(self, host: str, resolve: Callable[[], Found], future: Future[Found]) -> None:
        try:
            found, problem = resolve(), None
        except Exception as error:  # noqa: BLE001 - it belongs to those who wait
            found, problem = [], error
        with self._one_ended:
            del self._running[host]
            self._of_domain[_domain(host)] -= 1
            self._of_domain += Counter()
            self._one_ended.notify_all()
        if problem is None:
            future.set_result(found)
        else:
            future.set_exception(problem)


def _domain(host: str) -> str:
    """The last two labels of a name: who owns that has as many names below it as he likes."""
    return ".".join(host.lower().removesuffix(".").split(".")[-2:])
