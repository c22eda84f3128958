"""Staff's pages about routing: organizations and their plan, the catalog, the auto tiers, what was used."""

from __future__ import annotations

from routing.admin import catalog, health, organizations, spending, tiers, usage

__all__ = ["catalog", "health", "organizations", "spending", "tiers", "usage"]
