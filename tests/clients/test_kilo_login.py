"""`kilo auth login`, unmodified: a code in the terminal, an approval in the browser, a stored key."""

from __future__ import annotations

import fcntl
import json
import os
import pty
import re
import select
import struct
import subprocess
import termios
import time
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import requests

from tests.clients.kilo import PROGRAM, KiloCli, NotInstallableError, install
from tests.support.live import Gateway

STEP_SECONDS = 60


class Terminal:
    """The CLI at a terminal, as a person has it in front of him."""

    def __init__(self, cli: KiloCli, *arguments: str) -> None:
        for folder in ("home", "project", "tmp", "bin"):
            (cli.folder / folder).mkdir(parents=True, exist_ok=True)
        # What opens a browser: it would be another one than the test's.
        opener = cli.folder / "bin" / "xdg-open"
        opener.write_text("#!/bin/sh\n")
        opener.chmod(0o755)
        environment = cli._environment(cli.folder / "tmp")
        # The way to sign in is a plugin of its own.
        del environment["KILO_DISABLE_DEFAULT_PLUGINS"]
        environment["PATH"] = f"{opener.parent}:{environment['PATH']}"
        self.output = ""
        self._side, far_side = pty.openpty()
        fcntl.ioctl(far_side, termios.TIOCSWINSZ, struct.pack("HHHH", 50, 200, 0, 0))
        self.process = subprocess.Popen(
            [PROGRAM, *arguments],
            cwd=cli.folder / "project",
            env={**environment, "TERM": "xterm"},
            stdin=far_side,
            stdout=far_side,
            stderr=far_side,
            start_new_session=True,
        )
        os.close(far_side)

    def wait_for(self, pattern: str) -> re.Match[str]:
        """Read until the pattern is on the screen."""
        until = time.monotonic() + STEP_SECONDS
        while (found := re.search(pattern, self.output)) is None:
            assert time.monotonic() < until, self.output[-2000:]
            assert self._read(), self.output[-2000:]
        return found

    def finish(self) -> int:
        until = time.monotonic() + STEP_SECONDS
        while self.process.poll() is None and time.monotonic() < until:
            self._read()
        return self.process.wait(1)

    def close(self) -> None:
        if self.process.poll() is None:
            os.killpg(self.process.pid, 9)
            self.process.wait()
        os.close(self._side)

    def _read(self) -> bool:
        ready, _, _ = select.select([self._side], [], [], 0.2)
        if not ready:
            return self.process.poll() is None
        try:
            read = os.read(self._side, 65_536)
        except OSError:
            return False
        self.output += re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", read.decode(errors="replace"))
        return bool(read)


def signed_in(gateway: Gateway, name: str) -> requests.Session:
    """This person's browser, signed in with the password."""
    browser = requests.Session()
    user = gateway.user(name)
    page = f"{gateway.base_url}/accounts/login"
    browser.get(page, timeout=10)
    answer = browser.post(
        page,
        {
            "login": user["email"],
            "password": user["password"],
            "csrfmiddlewaretoken": browser.cookies["csrftoken"],
        },
        headers={"Referer": page},
        allow_redirects=False,
        timeout=10,
    )
    assert answer.status_code == 302, answer.text
    return browser


@pytest.fixture(scope="module", autouse=True)
def _installed() -> None:
    try:
        install()
    except NotInstallableError as problem:
        pytest.skip(str(problem))


def test_the_whole_way(gateway: Gateway, tmp_path: Path) -> None:
    cli = KiloCli(gateway.base_url, tmp_path, {})
    terminal = Terminal(cli, "auth", "login", "--provider", "kilo")
    try:
        link = terminal.wait_for(r"(http://\S+/device-auth\?code=([A-Z]{4}-[A-Z]{4}-[A-Z]{4}))")
        address, code = link[1], link[2]
        # The link is made of BASE_URL; this gateway's port is its own.
        assert urlsplit(address).path == "/device-auth"
        browser = signed_in(gateway, "alice")
        page = browser.get(f"{gateway.base_url}/device-auth", params={"code": code}, timeout=10)
        assert code in page.text
        approved = browser.post(
            f"{gateway.base_url}/device-auth",
            {"code": code, "answer": "approve", "csrfmiddlewaretoken": browser.cookies["csrftoken"]},
            headers={"Referer": page.url},
            timeout=10,
        )
        assert "Approved" in approved.text
        terminal.wait_for("Login successful")
        assert terminal.finish() == 0
    finally:
        terminal.close()
    stored = json.loads((tmp_path / "home/.local/share/kilo/auth.json").read_text())["kilo"]
    # The person's organization comes with it, so the next question goes where the organization wants it.
    assert (stored["type"], stored["accountId"]) == ("oauth", gateway.organization("Acme")["id"])
    who = requests.get(
        f"{gateway.base_url}/api/user", headers={"Authorization": f"Bearer {stored['access']}"}, timeout=10
    )
    assert who.json()["email"] == gateway.user("alice")["email"]
