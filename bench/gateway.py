"""This gateway as a subject: its own database on the load core, one worker on the subject's core, the demo's seed.

`python -m bench.gateway DIRECTORY` starts the embedded PostgreSQL, prints its address, and keeps it until standard
input closes; the harness runs it on the load core, so that PostgreSQL's work is not counted as the gateway's.
"""

from __future__ import annotations

import json
import signal
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from bench.model import LOCAL_HOST, ROOT, BenchError, Request, chat_request
from bench.processes import LOAD_CORE, SUBJECT_CORE, Program, bare_environment, free_port, run
from bench.subject import Running, Subject

_DATABASE_LINE = "database-url "
_DATABASE_SECONDS = 60.0
_COMMAND_SECONDS = 120.0
_PATH = "/api/gateway/v1/chat/completions"
_MODEL = "kilo-auto/org"
_MODE = "code"


class Gateway(Subject):
    """Kilo Gateway: an authenticated completion of an enterprise organization through Organization Auto, recorded."""

    name = "ours"
    title = "Kilo Gateway"
    settings = (
        "one worker, production settings, usage recorded in PostgreSQL (on the load core)",
        f"{_MODEL}, mode {_MODE}, one organization",
    )

    def __init__(self) -> None:
        self._database: Program | None = None
        self._database_url = ""
        self._seed: dict[str, Any] = {}

    def prepare(self) -> str:
        if not (ROOT / "manage.py").exists():
            raise BenchError("manage.py is missing")
        try:
            return run(["git", "describe", "--always", "--dirty"], seconds=20, directory=ROOT).strip()
        except BenchError:
            return "unknown revision"

    def start(self, directory: Path, upstream_port: int) -> Running:
        directory.mkdir(parents=True, exist_ok=True)
        port = free_port()
        if self._database is None:
            self._start_database(directory.parent.parent)
        environment = self._environment(directory.parent.parent, port, upstream_port)
        if not self._seed:
            self._manage(environment, "migrate", "--verbosity", "0")
            self._seed = json.loads(self._manage(environment, "seed_demo", "--json"))
            self.prepare_data(environment)
        program = Program(
            self.name,
            [sys.executable, "-m", "kilo_gateway.serve"],
            log=directory / "gateway.log",
            core=SUBJECT_CORE,
            environment=environment,
            directory=ROOT,
        )
        keys = self.keys(self._seed)
        return Running(program, port, self._requests(keys, stream=False), self._requests(keys, stream=True))

    def prepare_data(self, environment: Mapping[str, str]) -> None:
        """Add what this subject needs beyond the demo's seed; a hook for other subjects."""

    def keys(self, seed: Mapping[str, Any]) -> Sequence[str]:
        """The API keys that take turns; a hook for subjects with many organizations."""
        for user in seed["users"]:
            if user["email"].startswith("alice@") and user["organization"] == "Acme":
                return [str(user["api_key"])]
        raise BenchError("the seed has no alice of Acme")

    def close(self) -> None:
        if self._database is not None:
            self._database.stop()
        self.__init__()  # type: ignore[misc]  # back to the state before the first start

    @staticmethod
    def _requests(keys: Sequence[str], *, stream: bool) -> list[Request]:
        headers = [{"Authorization": f"Bearer {key}", "x-kilocode-mode": _MODE} for key in keys]
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
                "OPENROUTER_BASE_URL": upstream,
                "OPENROUTER_API_KEY": "sk-upstream",
                "ALLOW_PRIVATE_UPSTREAMS": "1",
                "CATALOG_SYNC": "0",
            },
        )

    @staticmethod
    def _manage(environment: Mapping[str, str], *arguments: str) -> str:
        command = [sys.executable, "manage.py", *arguments]
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


def main() -> None:
    """Hold the embedded database until standard input closes."""
    from kilo_gateway.embedded_postgres import start

    # The server is stopped at a normal exit; the harness being killed must lead to one, too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit())
    print(_DATABASE_LINE + start(Path(sys.argv[1])), flush=True)
    sys.stdin.read()


if __name__ == "__main__":
    main()
