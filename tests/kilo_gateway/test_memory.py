"""How a worker gets its memory."""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
from pathlib import Path

import pytest

_THREADS_THAT_ALLOCATE = """
import ctypes, sys, threading
from kilo_gateway.memory import share_one_arena
share_one_arena()
libc = ctypes.CDLL(None)
libc.malloc.restype = libc.fopen.restype = ctypes.c_void_p
together = threading.Barrier(4)
def allocate():
    together.wait()
    libc.malloc(ctypes.c_size_t(1000))
    together.wait()
threads = [threading.Thread(target=allocate) for _ in range(4)]
[thread.start() for thread in threads]
[thread.join() for thread in threads]
report = ctypes.c_void_p(libc.fopen(sys.argv[1].encode(), b"w"))
libc.malloc_info(0, report)
libc.fclose(report)
"""


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "malloc_info"), reason="another C library than GNU's")
@pytest.mark.parametrize(("said_by_the_operator", "heaps"), [("", 1), ("2", 2)])
def test_threads_share_a_heap_unless_the_operator_says_otherwise(
    tmp_path: Path, said_by_the_operator: str, heaps: int
) -> None:
    report = tmp_path / "report.xml"
    said = {"MALLOC_ARENA_MAX": said_by_the_operator} if said_by_the_operator else {}
    environment = {name: value for name, value in os.environ.items() if name != "MALLOC_ARENA_MAX"} | said
    command = [sys.executable, "-c", _THREADS_THAT_ALLOCATE, str(report)]
    subprocess.run(command, check=True, env=environment, cwd=Path(__file__).parents[2])
    assert report.read_text().count("<heap nr=") == heaps
