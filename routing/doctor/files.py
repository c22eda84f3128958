"""The folder of the installation's own files: who may read it, and whether there is room."""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from django.conf import settings

from kilo_gateway import embedded_postgres
from routing.doctor.findings import Finding, failed, good, warned

CHECK = "files"
SECRET_FILES: Final = ("secret_key", "credential_keys")
_GIB: Final = 1024**3
_MIB: Final = 1024**2


def check_files() -> Iterator[Finding]:
    """Looks, and writes nothing."""
    folder: Path = settings.DATA_DIR
    if not folder.is_dir():
        yield good(CHECK, f"Nothing is kept in DATA_DIR ({folder}).")
        return
    kept = [name for name in SECRET_FILES if (folder / name).exists()]
    exposed = [name for name in kept if stat.S_IMODE((folder / name).stat().st_mode) & 0o077]
    if exposed:
        yield failed(
            CHECK,
            f"Other users of this machine may read {' and '.join(exposed)} in {folder}.",
            "chmod 600 these files, and replace the secrets if somebody may have read them.",
        )
    elif kept and stat.S_IMODE(folder.stat().st_mode) & 0o022:
        yield failed(
            CHECK, f"Other users of this machine may replace the secrets in {folder}.", "chmod 700 the folder."
        )
    if not os.access(folder, os.W_OK):
        yield warned(CHECK, f"{folder} cannot be written to.", "Give it to the user that runs the gateway.")
    yield _room(folder)
    if kept and not embedded_postgres.is_running(folder):
        yield warned(
            CHECK,
            f"{' and '.join(kept)} were generated here and lie in {folder}.",
            "Back them up. A second machine needs the same: set SECRET_KEY and CREDENTIAL_KEYS on both.",
        )


def _room(folder: Path) -> Finding:
    free = shutil.disk_usage(folder).free
    told = f"{free // _MIB} MiB are free at {folder}."
    mend = "Make room: without it a database that lies there stops."
    if free < 100 * _MIB:
        return failed(CHECK, told, mend)
    if free < _GIB:
        return warned(CHECK, told, mend)
    return good(CHECK, told)
