"""Ending what waits for a connection, from another thread."""

from __future__ import annotations

import socket
import threading
from contextlib import suppress


class OpenSockets:
    """Second handles on sockets, which `shut_down` ends.

    TLS takes a socket from who opened it, and until its handshake is over nobody else has it: a duplicate stays valid.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._is_over = False
        self._handles: list[socket.socket] = []

    @property
    def is_over(self) -> bool:
        return self._is_over

    def watch(self, opened: socket.socket) -> None:
        """Have this one ended too. Raises TimeoutError, and closes it, when all are over already."""
        handle = opened.dup()
        with self._lock:
            if not self._is_over:
                self._handles.append(handle)
                return
        handle.close()
        opened.close()
        raise TimeoutError("its time is over")

    def shut_down(self) -> None:
        """Let nothing wait any more, neither now nor on a socket that comes later."""
        with self._lock:
            self._is_over = True
            handles, self._handles = self._handles, []
        for handle in handles:
            with suppress(OSError):
                handle.shutdown(socket.SHUT_RDWR)
            handle.close()
