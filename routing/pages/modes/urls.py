"""Addresses of the pages about modes."""

from __future__ import annotations

from django.urls import path

import organizations.management_api.converters  # noqa: F401 - registers the converters that stand below
from routing.pages.modes import editing, listing, removing, routes

MODES = "organizations/<uuid:organization_id>/modes"

urlpatterns = [
    path(MODES, listing.modes, name="modes"),
    path(f"{MODES}/new", editing.mode_new, name="mode-new"),
    path(f"{MODES}/<uuid:mode_id>", editing.mode, name="mode"),
    path(f"{MODES}/<uuid:mode_id>/remove", removing.mode_remove, name="mode-remove"),
    path(f"{MODES}/built-in/<mode_slug:slug>", editing.mode_built_in, name="mode-built-in"),
    path(f"{MODES}/new-route", routes.mode_route_new, name="mode-route-new"),
    path(f"{MODES}/routes/<mode_slug:slug>", routes.mode_route_edit, name="mode-route"),
]
