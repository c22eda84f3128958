"""Reading credentials, without ever decrypting one."""

from __future__ import annotations

from dataclasses import dataclass
from uuid import UUID

from byok.encryption import SealedSecret
from byok.models import Credential


@dataclass(frozen=True, slots=True)
class StoredCredential:
    """An enabled credential as a request needs it: still sealed."""

    id: UUID
    provider_id: str
    sealed: SealedSecret
    offered_models: tuple[str, ...] | None


def enabled_credentials(organization_id: UUID) -> dict[str, StoredCredential]:
    """The organization's own enabled credentials by provider id; one query. A person's are never among them."""
    rows = Credential.objects.filter(organization_id=organization_id, is_enabled=True).only(
        "id", "provider", "key_id", "ciphertext", "offered_models"
    )
    return {row.provider: _stored(row) for row in rows}


def _stored(row: Credential) -> StoredCredential:
    offered = row.offered_models
    return StoredCredential(
        id=row.id,
        provider_id=row.provider,
        sealed=SealedSecret(key_id=row.key_id, ciphertext=bytes(row.ciphertext)),
        offered_models=None if offered is None else tuple(str(model) for model in offered),
    )
