"""Where the catalog in force is from, and how old it is: for whoever shows it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from routing.models import CatalogSnapshot, Installation

# A running server reads it every ten minutes.
STALE_AFTER: Final = timedelta(hours=1)


@dataclass(frozen=True, slots=True)
class CatalogStatus:
    """The catalog in force.

    Attributes:
        read_at: When it was last found good; None for the bundled one, which was never read anywhere.
        error: Why the last sync left it as it was; blank when it did not.
    """

    is_bundled: bool
    source: str
    read_at: datetime | None
    error: str

    def is_stale(self, now: datetime) -> bool:
        """Whether prices and models may have changed since."""
        return self.is_bundled or self.read_at is None or now - self.read_at >= STALE_AFTER


def catalog_status() -> CatalogStatus:
    """The state of the catalog; one query. Raises `Installation.DoesNotExist` where nothing is migrated."""
    row = Installation.objects.values_list(
        "catalog_snapshot__origin", "catalog_snapshot__source", "catalog_checked_at", "catalog_error"
    ).get(pk=1)
    return status_of(*row)


def status_of(origin: str, source: str, checked_at: datetime | None, error: str) -> CatalogStatus:
    """The state that columns of the snapshot (the first two) and of the installation say. No query."""
    is_bundled = origin == CatalogSnapshot.Origin.BUNDLED
    return CatalogStatus(is_bundled, source, None if is_bundled else checked_at, error)
