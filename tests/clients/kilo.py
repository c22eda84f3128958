"""The Kilo CLI as a developer runs it, kept away from every host but the gateway."""

from __future__ import annotations

import json
import os
import platform
import re
import signal
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from tests.support.npm import NotInstallableError, npm_ci

FOLDER = Path(__file__).parent
PROGRAM = FOLDER / "node_modules" / ".bin" / "kilo"
RUN_SECONDS = 90
# Milliseconds, as the CLI stores it: the year 2100.
NEVER = 4_102_444_800_000

# What the CLI would otherwise ask of hosts other than the gateway: catalogs, telemetry, shared sessions, updates.
_KEEP_TO_ONESELF = {
    "KILO_TELEMETRY_LEVEL": "off",
    "KILO_DISABLE_MODELS_FETCH": "1",
    "KILO_DISABLE_SESSION_INGEST": "1",
    "KILO_DISABLE_AUTOUPDATE": "1",
    "KILO_DISABLE_LSP_DOWNLOAD": "1",
    "KILO_DISABLE_DEFAULT_PLUGINS": "1",
}
# Where anything that is forgotten above ends: a proxy at a port on which nobody listens.
_NO_WAY_OUT = {
    **dict.fromkeys(("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"), "http://127.0.0.1:9"),
    **dict.fromkeys(("NO_PROXY", "no_proxy"), "127.0.0.1,localhost"),
}
_COLOURS = re.compile(r"\x1b\[[0-9;]*m")


def install() -> None:
    """Install the pinned CLI below this folder, once; several test runs may ask at the same time.

    Raises:
        NotInstallableError: no npm, another kind of machine, or the packages cannot be fetched.
    """
    if (platform.system(), platform.machine()) != ("Linux", "x86_64"):
        raise NotInstallableError("the Kilo CLI is pinned for Linux on x86-64; run these tests there")
    npm_ci(FOLDER)


@dataclass(frozen=True, slots=True)
class Finished:
    """A run of the CLI that came to its end."""

    code: int
    output: str
    errors: str


@dataclass(frozen=True, slots=True)
class KiloCli:
    """One developer's CLI: a home directory of its own, and a way to sign in."""

    gateway_url: str
    folder: Path
    sign_in: Mapping[str, str]

    @classmethod
    def with_stored_login(cls, gateway_url: str, folder: Path, *, key: str, organization_id: str) -> KiloCli:
        """Signed in as `kilo auth login` leaves it; only this way does the CLI ask for the organization's modes."""
        stored = folder / "home" / ".local" / "share" / "kilo" / "auth.json"
        stored.parent.mkdir(parents=True)
        login = {"type": "oauth", "access": key, "refresh": key, "expires": NEVER, "accountId": organization_id}
        stored.write_text(json.dumps({"kilo": login}))
        return cls(gateway_url, folder, {})

    @classmethod
    def with_key(cls, gateway_url: str, folder: Path, *, key: str, organization_id: str) -> KiloCli:
        """Signed in by the environment, as on a build machine."""
        return cls(gateway_url, folder, {"KILO_API_KEY": key, "KILO_ORG_ID": organization_id})

    def run(self, *arguments: str) -> Finished:
        """Run one command to its end, in an empty project.

        Output goes to files: the CLI exits before a pipe is drained and would lose all beyond the first 64 KiB.
        """
        project, temporary = self.folder / "project", self.folder / "tmp"
        for folder in (self.folder / "home", project, temporary):
            folder.mkdir(parents=True, exist_ok=True)
        output, errors = self.folder / "output.txt", self.folder / "errors.txt"
        with output.open("w") as output_file, errors.open("w") as errors_file:
            process = subprocess.Popen(
                [PROGRAM, *arguments],
                cwd=project,
                env=self._environment(temporary),
                stdin=subprocess.DEVNULL,
                stdout=output_file,
                stderr=errors_file,
                start_new_session=True,
            )
            try:
                code = process.wait(RUN_SECONDS)
            except subprocess.TimeoutExpired:
                # The launcher and the program it started.
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
                raise AssertionError(
                    f"kilo {' '.join(arguments)} took longer than {RUN_SECONDS} s:\n{_plain(errors)[-2000:]}"
                ) from None
        return Finished(code, _plain(output), _plain(errors))

    def ask(self, agent: str, question: str = "say hello", *, model: str = "kilo/kilo-auto/org") -> Finished:
        """Put one question to an agent, without a person to confirm anything."""
        return self.run("run", "--auto", "--agent", agent, "-m", model, question)

    def _environment(self, temporary: Path) -> dict[str, str]:
        """Nothing of the environment of the tests but the path to node."""
        return {
            "PATH": os.environ["PATH"],
            "HOME": str(self.folder / "home"),
            "TMPDIR": str(temporary),
            "LANG": "C.UTF-8",
            "NO_COLOR": "1",
            "KILO_API_URL": self.gateway_url,
            **self.sign_in,
            **_KEEP_TO_ONESELF,
            **_NO_WAY_OUT,
        }


def _plain(file: Path) -> str:
    return _COLOURS.sub("", file.read_text(errors="replace"))
