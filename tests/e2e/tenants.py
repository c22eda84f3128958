"""Organizations in the database of a gateway that runs as a process of its own.

`make` runs in that gateway's environment, with its settings and its encryption keys; `make_tenants` has it run there.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from tests.support.canaries import Kind, canaries
from tests.support.live import Gateway


@dataclass(frozen=True, slots=True)
class LiveTenant:
    """An organization with one person and that person's key, and its credentials by provider."""

    organization_id: str
    user_id: str
    key_id: str
    key: str
    credentials: dict[str, str]


def make_tenants(gateway: Gateway, described: dict[str, dict[str, Any]]) -> dict[str, LiveTenant]:
    """Make several at once, because each command takes a second.

    A description may have: `settings`, `plan`, `key` (fields of the key; `"organization": null` for one that is not
    bound), `balance` (microdollars), `credentials` and `personal_credentials` (by provider: `secret` and other fields).
    """
    text = json.dumps(described)
    for description in described.values():
        for kind in ("credentials", "personal_credentials"):
            for credential in description.get(kind, {}).values():
                canaries.plant(credential["secret"], Kind.SEALED, lasting=True)
    code = f"from tests.e2e.tenants import make; print(make({text!r}))"
    done = gateway.manage("shell", "-c", code)
    if done.returncode:
        raise AssertionError(done.stderr[-4000:])
    made = json.loads(done.stdout.strip().splitlines()[-1])
    return {name: LiveTenant(**fields) for name, fields in made.items()}


def make(text: str) -> str:
    """What `make_tenants` has the gateway's own environment do."""
    return json.dumps({name: _make_one(**fields) for name, fields in json.loads(text).items()})


def _make_one(
    *,
    settings: dict[str, Any] | None = None,
    plan: str = "enterprise",
    key: dict[str, Any] | None = None,
    balance: int | None = None,
    credentials: dict[str, dict[str, Any]] | None = None,
    personal_credentials: dict[str, dict[str, Any]] | None = None,
) -> dict[str, Any]:
    from byok.encryption import SecretOwner
    from byok.keys import keyring
    from byok.models import Credential
    from kilo_gateway.secret import Secret
    from organizations.models import ApiKey, Plan
    from routing.models import HostedBalance
    from tests.support.tenants import make_tenant

    tenant = make_tenant(settings=settings, plan=Plan(plan), **(key or {}))
    if balance is not None:
        HostedBalance.objects.create(organization=tenant.organization, balance_microdollars=balance)
    stored = {provider: tenant.store_credential(provider, **each) for provider, each in (credentials or {}).items()}
    for provider, each in (personal_credentials or {}).items():
        sealed = keyring().encrypt(Secret(each["secret"]), owner=SecretOwner.user(tenant.user.pk), provider_id=provider)
        Credential.objects.create(
            user=tenant.user,
            provider=provider,
            key_id=sealed.key_id,
            ciphertext=sealed.ciphertext,
            last_four=each["secret"][-4:],
        )
    return {
        "organization_id": str(tenant.organization.pk),
        "user_id": str(tenant.user.pk),
        "key_id": str(ApiKey.objects.get(user=tenant.user).pk),
        "key": tenant.key,
        "credentials": {provider: str(row.pk) for provider, row in stored.items()},
    }
