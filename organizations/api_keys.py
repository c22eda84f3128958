"""Making API keys and recognizing them."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID, uuid4

from django.db import transaction

from kilo_gateway.secret import Secret
from organizations import audit
from organizations.models import ApiKey, AuditAction, Organization, Scope, User

PREFIX = "kilo_"
MAX_LENGTH = 200


def key_hash(key: str) -> bytes:
    """What the database holds instead of a key. A key is 256 random bits, so a plain hash is as good as a slow one."""
    return hashlib.sha256(key.encode("utf-8", "surrogatepass")).digest()


@dataclass(frozen=True, slots=True)
class NewApiKey:
    """A key just made; `secret` is shown to its owner once and kept nowhere."""

    row: ApiKey
    secret: Secret


@transaction.atomic
def api_key_create(
    *,
    user: User,
    name: str,
    scopes: Sequence[Scope],
    actor: audit.Actor,
    organization: Organization | None = None,
    default_mode: str = "",
    expires_at: datetime | None = None,
    key_id: UUID | None = None,
) -> NewApiKey:
    """Make a key for a person, bound to an organization or not, and note it in the audit log.

    Args:
        key_id: Of the row, where the caller has one that nobody guesses.

    Raises:
        ValidationError: a field has no valid value.
    """
    secret = Secret(f"{PREFIX}{secrets.token_urlsafe(32)}")
    row = ApiKey(
        id=key_id or uuid4(),
        user=user,
        organization=organization,
        name=name.strip(),
        key_hash=key_hash(secret.reveal()),
        prefix=secret.reveal()[: len(PREFIX) + 4],
        last_four=secret.last_four,
        default_mode=default_mode.strip().lower(),
        scopes=[str(scope) for scope in scopes],
        expires_at=expires_at,
    )
    row.full_clean()
    row.save(force_insert=True)
    audit.record(
        AuditAction.API_KEY_CREATED,
        organization=organization,
        actor=actor,
        message=f'API key "{row.name}" (…{row.last_four}) created for {user.email}',
        changes={"scopes": (None, row.scopes), "last_four": (None, row.last_four)},
        target_kind="api_key",
        target_id=str(row.pk),
    )
    return NewApiKey(row, secret)
