"""Stored provider keys: whether the installation still has what opens them."""

from __future__ import annotations

from collections.abc import Iterator

from allauth.mfa.models import Authenticator
from django.db.models import Count

from byok.encryption import SealedSecret, UndecryptableSecret
from byok.keys import keyring
from byok.rotation import TABLES, SealedTable
from byok.second_factors import SEALED_FIELDS, resealed
from routing.doctor.findings import Finding, failed, good, warned

CHECK = "credentials"
SAMPLE = 10


def check_credentials() -> Iterator[Finding]:
    """One query for each table and one for each key: counts by key id, and a sample that is opened."""
    opened = 0
    found = False
    for table in TABLES:
        counts = table.model._default_manager.values_list("key_id").annotate(number=Count("pk")).order_by("key_id")  # noqa: SLF001 - Django's own name for it
        for key_id, number in counts:
            if key_id not in keyring().key_ids:
                found = True
                yield failed(
                    CHECK,
                    f'CREDENTIAL_KEYS has no key "{key_id[:32]}", which sealed {number} of: {table.name}.',
                    "Put that key back into CREDENTIAL_KEYS; without it these keys have to be stored anew.",
                )
                continue
            sealed = _unopened(table, key_id)
            opened += min(number, SAMPLE)
            if sealed:
                found = True
                yield failed(
                    CHECK,
                    f'{sealed} of a sample of: {table.name} do not open with the key "{key_id}".',
                    "CREDENTIAL_KEYS holds another key under this id, or the rows were changed; restore what is right.",
                )
            elif key_id != keyring().primary_key_id:
                found = True
                yield warned(
                    CHECK,
                    f'{number} of: {table.name} are sealed with the older key "{key_id}".',
                    "Run manage.py rotate_credential_keys, then the older key can go.",
                )
    if unopened := _unopened_second_factors():
        found = True
        yield failed(
            CHECK,
            f"{unopened} of a sample of second factors do not open with CREDENTIAL_KEYS: these people cannot sign in.",
            "Put the key that sealed them back into CREDENTIAL_KEYS, or remove their second factors.",
        )
    if not found:
        yield good(CHECK, f"Stored secrets open with CREDENTIAL_KEYS ({opened} tried).")


def _unopened_second_factors() -> int:
    unopened = 0
    for data in Authenticator.objects.order_by("-pk").values_list("data", flat=True)[:SAMPLE]:
        try:
            for name in SEALED_FIELDS:
                if name in data:
                    resealed(data[name], keyring())
        except UndecryptableSecret:
            unopened += 1
    return unopened


def _unopened(table: SealedTable, key_id: str) -> int:
    rows = table.model._default_manager.select_related(*table.related).filter(key_id=key_id)  # noqa: SLF001 - as above
    return sum(not _opens(table, row) for row in rows.order_by("-pk")[:SAMPLE])


def _opens(table: SealedTable, row: object) -> bool:
    binding = table.binding(row)
    sealed = SealedSecret(row.key_id, bytes(row.ciphertext))  # type: ignore[attr-defined]  # every such table has both
    try:
        keyring().decrypt(sealed, owner=binding.owner, provider_id=binding.provider_id, purpose=binding.purpose)
    except UndecryptableSecret:
        return False
    return True
