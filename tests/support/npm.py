"""Packages from npm that tests need, as their lock file says."""

from __future__ import annotations

import fcntl
import json
import shutil
import subprocess
from pathlib import Path

INSTALL_SECONDS = 300


class NotInstallableError(Exception):
    """They cannot be had here; the message says what is missing and how to get it."""


def npm_ci(folder: Path) -> None:
    """Install what the folder's lock file says below it, once; several test runs may ask at the same time.

    No package gets to run a script of its own, and none of the optional ones is fetched.

    Raises:
        NotInstallableError: no npm, or the packages cannot be fetched.
    """
    npm = shutil.which("npm")
    if npm is None or shutil.which("node") is None:
        raise NotInstallableError("npm is missing: 'apt-get install npm', or https://nodejs.org")
    with (folder / "package.json").open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if _versions(folder / "package-lock.json") == _versions(folder / "node_modules" / ".package-lock.json"):
            return
        command = [npm, "ci", "--omit=optional", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"]
        try:
            done = subprocess.run(
                command, cwd=folder, capture_output=True, text=True, timeout=INSTALL_SECONDS, check=False
            )
        except subprocess.TimeoutExpired as error:
            raise NotInstallableError(f"'npm ci' in {folder} took longer than {INSTALL_SECONDS} s") from error
        if done.returncode:
            raise NotInstallableError(f"'npm ci' in {folder} failed: {done.stderr.strip()[-1000:]}")


def _versions(lock_file: Path) -> dict[str, str]:
    try:
        packages = json.loads(lock_file.read_text())["packages"]
    except (OSError, ValueError, KeyError):
        return {}
    return {name: row["version"] for name, row in packages.items() if name and not row.get("optional")}
