"""Stands between a client and PostgreSQL and lets the end of each answer, "ready for query", come by itself, later.

A process of its own, `python -m tests.support.late_end HOST PORT SECONDS`, because what it shows is whether other
threads of the client's process go on meanwhile. Prints the port at which it takes one connection.
"""

from __future__ import annotations

import socket
import sys
import threading
import time
from pathlib import Path

READY = b"Z\x00\x00\x00\x05I"


def main() -> None:
    """Serve one connection to its end."""
    host, port, seconds = sys.argv[1], int(sys.argv[2]), float(sys.argv[3])
    listener = socket.create_server(("127.0.0.1", 0))
    print(listener.getsockname()[1], flush=True)  # noqa: T201 - for who has started it
    client, _ = listener.accept()
    client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if host.startswith("/"):
        server = socket.socket(socket.AF_UNIX)
        server.connect(str(Path(host) / f".s.PGSQL.{port}"))
    else:
        server = socket.create_connection((host, port))
    threading.Thread(target=_pass_on, args=(client, server), daemon=True).start()
    while data := server.recv(65_536):
        if data.endswith(READY) and len(data) > len(READY):
            client.sendall(data[: -len(READY)])
            time.sleep(seconds)
            data = READY
        client.sendall(data)


def _pass_on(source: socket.socket, target: socket.socket) -> None:
    while data := source.recv(65_536):
        target.sendall(data)
    target.close()


if __name__ == "__main__":
    main()
