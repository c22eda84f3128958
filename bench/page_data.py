"""What the pages are measured with: an organization with 100 modes and routes, 600 models, and very many rows.

`python -m bench.page_data ROWS` makes it in the gateway's database (settings from the environment, nothing else
running) and prints who signs in to which organization, as JSON.
"""

from __future__ import annotations

import json
import os
import sys
from typing import Any

MODES = 100
MODELS = 600
PROVIDERS = 60
EMAIL = "alice@bench.example"
PASSWORD = "a bench of two planks"  # noqa: S105 - of a database that lives for one run
_PRICING = {"prompt": "0.000003", "completion": "0.000015"}


def model_id(number: int) -> str:
    """As long as such names are."""
    return f"author-{number % 40}/model-with-a-rather-long-name-{number}"


def listed(number: int) -> dict[str, Any]:
    """A model as an upstream lists it."""
    return {
        "id": model_id(number),
        "name": f"Author {number % 40}: Model With A Rather Long Name {number}",
        "description": "A model.",
        "context_length": 200_000,
        "architecture": {"modality": "text+image->text", "input_modalities": ["text", "image"]},
        "pricing": _PRICING,
        "top_provider": {"max_completion_tokens": 64_000},
        "supported_parameters": ["tools", "max_tokens"],
    }


def served(number: int) -> list[dict[str, Any]]:
    """The three providers of a model, as an upstream lists them."""
    policies: list[dict[str, Any]] = [{"training": False}, {"training": True, "retentionDays": 30}, {}]
    providers = ((number * 7 + step) % PROVIDERS for step in range(3))
    return [
        {
            "provider_name": f"Provider {provider}",
            "tag": f"provider-{provider}",
            "pricing": _PRICING,
            "context_length": 200_000,
            "quantization": "fp8",
            "data_policy": policies[number % 3],
        }
        for provider in providers
    ]


def entries() -> list[dict[str, Any]]:
    """All models with their providers, as the gateway keeps what an upstream lists."""
    # Django is not needed for it, but by now it is set up, which the gateway's modules expect.
    from routing.catalog.parse import parse_endpoints, parse_models

    models = parse_models({"data": [listed(number) for number in range(MODELS)]}).entries
    return [
        model | {"endpoints": parse_endpoints({"data": {"endpoints": served(number)}})}
        for number, model in enumerate(models)
    ]


def create(rows: int) -> dict[str, str]:
    """All of it; `rows` usage records of twenty members of two organizations, and as many audit rows of one."""
    # Django is set up by then; this module is imported by the harness, which needs none of it.
    from organizations import audit
    from organizations.models import Membership, Plan, Role, User
    from organizations.modes.models import CustomMode
    from organizations.services import organization_create
    from routing.models import CatalogSnapshot, Installation
    from tests.support.many_rows import many_audit_rows, many_usage_rows

    snapshot = CatalogSnapshot.objects.create(
        origin="synced", source="bench", entries=entries(), providers=[], model_count=MODELS
    )
    Installation.objects.update(catalog_snapshot=snapshot)
    alice = User.objects.create_user(EMAIL, PASSWORD, name="Alice")
    organization = organization_create(name="Pages", plan=Plan.ENTERPRISE, owner=alice, actor=audit.COMMAND)
    members = User.objects.bulk_create(User(email=f"member{n}@bench.example", name=f"Member {n}") for n in range(19))
    Membership.objects.bulk_create(
        Membership(organization=organization, user=user, role=Role.MEMBER) for user in members
    )
    config = {"roleDefinition": "You review what others wrote.", "groups": ["read", "command"]}
    CustomMode.objects.bulk_create(
        CustomMode(organization=organization, name=f"Mode {n}", slug=f"mode-{n}", config=config, created_by=alice)
        for n in range(MODES)
    )
    organization.settings = {
        "default_model": "kilo-auto/org",
        "org_auto_model": {
            "routes": {f"mode-{n}": model_id(n) for n in range(MODES)},
            "fallback_model": model_id(MODES),
        },
        "model_deny_list": [model_id(MODELS - 1)],
    }
    organization.save(update_fields=["settings"])
    other = organization_create(name="Others", plan=Plan.TEAMS, owner=alice, actor=audit.COMMAND)
    everybody = [alice, *members]
    many_usage_rows([organization.pk, other.pk], [user.pk for user in everybody], count=rows)
    many_audit_rows(organization, alice, count=rows)
    return {"email": EMAIL, "password": PASSWORD, "organization": str(organization.pk)}


def main() -> None:
    """Make it."""
    os.environ["DJANGO_SETTINGS_MODULE"] = "kilo_gateway.settings"
    import django

    from kilo_gateway.database import lift_statement_timeout

    lift_statement_timeout()
    django.setup()
    print(json.dumps(create(int(sys.argv[1]))))


if __name__ == "__main__":
    main()
