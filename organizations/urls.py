"""Addresses of people and organizations: pages, and what clients read. An id that is none gets a stranger's 404."""

from __future__ import annotations

from django.urls import URLPattern, URLResolver, include, path

from organizations.api import OrganizationView, UserView
from organizations.device_api import DeviceCodesView, DeviceCodeView

urlpatterns: list[URLPattern | URLResolver] = [
    path("", include("organizations.management_api.urls")),
    path("", include("organizations.pages.urls")),
    path("", include("organizations.accounts.urls")),
    path("api/device-auth/codes", DeviceCodesView.as_view(), name="api-device-codes"),
    path("api/device-auth/codes/<str:code>", DeviceCodeView.as_view(), name="api-device-code"),
    path("api/user", UserView.as_view(), name="api-user"),
    path("api/organizations/<str:organization_id>", OrganizationView.as_view(), name="api-organization"),
]
