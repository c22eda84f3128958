"""The same organization and small catalog as for the management API, before a browser."""

from __future__ import annotations

from tests.routing.management.conftest import catalog, team, toggle_off

__all__ = ["catalog", "team", "toggle_off"]
