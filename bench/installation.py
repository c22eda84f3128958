"""An installation of this gateway for one run: its own database on the load core, its server on the subject's core.

`python -m bench.installation DIRECTORY` starts the embedded PostgreSQL, prints its address, and keeps it until standard
input closes; the harness runs it on the load core, so that PostgreSQL's work is not counted as the gateway's.
"""

from __future__ import annotations

import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bench.model import LOCAL_HOST, ROOT, BenchError
from bench.processes import LOAD_CORE, SUBJECT_CORE, Program, bare_environment, run

_DATABASE_LINE = "database-url "
_DATABASE_SECONDS = 60.0


class Installation:
    """A folder with a database that runs, and the environment that servers and commands share.

    Raises:
        BenchError: the database does not start.
    """

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        log = directory / "database.log"
        self._database = Program(
            "database",
            [sys.executable, "-m", "bench.installation", str(directory / "data")],
            log=log,
            core=LOAD_CORE,
            directory=ROOT,
            keep_input_open=True,
        )
        self._database_url = self._wait_for_address(log)

    def _wait_for_address(self, log: Path) -> str:
        deadline = time.monotonic() + _DATABASE_SECONDS
        while time.monotonic() < deadline and self._database.running:
            for line in log.read_text(encoding="utf-8").splitlines():
                if line.startswith(_DATABASE_LINE):
                    return line.removeprefix(_DATABASE_LINE)
            time.sleep(0.1)
        raise BenchError(f"the database did not start: {self._database.last_words()}")

    @property
    def postmaster(self) -> int:
        """PostgreSQL's process, which is no child of ours."""
        return int((self.directory / "data/postgres/postmaster.pid").read_text(encoding="utf-8").split()[0])

    def environment(self, port: int = 0, **settings: str) -> dict[str, str]:
        """Production settings, with these beside or in place of the usual ones."""
        usual = {
            "DATABASE_URL": self._database_url,
            "DATA_DIR": str(self.directory / "data"),
            "HOST": LOCAL_HOST,
            "WORKERS": "1",
            "MIGRATE": "0",
            "CATALOG_SYNC": "0",
        }
        return bare_environment(self.directory, usual | ({"PORT": str(port)} if port else {}) | settings)

    def command(self, environment: dict[str, str], *arguments: str, seconds: float = 120.0) -> str:
        """Run Python with these arguments to its end and return its standard output.

        Raises:
            BenchError: it failed or took too long.
        """
        return run([sys.executable, *arguments], seconds=seconds, directory=ROOT, environment=environment)

    def migrate(self) -> None:
        """Make the tables."""
        self.command(self.environment(), "manage.py", "migrate", "--no-input", "--verbosity", "0")

    @staticmethod
    def serve(name: str, environment: dict[str, str], log: Path) -> Program:
        """Start the server, on the subject's core."""
        command = [sys.executable, "-m", "kilo_gateway.serve"]
        return Program(name, command, log=log, core=SUBJECT_CORE, environment=environment, directory=ROOT)

    def close(self) -> None:
        """Stop the database."""
        self._database.stop()


@contextmanager
def fresh_installation() -> Iterator[Installation]:
    """An installation with its tables, in a folder that goes with it.

    Raises:
        BenchError: the database does not start, or the tables cannot be made.
    """
    with bench_directory() as directory:
        installation = Installation(directory)
        try:
            installation.migrate()
            yield installation
        finally:
            installation.close()


@contextmanager
def bench_directory() -> Iterator[Path]:
    """A folder for one run."""
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        directory = Path(name)
        directory.chmod(0o755)  # the embedded PostgreSQL may run as another user
        yield directory


def main() -> None:
    """Hold the embedded database until standard input closes."""
    from kilo_gateway.embedded_postgres import start

    # The server is stopped at a normal exit; the harness being killed must lead to one, too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit())
    print(_DATABASE_LINE + start(Path(sys.argv[1])), flush=True)
    sys.stdin.read()


if __name__ == "__main__":
    main()
