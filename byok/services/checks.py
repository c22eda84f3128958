"""Asking providers about stored keys: whether one works, and which models it can use. Ten seconds at most each.

The acting person's rights are looked at first, then the provider is asked without a lock, then the outcome is stored
under it. Both raise `Http404` and `GatewayError` as `byok.services.credentials` says, and 409 `changed_meanwhile` when
the key was replaced while the provider was asked.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from uuid import UUID

from byok.encryption import SecretOwner, UndecryptableSecret
from byok.key_check import UNREADABLE, KeyCheck, check_key
from byok.models import Credential
from byok.providers import Provider
from byok.services.frame import KeyChange, changing_keys, opened, own_headers
from byok.services.models_read import ModelsRead
from organizations.acting import Acting
from organizations.models import AuditAction
from organizations.refusals import conflict


def credential_test(*, owner: SecretOwner, acting: Acting, credential_id: UUID) -> Credential:
    """Try the stored key with one cheap request, keep the outcome, and change nothing else.

    A disabled one can be tried, too.
    """
    with changing_keys(owner, acting) as change:
        credential = change.locked(credential_id)
        provider = change.provider(credential.provider)
    outcome = _tried(credential, provider, owner)
    with _storing(owner, acting, credential) as (change, current):
        before = current.last_test_result
        current.last_tested_at = datetime.now(UTC)
        current.last_test_result, current.last_test_status = outcome.result.value, outcome.status
        current.last_test_message = outcome.message
        current.save(update_fields=["last_tested_at", "last_test_result", "last_test_status", "last_test_message"])
        answered = f" ({outcome.status})" if outcome.status else ""
        told = f"tested: {outcome.result.value.replace('_', ' ')}{answered}"
        changes = {"last_test_result": (before or None, outcome.result.value)}
        change.record(AuditAction.BYOK_TESTED, current, told, changes)
        return current


def _tried(credential: Credential, provider: Provider, owner: SecretOwner) -> KeyCheck:
    try:
        secret, headers = opened(credential, owner), own_headers(provider, owner)
    except UndecryptableSecret:
        return UNREADABLE
    written = [model.id for model in provider.models]
    models = [*written, *(str(model) for model in credential.offered_models or ())]
    return check_key(provider, secret, models=models, headers=headers)


def credential_discover(*, owner: SecretOwner, acting: Acting, credential_id: UUID) -> Credential:
    """Read the list of models with the stored key. One that cannot be read leaves the former list, and says why.

    Only a list with other models than before raises the routing version and is audited.

    Raises:
        GatewayError: 409 `no_model_list` for a provider that has none: it takes any id.
    """
    with changing_keys(owner, acting) as change:
        credential = change.locked(credential_id)
        provider = change.provider(credential.provider)
    if not provider.has_model_list:
        raise conflict(f"{provider.name} has no list of models: any id is taken.", code="no_model_list")
    read = _read(credential, provider, owner)
    with _storing(owner, acting, credential) as (change, current):
        before = current.offered_models
        has_others = read.keep(current)
        current.save(update_fields=["discovery_error", "discovered_at", "offered_models"])
        if has_others:
            numbers = (None if before is None else len(before), len(current.offered_models or []))
            change.record(AuditAction.BYOK_DISCOVERED, current, _told(before or [], current), {"models": numbers})
            change.commit()
        return current


def _read(credential: Credential, provider: Provider, owner: SecretOwner) -> ModelsRead:
    try:
        return ModelsRead.of(provider, opened(credential, owner), owner)
    except UndecryptableSecret:
        return ModelsRead(problem=UNREADABLE.message)


def _told(before: list[str], current: Credential) -> str:
    former, found = set(before), set(current.offered_models or [])
    return f"can use {len(found)} models: {len(found - former)} new, {len(former - found)} gone"


@contextmanager
def _storing(owner: SecretOwner, acting: Acting, asked: Credential) -> Iterator[tuple[KeyChange, Credential]]:
    """The second transaction. The version that the person had seen was compared in the first."""
    with changing_keys(owner, replace(acting, expected_version=None)) as change:
        current = change.locked(asked.pk)
        if not _same_secret(current, asked, owner):
            raise conflict("The key was replaced while its provider was asked. Try again.", code="changed_meanwhile")
        yield change, current


def _same_secret(current: Credential, asked: Credential, owner: SecretOwner) -> bool:
    """Whether both rows hold one secret, be it sealed anew in between; what cannot be opened is compared as it is."""
    if bytes(current.ciphertext) == bytes(asked.ciphertext):
        return True
    try:
        return opened(current, owner) == opened(asked, owner)
    except UndecryptableSecret:
        return False
