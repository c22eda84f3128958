"""What the auto tiers mean, as the process keeps it: the installation's rules, compiled once per tier version."""

from __future__ import annotations

from types import MappingProxyType
from typing import Final

from django.db import Error

from routing.catalog.cache import CatalogUnreadable, VersionedCache
from routing.domain.types import TierChoice, TierTable
from routing.models import AutoTierRule, Installation


def _load(_version: int) -> TierTable:
    try:
        rules = list(AutoTierRule.objects.all())
    except Error as error:
        raise CatalogUnreadable("The auto tiers could not be read from the database.") from error
    return TierTable(
        MappingProxyType(
            {
                (rule.tier, rule.mode.strip().lower(), rule.api_kind): TierChoice(
                    models=_ids(rule.model_ids),
                    free_models=_ids(rule.free_model_ids),
                    reasoning_effort=rule.reasoning_effort,
                    verbosity=rule.verbosity,
                )
                for rule in rules
            }
        )
    )


def _ids(stored: list[str]) -> tuple[str, ...]:
    return tuple(model_id.strip().lower() for model_id in stored)


_cache: Final = VersionedCache(_load)


def tier_table(tier_version: int) -> TierTable:
    """The table at the tier version that the caller has just read; costs no query while it stays the same.

    Call it before a transaction is opened: while one thread loads, the others wait for it.

    Raises:
        CatalogUnreadable: it cannot be read; the caller refuses whatever depends on it.
    """
    return _cache.get(tier_version)


def load_tier_table() -> TierTable:
    """The table as it is now, for callers that do not know its version; raises `CatalogUnreadable`."""
    try:
        version = Installation.objects.values_list("tier_version", flat=True).get(pk=1)
    except Installation.DoesNotExist as error:
        raise CatalogUnreadable("The installation is not set up: its database is not migrated.") from error
    except Error as error:
        raise CatalogUnreadable("The auto tiers could not be read from the database.") from error
    return tier_table(version)


def forget_tier_table() -> None:
    """Forget what the process keeps, as tests do between databases."""
    _cache.clear()
