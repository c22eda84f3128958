"""Sealing everything anew with the first of the encryption keys, while requests go on.

Whoever reads a row before it is rewritten still opens it, because every key decrypts. Each batch is a transaction of
its own that locks only the rows it rewrites and never waits for one: what is locked by somebody else comes last, one by
one. So a rotation can be stopped and started again at any time, and several may run at once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Final

from allauth.mfa.models import Authenticator
from django.db import models, transaction

from byok.custom_providers import header_purpose
from byok.encryption import API_KEY, Keyring, SealedSecret, SecretOwner, UndecryptableSecret
from byok.keys import keyring
from byok.models import Credential, CustomProviderHeader
from byok.second_factors import SEALED_FIELDS, resealed
from byok.selectors import owner_of

BATCH: Final = 100


@dataclass(frozen=True, slots=True)
class Binding:
    """For what a row's secret is sealed."""

    owner: SecretOwner
    provider_id: str
    purpose: str = API_KEY


@dataclass(frozen=True, slots=True)
class SealedTable:
    """A table whose rows hold one sealed secret each, in `key_id` and `ciphertext`."""

    name: str
    model: type[models.Model]
    binding: Callable[[Any], Binding]
    related: tuple[str, ...] = ()


def _header_binding(row: CustomProviderHeader) -> Binding:
    provider = row.custom_provider
    return Binding(SecretOwner.organization(provider.organization_id), provider.provider_id, header_purpose(row.name))


# Every table with sealed columns: one that is missing here would be lost with the key that sealed it. The secrets of
# second factors are in allauth's JSON, and have a way of their own below.
TABLES: Final = (
    SealedTable("credential", Credential, lambda row: Binding(owner_of(row), row.provider)),
    SealedTable("header of a custom provider", CustomProviderHeader, _header_binding, ("custom_provider",)),
)


@dataclass(frozen=True, slots=True)
class Unreadable:
    """A row that no key opens, and why; it is left as it is."""

    table: str
    row_id: str
    provider_id: str
    owner: SecretOwner
    reason: str


@dataclass(slots=True)
class Rotation:
    """What a rotation came to."""

    key_id: str
    current: int = 0
    resealed: int = 0
    unreadable: list[Unreadable] = field(default_factory=list)


def rotate() -> Rotation:
    """Seal everything with the first key; what is sealed with it already is read too, and found to open or not."""
    keys = keyring()
    rotation = Rotation(keys.primary_key_id)
    for table in TABLES:
        # Pages in the order of the ids, so that a row is seen once even if it cannot be read.
        for skipped in list(_passes(table, keys, rotation)):
            with transaction.atomic():
                row = _rows(table).select_for_update(of=("self",)).filter(pk=skipped).first()
                if row is not None:
                    _reseal(table, row, keys, rotation)
    _second_factors(keys, rotation)
    return rotation


def _second_factors(keys: Keyring, rotation: Rotation) -> None:
    """One after the other: there are a few for each person."""
    for factor_id in list(Authenticator.objects.order_by("pk").values_list("pk", flat=True)):
        with transaction.atomic():
            row = Authenticator.objects.select_for_update().filter(pk=factor_id).first()
            names = [name for name in SEALED_FIELDS if row is not None and name in row.data]
            for name in names:
                try:
                    renewed = resealed(row.data[name], keys)
                except UndecryptableSecret as error:
                    owner = SecretOwner.user(row.user_id)
                    found = Unreadable("second factor", str(row.pk), "sign-in", owner, str(error))
                    rotation.unreadable.append(found)
                    continue
                if renewed is None:
                    rotation.current += 1
                    continue
                row.data[name] = renewed
                row.save(update_fields=["data"])
                rotation.resealed += 1


def _passes(table: SealedTable, keys: Keyring, rotation: Rotation) -> Iterator[Any]:
    """Go through a table without waiting for anybody; the ids of the rows that somebody else has locked."""
    last = None
    while True:
        page = _rows(table).order_by("pk")
        if last is not None:
            page = page.filter(pk__gt=last)
        with transaction.atomic():
            wanted = list(page.values_list("pk", flat=True)[:BATCH])
            rows = _rows(table).filter(pk__in=wanted).order_by("pk")
            found = list(rows.select_for_update(of=("self",), skip_locked=True))
            for row in found:
                _reseal(table, row, keys, rotation)
        if not wanted:
            return
        last = wanted[-1]
        yield from set(wanted) - {row.pk for row in found}


def _rows(table: SealedTable) -> models.QuerySet[Any]:
    rows = table.model._default_manager.all()  # noqa: SLF001 - Django's own name for it
    return rows.select_related(*table.related) if table.related else rows


def _reseal(table: SealedTable, row: Any, keys: Keyring, rotation: Rotation) -> None:
    binding = table.binding(row)
    sealed = SealedSecret(row.key_id, bytes(row.ciphertext))
    try:
        secret = keys.decrypt(sealed, owner=binding.owner, provider_id=binding.provider_id, purpose=binding.purpose)
    except UndecryptableSecret as error:
        rotation.unreadable.append(Unreadable(table.name, str(row.pk), binding.provider_id, binding.owner, str(error)))
        return
    if not keys.needs_rotation(sealed):
        rotation.current += 1
        return
    renewed = keys.encrypt(secret, owner=binding.owner, provider_id=binding.provider_id, purpose=binding.purpose)
    row.key_id, row.ciphertext = renewed.key_id, renewed.ciphertext
    row.save(update_fields=["key_id", "ciphertext"])
    rotation.resealed += 1
