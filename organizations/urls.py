"""Addresses of what clients read about people and organizations. An id that is none gets the same 404 as a stranger."""

from __future__ import annotations

from django.urls import URLPattern, URLResolver, include, path

from organizations.api import OrganizationView, UserView

urlpatterns: list[URLPattern | URLResolver] = [
    path("", include("organizations.management_api.urls")),
    path("api/user", UserView.as_view(), name="api-user"),
    path("api/organizations/<str:organization_id>", OrganizationView.as_view(), name="api-organization"),
]
