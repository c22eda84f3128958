"""The model catalog: where it is from, and how old."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

from django.conf import settings
from django.utils import timezone

from routing.catalog.status import STALE_AFTER
from routing.doctor.findings import Finding, failed, good, warned
from routing.models import CatalogSnapshot, Installation

CHECK = "catalog"
FAR_TOO_OLD = timedelta(days=1)
_SYNC = "Run manage.py sync_catalog and see what it says"


def check_catalog() -> Iterator[Finding]:
    """One query."""
    installation = Installation.objects.select_related("catalog_snapshot").defer("catalog_snapshot__entries").first()
    if installation is None:
        yield failed(CHECK, "There is no catalog.", "Run manage.py migrate.")
        return
    snapshot, checked_at = installation.catalog_snapshot, installation.catalog_checked_at
    if installation.catalog_error:
        yield warned(CHECK, f"The last sync failed: {installation.catalog_error}", f"{_SYNC}.")
    if snapshot.origin == CatalogSnapshot.Origin.BUNDLED or checked_at is None:
        yield warned(
            CHECK,
            f"The catalog is the one that came with the gateway ({snapshot.model_count} models).",
            f"{_SYNC}; prices and models change.",
        )
        return
    age = timezone.now() - checked_at
    told = f"{snapshot.model_count} models from {snapshot.source}, last read {_in_words(age)} ago"
    if age < STALE_AFTER:
        yield good(CHECK, f"{told}.")
        return
    mend = f"{_SYNC}; a running server does so by itself{'' if settings.CATALOG_SYNC else ', but CATALOG_SYNC is 0'}."
    yield (failed if age >= FAR_TOO_OLD and settings.CATALOG_SYNC else warned)(CHECK, f"{told}: stale.", mend)


def _in_words(age: timedelta) -> str:
    minutes = max(0, int(age.total_seconds() // 60))
    if minutes < 120:
        return f"{minutes} minutes"
    hours = minutes // 60
    return f"{hours} hours" if hours < 48 else f"{hours // 24} days"
