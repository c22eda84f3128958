"""Ids of requests: random UUIDs, made many at a time."""

from __future__ import annotations

import os
from collections import deque
from typing import Final
from uuid import UUID

_BATCH: Final = 256
_BYTES: Final = 16

_ready: deque[UUID] = deque()
# Two processes must not hand out the same ones.
os.register_at_fork(after_in_child=_ready.clear)


def new_request_id() -> UUID:
    """The next one. Asking the system for random bytes lets another thread run, so it is asked once for many."""
    try:
        return _ready.pop()
    except IndexError:
        random = os.urandom(_BATCH * _BYTES)
        first, *others = (UUID(bytes=random[at : at + _BYTES], version=4) for at in range(0, len(random), _BYTES))
        _ready.extend(others)
        return first
