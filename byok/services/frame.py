"""What every change of keys has in common, whoever owns them: one transaction, one lock, the acting person's rights.

An organization's keys are changed under the lock of its row, and every change that a request could notice raises its
routing version. A person's own keys are his alone and are part of no organization's routing; the lock is on his row.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final
from uuid import UUID

from django.db import transaction
from django.db.models import QuerySet
from django.http import Http404

from byok.custom_providers import opened_headers
from byok.dependents import byok_dependents, note_broken_routes, require_confirmation
from byok.encryption import OwnerKind, SealedSecret, SecretOwner
from byok.keys import keyring
from byok.models import Credential
from byok.providers import Headers, Provider
from byok.selectors import provider_for
from kilo_gateway.secret import Secret
from organizations import audit, frame
from organizations.acting import Acting
from organizations.models import AuditAction, Organization, User
from organizations.permissions import Ability
from organizations.refusals import invalid
from organizations.services import lock_same_user, lock_user, routing_version_raise

WHO_MANAGES: Final = "Only owners, admins and billing managers manage provider keys."


@dataclass(slots=True)
class KeyChange:
    """A change in the making of the keys of one owner, whose row is locked; `organization` is None for a person."""

    owner: SecretOwner
    acting: Acting
    organization: Organization | None

    @property
    def rows(self) -> QuerySet[Credential]:
        """The owner's keys and nobody else's."""
        if self.organization is not None:
            return Credential.objects.filter(organization=self.organization)
        return Credential.objects.filter(user_id=self.owner.id)

    def locked(self, credential_id: UUID) -> Credential:
        """One of them, locked; raises `Http404`. Its `organization` is the locked one."""
        row = self.rows.select_for_update().filter(pk=credential_id).first()
        if row is None:
            raise Http404
        if self.organization is not None:
            row.organization = self.organization
        return row

    def provider(self, provider_id: str) -> Provider:
        """The provider with this id that the owner can have a key for; raises 400."""
        found = provider_for(self._organization_id, provider_id)
        if found is None:
            raise invalid("provider", "There is no provider with this id.", code="unknown_provider")
        return found

    @property
    def _organization_id(self) -> UUID | None:
        return self.organization.pk if self.organization is not None else None

    def require_unbroken(self, provider: str, *, told: str, confirmed: bool) -> None:
        """Raises 409 `routes_would_break` when something depends on the key; see `require_confirmation`."""
        if self.organization is not None:
            require_confirmation(byok_dependents(self.organization, provider), told=told, confirmed=confirmed)

    def record(self, action: AuditAction, credential: Credential, told: str, changes: audit.Changes) -> None:
        """One audit row: the provider and the last four characters are in its message."""
        audit.record(
            action,
            organization=self.organization,
            actor=self.acting.actor,
            message=f"Key of {credential.provider} (…{credential.last_four}) {told}",
            changes=changes,
            target_kind="credential",
            target_id=str(credential.pk),
        )

    def commit(self) -> None:
        """After the rows are written: from the next request on they count, and routes that broke are noted."""
        if self.organization is not None:
            routing_version_raise(self.organization)
            note_broken_routes(self.organization)


@contextmanager
def changing_keys(owner: SecretOwner, acting: Acting) -> Iterator[KeyChange]:
    """One transaction under the owner's lock.

    Raises:
        Http404: no such organization or the person does not belong to it; or another person's own keys.
        GatewayError: 403 `role_required`; 412 when the routing version is not the expected one; 401 `signed_out` when
            the person's own access has ended since he was let in, for example while a provider was asked.
    """
    if owner.kind is OwnerKind.ORGANIZATION:
        with frame.changing(owner.id, acting) as change:
            change.require(Ability.MANAGE_CREDENTIALS, WHO_MANAGES)
            yield KeyChange(owner, acting, change.organization)
        return
    if acting.user is not None and acting.user.pk != owner.id:
        raise Http404
    with transaction.atomic():
        if acting.user is not None:
            lock_same_user(acting.user)
        else:
            _lock_owner(owner)
        yield KeyChange(owner, acting, None)


def _lock_owner(owner: SecretOwner) -> None:
    try:
        lock_user(owner.id)
    except User.DoesNotExist:
        raise Http404 from None


def seal(credential: Credential, secret: Secret, owner: SecretOwner) -> None:
    """Put a secret into a row that is yet to be saved."""
    sealed = keyring().encrypt(secret, owner=owner, provider_id=credential.provider)
    credential.key_id, credential.ciphertext = sealed.key_id, sealed.ciphertext
    credential.last_four = secret.last_four


def opened(credential: Credential, owner: SecretOwner) -> Secret:
    """The stored secret; raises `UndecryptableSecret`."""
    sealed = SealedSecret(credential.key_id, bytes(credential.ciphertext))
    return keyring().decrypt(sealed, owner=owner, provider_id=credential.provider)


def own_headers(provider: Provider, owner: SecretOwner) -> Headers:
    """The headers that an organization wants its own provider to get; raises `UndecryptableSecret`."""
    return tuple((name, value.reveal()) for name, value in opened_headers(owner.id, provider).items())
