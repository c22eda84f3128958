"""The secrets of second factors, sealed in the database like providers' keys."""

from __future__ import annotations

import base64
from typing import Final
from uuid import UUID

from allauth.mfa.adapter import DefaultMFAAdapter

from byok.encryption import Keyring, SealedSecret, SecretOwner
from byok.keys import keyring
from kilo_gateway.secret import Secret

# They are sealed before it is known whose they are, so they are bound to what they are for.
_OWNER: Final = SecretOwner.user(UUID(int=0))
_PURPOSE: Final = "second_factor"
# Where allauth keeps what `SealedSecondFactors.encrypt` gave it.
SEALED_FIELDS: Final = ("secret", "seed")


class SealedSecondFactors(DefaultMFAAdapter):  # type: ignore[misc]  # allauth has no types
    """Sealed as `key id:base64`."""

    def encrypt(self, text: str) -> str:
        return _seal(Secret(text), keyring())

    def decrypt(self, encrypted_text: str) -> str:
        """Raises UndecryptableSecret: whoever cannot be checked does not come in."""
        return _open(_sealed(encrypted_text), keyring()).reveal()


def _seal(secret: Secret, keys: Keyring) -> str:
    sealed = keys.encrypt(secret, owner=_OWNER, provider_id="", purpose=_PURPOSE)
    return f"{sealed.key_id}:{base64.b64encode(sealed.ciphertext).decode('ascii')}"


def _open(sealed: SealedSecret, keys: Keyring) -> Secret:
    return keys.decrypt(sealed, owner=_OWNER, provider_id="", purpose=_PURPOSE)


def _sealed(text: str) -> SealedSecret:
    key_id, _, encoded = text.partition(":")
    return SealedSecret(key_id, base64.b64decode(encoded))


def resealed(text: str, keys: Keyring) -> str | None:
    """A stored secret sealed with the key that encrypts now; None when it is. Raises `UndecryptableSecret`."""
    sealed = _sealed(text)
    secret = _open(sealed, keys)
    return _seal(secret, keys) if keys.needs_rotation(sealed) else None
