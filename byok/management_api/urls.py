"""Addresses of the management of keys and of an organization's own providers."""

from __future__ import annotations

from django.urls import path

import byok.management_api.converters  # noqa: F401 - registers the converter that stands below
from byok.management_api.credentials import (
    CredentialDiscoverView,
    CredentialsView,
    CredentialTestView,
    CredentialView,
)
from byok.management_api.custom_providers import CustomProvidersView, CustomProviderView
from byok.management_api.own_credentials import (
    OwnCredentialDiscoverView,
    OwnCredentialsView,
    OwnCredentialTestView,
    OwnCredentialView,
)

ORGANIZATION = "api/organizations/<uuid:organization_id>"
KEYS = f"{ORGANIZATION}/byok"
OWN_KEYS = "api/user/byok"

urlpatterns = [
    path(KEYS, CredentialsView.as_view(), name="api-credentials"),
    path(f"{KEYS}/<uuid:credential_id>", CredentialView.as_view(), name="api-credential"),
    path(f"{KEYS}/<uuid:credential_id>/test", CredentialTestView.as_view(), name="api-credential-test"),
    path(f"{KEYS}/<uuid:credential_id>/discover", CredentialDiscoverView.as_view(), name="api-credential-discover"),
    path(f"{ORGANIZATION}/custom-providers", CustomProvidersView.as_view(), name="api-custom-providers"),
    path(
        f"{ORGANIZATION}/custom-providers/<custom_provider:provider_id>",
        CustomProviderView.as_view(),
        name="api-custom-provider",
    ),
    path(OWN_KEYS, OwnCredentialsView.as_view(), name="api-own-credentials"),
    path(f"{OWN_KEYS}/<uuid:own_credential_id>", OwnCredentialView.as_view(), name="api-own-credential"),
    path(f"{OWN_KEYS}/<uuid:own_credential_id>/test", OwnCredentialTestView.as_view(), name="api-own-credential-test"),
    path(
        f"{OWN_KEYS}/<uuid:own_credential_id>/discover",
        OwnCredentialDiscoverView.as_view(),
        name="api-own-credential-discover",
    ),
]
