"""Addresses of the pages about provider keys, an organization's and a person's own, and custom providers."""

from __future__ import annotations

from django.urls import path

import byok.management_api.converters  # noqa: F401 - registers the converter that stands below
from byok.pages import custom_providers, keys, own_keys

KEYS = "organizations/<uuid:organization_id>/byok"
KEY = f"{KEYS}/<uuid:credential_id>"
CUSTOM = f"{KEYS}/custom-providers"
OWN_KEYS = "account/provider-keys"
OWN_KEY = f"{OWN_KEYS}/<uuid:own_credential_id>"

urlpatterns = [
    path(KEYS, keys.keys, name="provider-keys"),
    path(f"{KEYS}/add", keys.key_add, name="provider-key-add"),
    path(KEY, keys.key, name="provider-key"),
    path(f"{KEY}/replace", keys.key_replace, name="provider-key-replace"),
    path(f"{KEY}/test", keys.key_test, name="provider-key-test"),
    path(f"{KEY}/discover", keys.key_discover, name="provider-key-discover"),
    path(f"{KEY}/enabled", keys.key_enabled, name="provider-key-enabled"),
    path(f"{KEY}/delete", keys.key_delete, name="provider-key-delete"),
    path(f"{CUSTOM}/add", custom_providers.provider_add, name="custom-provider-add"),
    path(
        f"{CUSTOM}/<custom_provider:provider_id>",
        custom_providers.provider_edit,
        name="custom-provider",
    ),
    path(
        f"{CUSTOM}/<custom_provider:provider_id>/delete",
        custom_providers.provider_delete,
        name="custom-provider-delete",
    ),
    path(f"{OWN_KEYS}/add", own_keys.key_add, name="own-provider-key-add"),
    path(OWN_KEY, own_keys.key, name="own-provider-key"),
    path(f"{OWN_KEY}/replace", own_keys.key_replace, name="own-provider-key-replace"),
    path(f"{OWN_KEY}/test", own_keys.key_test, name="own-provider-key-test"),
    path(f"{OWN_KEY}/discover", own_keys.key_discover, name="own-provider-key-discover"),
    path(f"{OWN_KEY}/enabled", own_keys.key_enabled, name="own-provider-key-enabled"),
    path(f"{OWN_KEY}/delete", own_keys.key_delete, name="own-provider-key-delete"),
]
