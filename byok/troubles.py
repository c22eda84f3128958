"""Stored provider keys of which it is known that requests with them fail."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from uuid import UUID

from byok.encryption import SealedSecret, UndecryptableSecret
from byok.key_check import KeyResult
from byok.keys import keyring
from byok.models import Credential
from byok.selectors import owner_of


class Trouble(StrEnum):
    """What is wrong with a key."""

    REFUSED = "refused"
    UNREADABLE = "unreadable"


@dataclass(frozen=True, slots=True)
class KeyState:
    """An enabled key; `trouble` is None for one of which nothing bad is known."""

    credential: Credential
    trouble: Trouble | None


def key_states(organization_id: UUID) -> list[KeyState]:
    """The organization's enabled keys by provider, each tried whether it opens. One query."""
    rows = Credential.objects.filter(organization_id=organization_id, is_enabled=True).order_by("provider")
    return [KeyState(row, _trouble(row)) for row in rows]


def _trouble(row: Credential) -> Trouble | None:
    sealed = SealedSecret(key_id=row.key_id, ciphertext=bytes(row.ciphertext))
    try:
        keyring().decrypt(sealed, owner=owner_of(row), provider_id=row.provider)
    except UndecryptableSecret:
        return Trouble.UNREADABLE
    if row.last_tested_at is not None and (row.last_refused_at is None or row.last_tested_at > row.last_refused_at):
        return Trouble.REFUSED if row.last_test_result == KeyResult.REFUSED else None
    if row.last_refused_at is None:
        return None
    # The last use is kept to the minute: one that is later was not refused.
    is_newest = row.last_used_at is None or row.last_used_at <= row.last_refused_at
    return Trouble.REFUSED if is_newest else None
