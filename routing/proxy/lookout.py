"""Waiting awake: a request that is alone in its process looks for what it waits for, instead of going to sleep at once.

In a virtual machine a processor that sleeps needs 50 to 100 microseconds to wake, as long as PostgreSQL to answer.
Whoever waits awake gets the answer when it is there. That takes the processor from nobody, because there is nobody
else, and it is given up soon: what takes longer than this is not made noticeably longer by a wake-up (ADR 7).
"""

from __future__ import annotations

import select
from time import perf_counter
from typing import Final, Self

AWAKE_SECONDS: Final = 0.0002


class Presence:
    """The requests that a process is working on; each is present as long as its block lasts, streams not counted."""

    __slots__ = ("_present",)

    def __init__(self) -> None:
        # A list, because adding to it and taking from it are each one step that no other thread comes between.
        self._present: list[None] = []

    def __enter__(self) -> Self:
        self._present.append(None)
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._present.pop()

    @property
    def is_alone(self) -> bool:
        """Whether one request is worked on and no other."""
        return len(self._present) == 1


requests_present: Final = Presence()


def wait_ready(descriptor: int, events: int) -> None:
    """Sleep until one of these events of `select.poll` is there, or the socket's end."""
    poller = select.poll()
    poller.register(descriptor, events)
    poller.poll()


def wait_awake(descriptor: int) -> bool:
    """Look at a socket until something has come or it is time to sleep; whether something has come.

    Returns at once when other requests are worked on: they have better use for the processor.
    """
    if not requests_present.is_alone:
        return False
    poller = select.poll()
    poller.register(descriptor, select.POLLIN)
    until = perf_counter() + AWAKE_SECONDS
    while not poller.poll(0):
        if perf_counter() > until or not requests_present.is_alone:
            return False
    return True
