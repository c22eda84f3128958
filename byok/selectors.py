"""Reading credentials and custom providers, without ever decrypting anything."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from uuid import UUID

from django.db.models import QuerySet
from django.http import Http404

from byok.addresses import origin_of
from byok.custom_providers import as_provider
from byok.encryption import OwnerKind, SealedSecret, SecretOwner
from byok.models import Credential, CustomProvider
from byok.providers import PROVIDERS, Provider
from organizations.models import AuditAction, AuditLog


@dataclass(frozen=True, slots=True)
class StoredCredential:
    """An enabled credential as a request needs it: still sealed, for its owner."""

    id: UUID
    owner: SecretOwner
    provider_id: str
    sealed: SealedSecret
    offered_models: tuple[str, ...] | None


_NEEDED = ("id", "organization_id", "user_id", "provider", "key_id", "ciphertext", "offered_models")


def enabled_credentials(organization_id: UUID) -> dict[str, StoredCredential]:
    """The organization's own enabled credentials by provider id; one query. A person's are never among them."""
    rows = Credential.objects.filter(organization_id=organization_id, is_enabled=True).only(*_NEEDED)
    return {row.provider: _stored(row) for row in rows}


def personal_credentials(user_id: UUID) -> dict[str, StoredCredential]:
    """A person's own enabled credentials by provider id, for requests that are for no organization; one query."""
    rows = Credential.objects.filter(user_id=user_id, is_enabled=True).only(*_NEEDED)
    return {row.provider: _stored(row) for row in rows}


def credentials_of(owner: SecretOwner) -> list[Credential]:
    """All credentials of an owner by provider, enabled or not, without their secrets; one query."""
    return list(_rows_of(owner).order_by("provider"))


def credential_or_404(owner: SecretOwner, credential_id: UUID) -> Credential:
    """One of them; raises `Http404`. One query."""
    row = _rows_of(owner).filter(pk=credential_id).first()
    if row is None:
        raise Http404
    return row


def _rows_of(owner: SecretOwner) -> QuerySet[Credential]:
    rows = Credential.objects.defer("ciphertext")
    if owner.kind is OwnerKind.ORGANIZATION:
        return rows.filter(organization_id=owner.id)
    return rows.filter(user_id=owner.id)


def offered_models(credential: StoredCredential | None, provider: Provider | None) -> tuple[str, ...] | None:
    """The models that a key can use, in the provider's spelling; None where any is taken."""
    discovered = credential.offered_models if credential is not None else None
    return with_written(discovered, [model.id for model in provider.models] if provider is not None else ())


def with_written(discovered: Sequence[str] | None, written: Sequence[str]) -> tuple[str, ...] | None:
    """The discovered models and, last, those written down by hand: of two spellings the last is the stronger one.

    None where there are neither: then any model is taken.
    """
    if discovered is None and not written:
        return None
    return (*(discovered or ()), *written)


def custom_provider_rows(organization_id: UUID) -> list[CustomProvider]:
    """The organization's own providers by id, each with its headers; one query, two when there are any."""
    rows = CustomProvider.objects.filter(organization_id=organization_id).prefetch_related("headers")
    return list(rows.order_by("provider_id"))


def custom_provider_or_404(organization_id: UUID, provider_id: str) -> CustomProvider:
    """One of them, with its headers and the organization; raises `Http404`. Two queries."""
    rows = CustomProvider.objects.filter(organization_id=organization_id, provider_id=provider_id)
    rows = rows.select_related("organization")
    row = rows.prefetch_related("headers").first()
    if row is None:
        raise Http404
    return row


def custom_providers(organization_id: UUID) -> dict[str, Provider]:
    """The organization's own providers by id; one query, two when there are any."""
    return {row.provider_id: as_provider(row) for row in custom_provider_rows(organization_id)}


def providers_of(organization_id: UUID) -> Mapping[str, Provider]:
    """The registry and the organization's own providers, by id; one query, two when there are any."""
    own = custom_providers(organization_id)
    return {**PROVIDERS, **own} if own else PROVIDERS


def provider_for(organization_id: UUID | None, provider_id: str) -> Provider | None:
    """A provider of the registry, or one of the organization's own; None is a person, who has none of his own."""
    if (provider := PROVIDERS.get(provider_id)) is not None or organization_id is None:
        return provider
    try:
        return as_provider(custom_provider_or_404(organization_id, provider_id))
    except Http404:
        return None


def owner_of(row: Credential) -> SecretOwner:
    """Whose a credential is."""
    if row.organization_id is not None:
        return SecretOwner.organization(row.organization_id)
    if row.user_id is None:
        raise ValueError("a credential belongs to an organization or to a person")
    return SecretOwner.user(row.user_id)


def _stored(row: Credential) -> StoredCredential:
    sealed = SealedSecret(key_id=row.key_id, ciphertext=bytes(row.ciphertext))
    return stored_credential(row.id, owner_of(row), row.provider, sealed, row.offered_models)


def stored_credential(
    credential_id: UUID,
    owner: SecretOwner,
    provider_id: str,
    sealed: SealedSecret,
    offered_models: Sequence[object] | None,
) -> StoredCredential:
    """What the columns of a row say."""
    offered = None if offered_models is None else tuple(str(model) for model in offered_models)
    return StoredCredential(credential_id, owner, provider_id, sealed, offered)


def has_been_elsewhere(organization_id: UUID, provider: Provider) -> bool:
    """Whether a custom provider with this id has ever been at another origin, deleted ones included.

    The audit log knows. One query, over what was done to custom providers.
    """
    actions = (
        AuditAction.CUSTOM_PROVIDER_CREATED,
        AuditAction.CUSTOM_PROVIDER_UPDATED,
        AuditAction.CUSTOM_PROVIDER_DELETED,
    )
    rows = AuditLog.objects.filter(organization_id=organization_id, action__in=actions, target_id=provider.id)
    told = rows.filter(changes__has_key="base_url").values_list("changes__base_url", flat=True)
    here = origin_of(provider.base_url)
    return any(url is not None and origin_of(url) != here for both in told for url in both)
