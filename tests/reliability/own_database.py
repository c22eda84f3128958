"""A gateway on the embedded PostgreSQL, which has a small disk of its own: for whatever breaks either."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

from routing.catalog.bundled import bundled_models
from routing.demo import DemoUpstream
from tests.support.live import ROOT, Gateway, free_port, gateway_environment, running_server, seed

DISK_MB = 300


@dataclass
class OwnDatabase:
    """The embedded PostgreSQL of a data directory, started by the gateway that uses it."""

    data_dir: Path
    is_on_small_disk: bool

    @property
    def url(self) -> str:
        return f"postgresql://postgres:@/postgres?host={self._postmaster_file()[4]}"

    @property
    def is_running(self) -> bool:
        try:
            return psutil.Process(int(self._postmaster_file()[0])).status() != psutil.STATUS_ZOMBIE
        except (OSError, psutil.Error):
            return False

    def kill(self) -> None:
        """SIGKILL for all of it at once, as when the machine's power goes."""
        postmaster = psutil.Process(int(self._postmaster_file()[0]))
        everything = [postmaster, *postmaster.children(recursive=True)]
        for process in everything:
            with suppress(psutil.NoSuchProcess):
                process.kill()
        psutil.wait_procs(everything, timeout=10)

    def start(self) -> None:
        """As an operator does; it replays what it had logged."""
        code = (
            "import sys, pathlib; from kilo_gateway import embedded_postgres as e; e.start(pathlib.Path(sys.argv[1]))"
        )
        subprocess.run([sys.executable, "-c", code, str(self.data_dir)], cwd=ROOT, check=True, timeout=60)

    def fill_disk(self) -> None:
        """Leave no byte of its disk."""
        with self._filler.open("wb", buffering=0) as file, suppress(OSError):
            while file.write(b"\0" * 4096):
                pass

    def free_disk(self) -> None:
        self._filler.unlink()

    @property
    def _filler(self) -> Path:
        return self.data_dir / "filler"

    def _postmaster_file(self) -> list[str]:
        return (self.data_dir / "postgres" / "postmaster.pid").read_text().splitlines()


@contextmanager
def gateway_with_own_database(folder: Path) -> Iterator[tuple[Gateway, OwnDatabase]]:
    """Seeded, with its demo upstream. The disk is small where this process may mount one, which takes root."""
    data_dir = folder / "data"
    data_dir.mkdir()
    with _small_disk(data_dir) as is_small, DemoUpstream(bundled_models()) as upstream:
        port = free_port()
        environment = gateway_environment(
            "",
            data_dir,
            EMBEDDED_POSTGRES="1",
            PORT=str(port),
            OPENROUTER_API_KEY="demo-hosted-key-0001",
            OPENROUTER_BASE_URL=f"{upstream.base_url}/api/v1",
        )
        log_file = folder / "server.log"
        database = OwnDatabase(data_dir, is_small)
        try:
            with running_server(environment, log_file) as process:
                environment["DATABASE_URL"] = database.url
                gateway = Gateway(f"http://127.0.0.1:{port}", {}, upstream, environment, process, log_file)
                gateway.seed = seed(gateway)
                yield gateway, database
        finally:
            if database.is_running:
                database.kill()


@contextmanager
def _small_disk(folder: Path) -> Iterator[bool]:
    if os.geteuid():
        yield False
        return
    mount = ["mount", "-t", "tmpfs", "-o", f"size={DISK_MB}m,mode=755", "tmpfs", str(folder)]
    if subprocess.run(mount, check=False, capture_output=True).returncode:
        yield False
        return
    try:
        yield True
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)
