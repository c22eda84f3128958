"""Organizations with a person and a key, made without ceremony."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from typing import Any

from django.db import connection
from django.db.models import F

from byok.encryption import SecretOwner
from byok.keys import keyring
from byok.models import Credential
from kilo_gateway.secret import Secret
from organizations.api_keys import api_key_create
from organizations.audit import COMMAND
from organizations.models import Membership, Organization, Plan, Role, Scope, User

ROUTES = {"code": "anthropic/claude-sonnet-5", "architect": "anthropic/claude-opus-5"}
PROVIDER_SECRET = "sk-provider-secret-abcd"
KEPT_TABLES = frozenset(
    {
        "django_migrations",
        "django_content_type",
        "auth_permission",
        "routing_catalogsnapshot",
        "routing_installation",
        "routing_autotierrule",
    }
)


def auto_settings(routes: dict[str, str] | None = None, fallback: str | None = "kilo-auto/balanced") -> dict[str, Any]:
    """Organization Auto, on."""
    return {
        "default_model": "kilo-auto/org",
        "org_auto_model": {"routes": ROUTES if routes is None else routes, "fallback_model": fallback},
    }


@dataclass
class Tenant:
    organization: Organization
    user: User
    key: str

    def change(self, **settings: Any) -> None:
        """Write settings past the services, as a writer must: with the version raised in the same statement."""
        Organization.objects.filter(pk=self.organization.pk).update(
            settings={**self.organization.settings, **settings}, routing_version=F("routing_version") + 1
        )
        self.organization.refresh_from_db()

    def store_credential(self, provider: str, secret: str = PROVIDER_SECRET, **fields: Any) -> Credential:
        owner = SecretOwner.organization(self.organization.pk)
        sealed = keyring().encrypt(Secret(secret), owner=owner, provider_id=provider)
        return Credential.objects.create(
            organization=self.organization,
            provider=provider,
            key_id=sealed.key_id,
            ciphertext=sealed.ciphertext,
            last_four=secret[-4:],
            **fields,
        )


def make_tenant(*, settings: dict[str, Any] | None = None, plan: Plan = Plan.ENTERPRISE, **key: Any) -> Tenant:
    name = uuid.uuid4().hex[:8]
    organization = Organization.objects.create(
        name=f"Organization {name}", plan=plan, settings=auto_settings() if settings is None else settings
    )
    user = User.objects.create(email=f"person-{name}@example.com", name="Person")
    Membership.objects.create(organization=organization, user=user, role=Role.OWNER)
    fields: dict[str, Any] = {"organization": organization, "scopes": [Scope.INFERENCE], **key}
    new_key = api_key_create(user=user, name="test", actor=COMMAND, **fields)
    return Tenant(organization, user, new_key.secret.reveal())


def wipe_committed_rows() -> None:
    """Empty all tables but those that migrations fill, triggers and foreign keys aside."""
    if not str(connection.settings_dict["NAME"]).startswith("test_"):
        raise RuntimeError("this is not a test database")
    tables = [name for name in connection.introspection.table_names() if name not in KEPT_TABLES]
    with connection.cursor() as cursor:
        cursor.execute("SET session_replication_role = replica")
        cursor.execute(f"TRUNCATE {', '.join(connection.ops.quote_name(name) for name in tables)} CASCADE")
        cursor.execute("SET session_replication_role = DEFAULT")
