"""The organizations that the bench works for: enterprise, Organization Auto, a route to a provider key of their own.

`python -m bench.organizations COUNT` makes them with a key each in the gateway's database (settings from the
environment, nothing else running) and prints the keys as a JSON list.
"""

from __future__ import annotations

import json
import os
import sys

MODE = "code"
PROVIDER = "neuralwatt"
ROUTE = f"{PROVIDER}/bench-model"
FALLBACK = "kilo-auto/balanced"
# The first of them.
ORGANIZATION = "Bench 1"
OWNER = "owner1@bench.example"


def create(number: int) -> str:
    """One organization with its owner, settings and credential; its API key."""
    # Django is set up by then; this module is imported by the harness, which needs none of it.
    from byok.encryption import SecretOwner
    from byok.keys import keyring
    from byok.models import Credential
    from kilo_gateway.secret import Secret
    from organizations import audit
    from organizations.api_keys import api_key_create
    from organizations.models import Plan, Scope, User
    from organizations.services import organization_create

    owner = User.objects.create_user(f"owner{number}@bench.example", None, name=f"Owner {number}")
    organization = organization_create(name=f"Bench {number}", plan=Plan.ENTERPRISE, owner=owner, actor=audit.COMMAND)
    organization.settings = {
        "default_model": "kilo-auto/org",
        "org_auto_model": {"routes": {MODE: ROUTE}, "fallback_model": FALLBACK},
    }
    organization.save(update_fields=["settings"])
    secret = Secret(f"sk-bench-upstream-{number:04d}")
    sealed = keyring().encrypt(secret, owner=SecretOwner.organization(organization.pk), provider_id=PROVIDER)
    Credential.objects.create(
        organization=organization,
        provider=PROVIDER,
        key_id=sealed.key_id,
        ciphertext=sealed.ciphertext,
        last_four=secret.last_four,
    )
    key = api_key_create(
        user=owner, name="bench", scopes=[Scope.INFERENCE], actor=audit.COMMAND, organization=organization
    )
    return key.secret.reveal()


def main() -> None:
    """Make as many organizations as asked for."""
    os.environ["DJANGO_SETTINGS_MODULE"] = "kilo_gateway.settings"
    import django

    django.setup()
    print(json.dumps([create(number) for number in range(1, int(sys.argv[1]) + 1)]))


if __name__ == "__main__":
    main()
