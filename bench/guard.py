"""Programs that stand still are ended, too, if the harness is killed.

`python -m bench.guard` reads process ids until standard input closes, lets those programs go on, and tells them to end.
The kernel tells them as well, but one that stands still hears it only when it goes on, and then in any of its threads:
not every program notices that.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from typing import Self

from bench.model import ROOT
from bench.processes import resume, send

_PENDING_SECONDS = 0.2


class Guard:
    """A process of its own that does something only if this one ends before it leaves the guard."""

    def __init__(self) -> None:
        # No Program: that would end with this process, and it has a last thing to do just then.
        self._process = subprocess.Popen(
            [sys.executable, "-m", "bench.guard"], stdin=subprocess.PIPE, cwd=ROOT, start_new_session=True
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.communicate()

    def watch(self, roots: Sequence[int]) -> None:
        """See to these programs and their descendants, too."""
        if self._process.stdin is not None:
            os.write(self._process.stdin.fileno(), "".join(f"{root}\n" for root in roots).encode())


def main() -> None:
    """Wait for the harness's end, then see to that of the others."""
    for ending in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(ending, signal.SIG_IGN)
    roots = [int(line) for line in sys.stdin.read().split()]
    pids = resume(roots)
    # One that is already on its way, and not heard of yet, would swallow this one.
    time.sleep(_PENDING_SECONDS)
    send(pids, signal.SIGTERM)


if __name__ == "__main__":
    main()
