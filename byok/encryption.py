"""Encryption of credentials at rest: AES-256-GCM, bound to their owner and provider.

A sealed secret decrypts only for the owner kind, owner, provider and purpose that it was sealed for, so a row that is
copied or moved in the database is worth nothing. The keys come from `CREDENTIAL_KEYS`; see `Keyring.from_text`.
"""

from __future__ import annotations

import base64
import binascii
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from functools import lru_cache
from typing import Final, Self, final
from uuid import UUID

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from kilo_gateway.secret import Secret

KEY_BYTES: Final = 32
NONCE_BYTES: Final = 12
TAG_BYTES: Final = 16

# What a ciphertext is bound to starts with this; a change of the encoding below gets another number.
BINDING_VERSION: Final = b"kilo-gateway/credential/1"

# Shorter than the base64 of a key (44), so a key pasted in the place of its id is never taken for one.
KEY_ID: Final = re.compile(r"[A-Za-z0-9._-]{1,32}", re.ASCII)

API_KEY: Final = "api_key"


class CredentialKeysError(ValueError):
    """The text of `CREDENTIAL_KEYS` is malformed. The message says which entry and why, and shows nothing of it."""


class NoCredentialKeysError(CredentialKeysError):
    """There is no key at all."""


class MalformedKeyEntryError(CredentialKeysError):
    """An entry is not `id:key`, or its id is not acceptable."""


class BadKeyMaterialError(CredentialKeysError):
    """An entry's key is not the base64 of 32 bytes."""


class DuplicateKeyIdError(CredentialKeysError):
    """Two entries have the same id, so a stored key id would not say which of them it means."""


class Undecryptable(StrEnum):
    """Why a sealed secret cannot be opened."""

    UNKNOWN_KEY_ID = "unknown_key_id"
    TRUNCATED = "truncated"
    AUTHENTICATION_FAILED = "authentication_failed"


_EXPLANATIONS: Final[Mapping[Undecryptable, str]] = {
    Undecryptable.UNKNOWN_KEY_ID: "CREDENTIAL_KEYS has no key with the id {key_id}",
    Undecryptable.TRUNCATED: "the ciphertext is too short (key id {key_id})",
    Undecryptable.AUTHENTICATION_FAILED: (
        "the ciphertext was changed, or belongs to another owner, provider or key (key id {key_id})"
    ),
}


class UndecryptableSecret(Exception):
    """A sealed secret cannot be opened; `reason` says why, in a word that may be stored and shown."""

    def __init__(self, reason: Undecryptable, key_id: str) -> None:
        super().__init__(_EXPLANATIONS[reason].format(key_id=repr(key_id[:32])))
        self.reason = reason


class OwnerKind(StrEnum):
    """Who can own a credential."""

    ORGANIZATION = "organization"
    USER = "user"


@dataclass(frozen=True, slots=True)
class SecretOwner:
    """The organization or the user that a secret belongs to."""

    kind: OwnerKind
    id: UUID

    @classmethod
    def organization(cls, organization_id: UUID | str) -> Self:
        """The owner of an organization's credentials."""
        return cls(OwnerKind.ORGANIZATION, _uuid(organization_id))

    @classmethod
    def user(cls, user_id: UUID | str) -> Self:
        """The owner of a person's own credentials."""
        return cls(OwnerKind.USER, _uuid(user_id))


@dataclass(frozen=True, slots=True)
class SealedSecret:
    """An encrypted secret as it is stored: the id of its key, and nonce, ciphertext and tag in one piece."""

    key_id: str
    ciphertext: bytes = field(repr=False)


@final
class Keyring:
    """The installation's credential keys: the first encrypts, all decrypt. Safe to share between threads."""

    __slots__ = ("_ciphers", "_primary")

    def __init__(self, keys: Mapping[str, bytes]) -> None:
        """Takes keys of 32 bytes by their id, in order. Configuration comes in through `from_text`."""
        if not keys:
            raise NoCredentialKeysError("CREDENTIAL_KEYS is empty: at least one id:key is needed")
        self._ciphers = {key_id: AESGCM(material) for key_id, material in keys.items()}
        self._primary = next(iter(keys))

    @classmethod
    def from_text(cls, text: str) -> Self:
        """Reads `id:base64-of-32-bytes`, comma-separated. Raises a `CredentialKeysError` that is one line."""
        if not text.strip():
            raise NoCredentialKeysError("CREDENTIAL_KEYS is empty: at least one id:key is needed")
        keys: dict[str, bytes] = {}
        for position, entry in enumerate(text.split(","), start=1):
            key_id, material = _parsed_entry(entry.strip(), position)
            if key_id in keys:
                earlier = list(keys).index(key_id) + 1
                raise DuplicateKeyIdError(f"CREDENTIAL_KEYS: entries {earlier} and {position} have the same id")
            keys[key_id] = material
        return cls(keys)

    @property
    def primary_key_id(self) -> str:
        """The id of the key that encrypts."""
        return self._primary

    @property
    def key_ids(self) -> tuple[str, ...]:
        """The ids of all keys, the encrypting one first."""
        return tuple(self._ciphers)

    def encrypt(self, secret: Secret, *, owner: SecretOwner, provider_id: str, purpose: str = API_KEY) -> SealedSecret:
        """Seals a secret for one owner, provider and purpose (the provider's key, or a header of a custom provider)."""
        nonce = os.urandom(NONCE_BYTES)
        # The plaintext gets no name of its own: names of this frame could be shown by a tool that prints tracebacks.
        ciphertext = self._ciphers[self._primary].encrypt(
            nonce, secret.reveal().encode("utf-8", "surrogatepass"), _binding(owner, provider_id, purpose)
        )
        return SealedSecret(self._primary, nonce + ciphertext)

    def decrypt(self, sealed: SealedSecret, *, owner: SecretOwner, provider_id: str, purpose: str = API_KEY) -> Secret:
        """Opens a sealed secret for whom it was sealed; raises `UndecryptableSecret` otherwise."""
        cipher = self._ciphers.get(sealed.key_id)
        if cipher is None:
            raise UndecryptableSecret(Undecryptable.UNKNOWN_KEY_ID, sealed.key_id)
        # A binary column may come from the database driver as a memoryview.
        stored = bytes(sealed.ciphertext)
        if len(stored) < NONCE_BYTES + TAG_BYTES:
            raise UndecryptableSecret(Undecryptable.TRUNCATED, sealed.key_id)
        binding = _binding(owner, provider_id, purpose)
        try:
            return Secret(
                cipher.decrypt(stored[:NONCE_BYTES], stored[NONCE_BYTES:], binding).decode("utf-8", "surrogatepass")
            )
        except InvalidTag:
            raise UndecryptableSecret(Undecryptable.AUTHENTICATION_FAILED, sealed.key_id) from None

    def needs_rotation(self, sealed: SealedSecret) -> bool:
        """Whether the secret is sealed with another key than the one that encrypts now."""
        return sealed.key_id != self._primary

    def __repr__(self) -> str:
        return f"Keyring(key_ids={self.key_ids!r})"


def generate_key(key_id: str) -> str:
    """A new random key as an entry for `CREDENTIAL_KEYS`."""
    if not KEY_ID.fullmatch(key_id):
        raise MalformedKeyEntryError("a key id is 1 to 32 letters, digits, dots, underscores or hyphens")
    return f"{key_id}:{base64.b64encode(os.urandom(KEY_BYTES)).decode('ascii')}"


def _parsed_entry(entry: str, position: int) -> tuple[str, bytes]:
    # Errors name an entry by its position only: in a malformed entry any part may be the key.
    where = f"CREDENTIAL_KEYS: entry {position}"
    key_id, separator, encoded = entry.partition(":")
    if not separator:
        raise MalformedKeyEntryError(f"{where} is {'not id:key' if entry else 'empty'}")
    if not KEY_ID.fullmatch(key_id):
        raise MalformedKeyEntryError(
            f"{where} has a bad id: 1 to 32 letters, digits, dots, underscores or hyphens before the colon"
        )
    try:
        # Keys made with the URL-safe alphabet are the same bytes.
        material = base64.b64decode(encoded.replace("-", "+").replace("_", "/"), validate=True)
    except (binascii.Error, ValueError):
        raise BadKeyMaterialError(f"{where} has a key that is not valid base64") from None
    if len(material) != KEY_BYTES:
        raise BadKeyMaterialError(f"{where} has a key of {len(material)} bytes; it must be {KEY_BYTES}")
    return key_id, material


@lru_cache(maxsize=1024)
def _binding(owner: SecretOwner, provider_id: str, purpose: str) -> bytes:
    """What the ciphertext is bound to. Each part is preceded by its length, so no two sets of parts look the same."""
    parts = (owner.kind.value, str(owner.id), provider_id, purpose)
    encoded = [part.encode("utf-8", "surrogatepass") for part in parts]
    return BINDING_VERSION + b"".join(len(part).to_bytes(4, "big") + part for part in encoded)


def _uuid(value: UUID | str) -> UUID:
    return value if isinstance(value, UUID) else UUID(value)
