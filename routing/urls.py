"""Addresses of what clients read about models; below the proxy's prefixes, what SDKs look for beside it."""

from __future__ import annotations

from django.urls import URLPattern, URLResolver, include, path

from routing import api
from routing.proxy.urls import PREFIXES

urlpatterns: list[URLPattern | URLResolver] = [
    path("", include("routing.management_api.urls")),
    path("", include("routing.pages.urls")),
    path("", include("routing.pages.providers_and_models.urls")),
    path("", include("routing.pages.modes.urls")),
    path("", include("routing.pages.usage.urls")),
    path("api/profile", api.ProfileView.as_view(), name="api-profile"),
    path("api/profile/balance", api.BalanceView.as_view(), name="api-balance"),
    path("api/defaults", api.DefaultsView.as_view(), name="api-defaults"),
    path(
        "api/organizations/<str:organization_id>/models",
        api.OrganizationModelsView.as_view(),
        name="api-organization-models",
    ),
    path(
        "api/organizations/<str:organization_id>/defaults",
        api.OrganizationDefaultsView.as_view(),
        name="api-organization-defaults",
    ),
]
for prefix in PREFIXES:
    urlpatterns += [
        path(f"{prefix}/models", api.ModelsView.as_view()),
        path(f"{prefix}/models/<path:model_id>/endpoints", api.ModelEndpointsView.as_view()),
        path(f"{prefix}/providers", api.ProvidersView.as_view()),
    ]
