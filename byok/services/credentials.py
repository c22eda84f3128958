"""Storing, replacing, enabling, disabling and deleting keys, an organization's or a person's own.

Each function is one transaction under the owner's lock, with an audit row for each thing it changes; doing what is
already so writes nothing. None of them calls the network under a lock: a new key's models are read before it is stored,
with ten seconds at most, and a list that cannot be read keeps no key from being stored.

All raise `Http404` for what is not the acting person's, and `GatewayError`: 403 `role_required`, 400 for a value that
is none, 409 for what the current state does not allow, 412 when the routing version has moved on.
"""

from __future__ import annotations

import re
from typing import Final
from uuid import UUID

from django.http import Http404

from byok.encryption import SecretOwner, UndecryptableSecret
from byok.models import Credential
from byok.providers import Provider
from byok.selectors import has_been_elsewhere, owner_of
from byok.services.frame import KeyChange, changing_keys, opened, seal
from byok.services.models_read import ModelsRead
from kilo_gateway.secret import Secret
from organizations import audit
from organizations.acting import Acting
from organizations.models import AuditAction
from organizations.refusals import conflict, invalid

MAX_KEY_LENGTH: Final = 4096
_SENDABLE: Final = re.compile(r"[!-~]+")


def valid_api_key(text: str) -> Secret:
    """A provider's key, trimmed; raises 400 for what no header could carry. The message shows nothing of it."""
    key = text.strip()
    if not key:
        raise invalid("api_key", "A key is required.")
    if len(key) > MAX_KEY_LENGTH:
        raise invalid("api_key", f"A key has at most {MAX_KEY_LENGTH} characters.")
    if key.lower().startswith("bearer "):
        raise invalid("api_key", 'Leave "Bearer" out: only the key itself is stored.')
    if not _SENDABLE.fullmatch(key):
        raise invalid(
            "api_key", "A key has no spaces, no line breaks and only ASCII characters: look at what was copied."
        )
    return Secret(key)


def credential_create(*, owner: SecretOwner, acting: Acting, provider_id: str, api_key: str) -> Credential:
    """Store a key for a provider for which the owner has none yet, enabled, with the models that it can use.

    Raises:
        GatewayError: 409 `credential_exists`; for a custom provider `changed_meanwhile` when it was moved while it was
            asked for its models, and `provider_moved` when it has been at another origin and the routing version that
            was seen is not told: the key may be meant for where it was. Besides what is said above.
    """
    secret = valid_api_key(api_key)
    with changing_keys(owner, acting) as change:
        asked = _free_provider(change, provider_id)
    models = ModelsRead.of(asked, secret, owner)
    with changing_keys(owner, acting) as change:
        provider = _free_provider(change, provider_id)
        if provider.base_url != asked.base_url:
            raise conflict("The provider was moved while it was asked. Look at it again.", code="changed_meanwhile")
        credential = Credential(provider=provider.id, organization=change.organization)
        if change.organization is None:
            credential.user_id = owner.id
        seal(credential, secret, owner)
        models.keep(credential)
        credential.save(force_insert=True)
        changes = {"last_four": (None, credential.last_four), "is_enabled": (None, True)}
        change.record(AuditAction.BYOK_CREATED, credential, "stored", changes)
        change.commit()
        return credential


def _free_provider(change: KeyChange, provider_id: str) -> Provider:
    provider = change.provider(provider_id.strip().lower())
    if change.rows.filter(provider=provider.id).exists():
        raise conflict(f"There is a key for {provider.name} already: replace it.", code="credential_exists")
    if provider.is_custom and change.acting.expected_version is None and has_been_elsewhere(change.owner.id, provider):
        raise conflict(
            f"{provider.id} was moved and is at {provider.base_url} now. If the key is meant for that, send the "
            "routing version at which you have seen it as If-Match.",
            code="provider_moved",
        )
    return provider


def credential_update(
    *,
    owner: SecretOwner,
    acting: Acting,
    credential_id: UUID,
    api_key: str | None = None,
    is_enabled: bool | None = None,
    confirm_broken_routes: bool = False,
) -> Credential:
    """Replace the secret, enable or disable, or both; None leaves what is there. A disabled key counts as none.

    Raises:
        GatewayError: 409 `routes_would_break` with what depends on it, when it is to be disabled without confirmation;
            409 `changed_meanwhile` when the stored key, which is to be kept, was replaced by another at the same time.
    """
    secret = None if api_key is None else valid_api_key(api_key)
    models: ModelsRead | None = None
    if secret is not None:
        with changing_keys(owner, acting) as change:
            credential = change.locked(credential_id)
            provider = change.provider(credential.provider)
        if not _holds(credential, secret, owner):
            models = ModelsRead.of(provider, secret, owner)
    with changing_keys(owner, acting) as change:
        credential = change.locked(credential_id)
        wrote = False
        if secret is not None and not _holds(credential, secret, owner):
            if models is None:
                # It was the stored one a moment ago, so its models were not read; those of the other key are not its.
                raise conflict("The key was replaced meanwhile. Look at it again.", code="changed_meanwhile")
            _replace(change, credential, secret, models)
            wrote = True
        if is_enabled is not None and is_enabled != credential.is_enabled:
            _switch(change, credential, on=is_enabled, confirmed=confirm_broken_routes)
            wrote = True
        if wrote:
            credential.save()
            change.commit()
        return credential


def _replace(change: KeyChange, credential: Credential, secret: Secret, models: ModelsRead) -> None:
    before = credential.last_four
    seal(credential, secret, change.owner)
    # What was found out about the former secret says nothing about this one.
    credential.last_tested_at = credential.last_test_status = None
    credential.last_test_result = credential.last_test_message = ""
    credential.last_refused_at = credential.last_refusal_status = None
    models.keep(credential)
    changes = {"last_four": (before, credential.last_four)}
    change.record(AuditAction.BYOK_REPLACED, credential, f"replaced (was …{before})", changes)


def _switch(change: KeyChange, credential: Credential, *, on: bool, confirmed: bool) -> None:
    if not on:
        told = f"Disabling the key of {credential.provider}"
        change.require_unbroken(credential.provider, told=told, confirmed=confirmed)
    credential.is_enabled = on
    action = AuditAction.BYOK_ENABLED if on else AuditAction.BYOK_DISABLED
    change.record(action, credential, "enabled" if on else "disabled", {"is_enabled": (not on, on)})


def credential_delete(
    *, owner: SecretOwner, acting: Acting, credential_id: UUID, confirm_broken_routes: bool = False
) -> Credential:
    """Delete a key for good. Routes to its provider stay as they are stored, and are broken until there is a key again.

    Raises:
        GatewayError: 409 `routes_would_break` with what depends on it, unless that was confirmed.

    Returns:
        The row as it was.
    """
    with changing_keys(owner, acting) as change:
        credential = change.locked(credential_id)
        told = f"Deleting the key of {credential.provider}"
        change.require_unbroken(credential.provider, told=told, confirmed=confirm_broken_routes)
        delete_locked(change, credential)
        change.commit()
        return credential


def delete_locked(change: KeyChange, credential: Credential) -> None:
    """Delete a locked key as a part of a change that goes further; the caller commits."""
    credential_id = credential.pk
    credential.delete()
    credential.pk = credential_id
    changes = {"last_four": (credential.last_four, None), "is_enabled": (credential.is_enabled, None)}
    change.record(AuditAction.BYOK_DELETED, credential, "deleted", changes)


def own_credentials_delete(*, user_id: UUID, actor: audit.Actor) -> None:
    """Delete all keys of a person's own, each with its audit row."""
    with changing_keys(SecretOwner.user(user_id), Acting(actor)) as change:
        for credential in change.rows.select_for_update().order_by("pk"):
            delete_locked(change, credential)


def credential_disable(*, credential_id: UUID, actor: audit.Actor) -> Credential:
    """What staff may do with anybody's key: stop using it, from the next request on. It stays stored.

    Raises:
        Http404: there is none with this id.
    """
    stored = Credential.objects.filter(pk=credential_id).only("organization_id", "user_id").first()
    if stored is None:
        raise Http404
    return credential_update(
        owner=owner_of(stored),
        acting=Acting(actor),
        credential_id=credential_id,
        is_enabled=False,
        confirm_broken_routes=True,
    )


def _holds(credential: Credential, secret: Secret, owner: SecretOwner) -> bool:
    """Whether a key is the stored one; one that cannot be opened is no key at all."""
    try:
        return opened(credential, owner) == secret
    except UndecryptableSecret:
        return False
