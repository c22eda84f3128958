"""How this process gets its memory from the system."""

from __future__ import annotations

import ctypes
import os

# From malloc.h of the GNU C library.
_M_ARENA_MAX = -8


def share_one_arena() -> None:
    """Let all threads allocate from one heap. Has to be called before there are threads.

    The GNU C library gives each of the first threads a heap of its own, so that they need not wait for each other. Ours
    run Python, one at a time, and wait anyhow; what they get by heaps of their own is that each request works in
    memory that no cache of the processor holds. Other C libraries are left as they are, and so is what the operator has
    set himself.
    """
    if "MALLOC_ARENA_MAX" in os.environ:
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_ARENA_MAX, 1)
