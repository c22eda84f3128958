"""Changing stored credentials: each change takes the lock on the organization's row first, is audited, and is one
transaction.
"""

from __future__ import annotations

from uuid import UUID

from django.db import transaction

from byok.models import Credential
from organizations import audit
from organizations.models import AuditAction
from organizations.services import lock_organization, routing_version_raise


@transaction.atomic
def credential_disable(*, credential_id: UUID, actor: audit.Actor) -> Credential:
    """Stop using a key, from the next request on; it stays stored. Nothing happens to one that is disabled.

    Raises:
        Credential.DoesNotExist: there is none with this id.
    """
    organization_id = Credential.objects.values_list("organization_id", flat=True).get(pk=credential_id)
    organization = lock_organization(organization_id) if organization_id is not None else None
    credential = Credential.objects.select_for_update().defer("ciphertext").get(pk=credential_id)
    if not credential.is_enabled:
        return credential
    credential.is_enabled = False
    credential.save(update_fields=["is_enabled", "updated_at"])
    if organization is not None:
        routing_version_raise(organization)
    audit.record(
        AuditAction.BYOK_DISABLED,
        organization=organization,
        actor=actor,
        message=f"Key of {credential.provider} (…{credential.last_four}) disabled",
        changes={"is_enabled": (True, False)},
        target_kind="credential",
        target_id=str(credential.pk),
    )
    return credential
