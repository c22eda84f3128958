"""Static files of the production server: collected once under names that hold a hash, and again only after a change."""

from __future__ import annotations

import fcntl
import hashlib
from importlib.metadata import version
from pathlib import Path
from typing import Final

from django.conf import settings
from django.contrib.staticfiles.finders import get_finders
from django.core.management import call_command

# Beside what was collected: of which sources it was made.
MARK: Final = ".sources"


def collect_static_files() -> bool:
    """Bring `STATIC_ROOT` up to date; whether there was anything to do.

    Old files stay, for pages that browsers still show. Several gateways may share the directory: one collects, the
    others wait for it. With `DEBUG` nothing is collected, because the files are served from where they lie.
    """
    if settings.DEBUG:
        return False
    root = Path(settings.STATIC_ROOT)
    mark, sources = root / MARK, _fingerprint()
    if _is_made_of(mark, sources):
        return False
    root.mkdir(parents=True, exist_ok=True)
    with root.with_name(f".{root.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if _is_made_of(mark, sources):
            return False
        mark.unlink(missing_ok=True)
        call_command("collectstatic", interactive=False, verbosity=0)
        mark.write_text(sources, encoding="utf-8")
    return True


def _is_made_of(mark: Path, sources: str) -> bool:
    return mark.is_file() and mark.read_text(encoding="utf-8") == sources


def _fingerprint() -> str:
    """What the result depends on: the sources, without reading them, and who turns them into it."""
    digest = hashlib.sha256()
    makers = [version(package) for package in ("Django", "whitenoise")]
    digest.update(f"{makers} {settings.STATIC_URL} {settings.STORAGES}".encode())
    for finder in get_finders():
        for name, storage in finder.list([]):
            stat = Path(storage.path(name)).stat()
            digest.update(f"\n{name} {stat.st_size} {stat.st_mtime_ns}".encode())
    return digest.hexdigest()
