"""nginx with the configuration of `deploy/`, in front of servers of the tests."""

from __future__ import annotations

import re
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.live import ROOT, free_port


@dataclass
class Nginx:
    """A running one."""

    url: str
    configuration: Path
    process: subprocess.Popen[bytes]

    def take_out(self, gateway: int) -> None:
        """Send nothing more to the gateway at this port, as `docs/operations.md` says before one is restarted."""
        self._replace(f"{gateway} max_fails=0;", f"{gateway} max_fails=0 down;")

    def put_back(self, gateway: int) -> None:
        """Send requests to it again."""
        self._replace(f"{gateway} max_fails=0 down;", f"{gateway} max_fails=0;")

    def _replace(self, old: str, new: str) -> None:
        text = self.configuration.read_text()
        assert old in text
        self.configuration.write_text(text.replace(old, new))
        before = self._workers()
        self.process.send_signal(signal.SIGHUP)
        _wait(lambda: not before & self._workers(), "the workers with the former configuration do not end")

    def _workers(self) -> set[str]:
        return set(Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split())


def configured(folder: Path, gateways: Sequence[int], port: int) -> Path:
    """The configuration with the ports of these gateways, and with its files in a folder of its own."""
    text = (ROOT / "deploy" / "nginx.conf").read_text()
    text = text.replace("worker_processes auto", "worker_processes 1").replace(
        "listen 8080", f"listen 127.0.0.1:{port}"
    )
    # A container's limits are not those of the machine that runs the tests.
    text = text.replace("worker_rlimit_nofile 65536;\n", "").replace(
        "worker_connections 16384", "worker_connections 500"
    )
    for number, gateway in enumerate(gateways, 1):
        text = text.replace(f"gateway-{number}:8000", f"127.0.0.1:{gateway}")
    path = folder / "nginx.conf"
    path.write_text(re.sub(r"\B/tmp/", f"{folder}/", text).replace("/dev/stderr", f"{folder}/error.log"))
    return path


def program() -> str:
    """Where nginx is."""
    found = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")
    if found is None:
        pytest.skip("needs nginx: apt-get install nginx-light")
    return found


@contextmanager
def running_nginx(folder: Path, gateways: Sequence[int]) -> Iterator[Nginx]:
    """nginx in front of gateways at these ports of loopback."""
    port = free_port()
    folder.mkdir()
    path = configured(folder, gateways, port)
    command = [program(), "-e", str(folder / "error.log"), "-c", str(path), "-g", "daemon off;"]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    nginx = Nginx(f"http://127.0.0.1:{port}", path, process)
    try:
        _wait((folder / "nginx.pid").exists, "nginx does not start")
        yield nginx
    finally:
        process.terminate()
        process.wait(10)


def _wait(condition: Callable[[], bool], otherwise: str) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline, otherwise
        time.sleep(0.02)
