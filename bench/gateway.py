"""This gateway as a subject: its own database on the load core, one worker on the subject's core.

`python -m bench.gateway DIRECTORY` starts the embedded PostgreSQL, prints its address, and keeps it until standard
input closes; the harness runs it on the load core, so that PostgreSQL's work is not counted as the gateway's.
"""

from __future__ import annotations

import json
import signal
import sys
import time
from collections.abc import Mapping
from pathlib import Path

from bench.model import LOCAL_HOST, ROOT, BenchError, Request, chat_request
from bench.organizations import MODE, PROVIDER
from bench.processes import LOAD_CORE, SUBJECT_CORE, Program, bare_environment, free_port, run
from bench.subject import Running, Subject

_DATABASE_LINE = "database-url "
_DATABASE_SECONDS = 60.0
_COMMAND_SECONDS = 120.0
_PATH = "/api/gateway/v1/chat/completions"
_MODEL = "kilo-auto/org"


class Gateway(Subject):
    """Kilo Gateway: an authenticated completion through Organization Auto to a provider key of the organization."""

    name = "ours"
    title = "Kilo Gateway"
    organizations = 1

    def __init__(self) -> None:
        self.settings = (
            "one worker, production settings, usage recorded in PostgreSQL (on the load core)",
            f"{_MODEL}, mode {MODE}, routed to a direct provider; organizations that take turns: {self.organizations}",
        )
        self._database: Program | None = None
        self._database_url = ""
        self._keys: list[str] = []

    def prepare(self) -> str:
        try:
            return run(["git", "describe", "--always", "--dirty"], seconds=20, directory=ROOT).strip()
        except BenchError:
            return "unknown revision"

    def start(self, directory: Path, upstream_port: int) -> Running:
        directory.mkdir(parents=True, exist_ok=True)
        kept = directory.parent.parent  # both starts work on one database
        port = free_port()
        if self._database is None:
            self._start_database(kept)
        environment = self._environment(kept, port, upstream_port)
        if not self._keys:
            self._command(environment, "manage.py", "migrate", "--no-input", "--verbosity", "0")
            made = self._command(environment, "-m", "bench.organizations", str(self.organizations))
            self._keys = json.loads(made)
        program = Program(
            self.name,
            [sys.executable, "-m", "kilo_gateway.serve"],
            log=directory / "gateway.log",
            core=SUBJECT_CORE,
            environment=environment,
            directory=ROOT,
        )
        postmaster = int((kept / "data/postgres/postmaster.pid").read_text(encoding="utf-8").split()[0])
        return Running(program, port, self._requests(stream=False), self._requests(stream=True), [postmaster])

    def close(self) -> None:
        if self._database is not None:
            self._database.stop()
        self._database, self._keys = None, []

    def _requests(self, *, stream: bool) -> list[Request]:
        headers = [{"Authorization": f"Bearer {key}", "x-kilocode-mode": MODE} for key in self._keys]
        return [chat_request(_PATH, _MODEL, each, stream=stream) for each in headers]

    def _environment(self, directory: Path, port: int, upstream_port: int) -> dict[str, str]:
        upstream = f"http://{LOCAL_HOST}:{upstream_port}/v1"
        return bare_environment(
            directory,
            {
                "DATABASE_URL": self._database_url,
                "DATA_DIR": str(directory / "data"),
                "HOST": LOCAL_HOST,
                "PORT": str(port),
                "WORKERS": "1",
                "MIGRATE": "0",
                f"PROVIDER_BASE_URL_{PROVIDER.upper()}": upstream,
                "OPENROUTER_BASE_URL": upstream,
                "OPENROUTER_API_KEY": "sk-upstream",
                "ALLOW_PRIVATE_UPSTREAMS": "1",
                "CATALOG_SYNC": "0",
            },
        )

    @staticmethod
    def _command(environment: Mapping[str, str], *arguments: str) -> str:
        command = [sys.executable, *arguments]
        return run(command, seconds=_COMMAND_SECONDS, directory=ROOT, environment=environment)

    def _start_database(self, directory: Path) -> None:
        log = directory / "database.log"
        self._database = Program(
            "database",
            [sys.executable, "-m", "bench.gateway", str(directory / "data")],
            log=log,
            core=LOAD_CORE,
            directory=ROOT,
            keep_input_open=True,
        )
        deadline = time.monotonic() + _DATABASE_SECONDS
        while time.monotonic() < deadline and self._database.running:
            for line in log.read_text(encoding="utf-8").splitlines():
                if line.startswith(_DATABASE_LINE):
                    self._database_url = line.removeprefix(_DATABASE_LINE)
                    return
            time.sleep(0.1)
        raise BenchError(f"the database did not start: {self._database.last_words()}")


class GatewayManyOrganizations(Gateway):
    """The same work for many organizations in turn; one organization alone must get about as much done."""

    name = "ours-64-organizations"
    title = "Kilo Gateway, 64 organizations"
    organizations = 64


def main() -> None:
    """Hold the embedded database until standard input closes."""
    from kilo_gateway.embedded_postgres import start

    # The server is stopped at a normal exit; the harness being killed must lead to one, too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit())
    print(_DATABASE_LINE + start(Path(sys.argv[1])), flush=True)
    sys.stdin.read()


if __name__ == "__main__":
    main()
