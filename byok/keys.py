"""The installation's keyring, read once from the settings."""

from __future__ import annotations

from functools import cache

from django.conf import settings

from byok.encryption import Keyring


@cache
def keyring() -> Keyring:
    """The keys of `CREDENTIAL_KEYS`; the settings have checked that they parse."""
    return Keyring.from_text(settings.CREDENTIAL_KEYS)
