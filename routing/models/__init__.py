"""Which model: catalog snapshots, auto tiers, and what was used."""

from __future__ import annotations

from routing.models.catalog import AutoTierRule, BrokenRoute, CatalogSnapshot, Installation
from routing.models.usage import HostedBalance, UsageRecord

__all__ = ["AutoTierRule", "BrokenRoute", "CatalogSnapshot", "HostedBalance", "Installation", "UsageRecord"]
