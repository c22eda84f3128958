"""Addresses of the Overview, of Explain, of the history and of single requests."""

from __future__ import annotations

from django.urls import path
from django.views.generic import RedirectView

import organizations.management_api.converters  # noqa: F401 - registers the converter that stands below
from organizations.pages.urls import ORGANIZATION
from routing.pages import explain, history, overview, receipt

urlpatterns = [
    path(ORGANIZATION, RedirectView.as_view(pattern_name="overview", http_method_names=["get", "head"])),
    path(f"{ORGANIZATION}/", overview.overview, name="overview"),
    path(f"{ORGANIZATION}/explain", explain.explain_page, name="explain"),
    path(f"{ORGANIZATION}/history", history.history, name="history"),
    path(f"{ORGANIZATION}/history/<version:version>", history.version_page, name="history-version"),
    path(f"{ORGANIZATION}/history/<version:version>/restore", history.restore, name="history-restore"),
    path(f"{ORGANIZATION}/usage/requests/<uuid:request_id>", receipt.receipt, name="request-receipt"),
]
