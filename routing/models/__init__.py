"""Which model: catalog snapshots, auto tiers, and what was used."""

from __future__ import annotations

from routing.models.catalog import AutoTierRule, BrokenRoute, CatalogSnapshot, Installation
from routing.models.spending import HostedBalance, MemberSpending, SpendingReservation
from routing.models.usage import MOMENT_OF_ALL, UsageGrain, UsageRecord, UsageRollup

__all__ = [
    "MOMENT_OF_ALL",
    "AutoTierRule",
    "BrokenRoute",
    "CatalogSnapshot",
    "HostedBalance",
    "Installation",
    "MemberSpending",
    "SpendingReservation",
    "UsageGrain",
    "UsageRecord",
    "UsageRollup",
]
