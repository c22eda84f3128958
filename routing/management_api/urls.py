"""Addresses of the management of routing, below an organization."""

from __future__ import annotations

from django.urls import path

import organizations.management_api.converters  # noqa: F401 - registers the converters that stand below
from routing.management_api.explain import ExplainView
from routing.management_api.history import HistoryView, RestoreView, VersionView
from routing.management_api.model_policy import DataCollectionView, ModelPolicyView
from routing.management_api.modes import ModesView, ModeView
from routing.management_api.organization_auto import DefaultModelView, FallbackView, OrganizationAutoView, RouteView
from routing.management_api.spending_limits import SpendingLimitsView
from routing.management_api.usage import UsageView

ORGANIZATION = "api/organizations/<uuid:organization_id>"

urlpatterns = [
    # Clients read it too: an id that is none gets the same 404 as a stranger.
    path("api/organizations/<str:organization_id>/modes", ModesView.as_view(), name="api-organization-modes"),
    path(f"{ORGANIZATION}/modes/<uuid:mode_id>", ModeView.as_view(), name="api-mode"),
    path(f"{ORGANIZATION}/organization-auto", OrganizationAutoView.as_view(), name="api-organization-auto"),
    path(f"{ORGANIZATION}/organization-auto/routes/<str:slug>", RouteView.as_view(), name="api-route"),
    path(f"{ORGANIZATION}/organization-auto/fallback", FallbackView.as_view(), name="api-fallback"),
    path(f"{ORGANIZATION}/default-model", DefaultModelView.as_view(), name="api-default-model"),
    path(f"{ORGANIZATION}/model-policy", ModelPolicyView.as_view(), name="api-model-policy"),
    path(f"{ORGANIZATION}/data-collection", DataCollectionView.as_view(), name="api-data-collection"),
    path(f"{ORGANIZATION}/explain", ExplainView.as_view(), name="api-explain"),
    path(f"{ORGANIZATION}/history", HistoryView.as_view(), name="api-history"),
    path(f"{ORGANIZATION}/history/<version:version>", VersionView.as_view(), name="api-history-version"),
    path(f"{ORGANIZATION}/history/<version:version>/restore", RestoreView.as_view(), name="api-history-restore"),
    path(f"{ORGANIZATION}/spending-limits", SpendingLimitsView.as_view(), name="api-spending-limits"),
    path(f"{ORGANIZATION}/usage", UsageView.as_view(), name="api-usage"),
]
