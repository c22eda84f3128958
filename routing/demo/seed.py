"""Filling a database with the demo: people, organizations, routes, modes, a credential, and keys to use it with.

Unlike the demo upstream beside it, this is Django's. It makes what is missing and leaves alone what people changed,
except that the passwords and keys that it shows are made to work.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from django.conf import settings
from django.db import connection, transaction

from byok.encryption import SecretOwner, UndecryptableSecret
from byok.keys import keyring
from byok.models import Credential
from byok.selectors import enabled_credentials
from kilo_gateway.secret import Secret
from organizations import audit
from organizations.api_keys import api_key_create, key_hash
from organizations.models import ApiKey, AuditAction, Membership, Organization, Scope, User
from organizations.modes.config import validate_config
from organizations.modes.models import CustomMode
from organizations.services import (
    api_key_revoke,
    lock_organization,
    membership_add,
    organization_create,
    organization_settings_write,
    routing_version_raise,
)
from routing.demo.cast import (
    ACME,
    DEMO_PROVIDER,
    FALLBACK,
    MODES,
    OFFERED_MODELS,
    ORGANIZATIONS,
    PEOPLE,
    ROUTES,
    STAFF,
    DemoOrganization,
    DemoPerson,
)
from routing.demo.credentials_file import DemoCredentials, new_password, read_credentials, write_credentials
from routing.domain.types import ORGANIZATION_AUTO

__all__ = ["DEMO_PROVIDER", "FILE_NAME", "SeededDemo", "SeededPerson", "other_organizations", "seed_demo"]

FILE_NAME = "demo_keys.json"
KEY_NAMES: Mapping[Scope, str] = {Scope.INFERENCE: "Demo", Scope.MANAGEMENT: "Demo (management)"}
# The key of the advisory lock, arbitrary but ours: "kiloseed" as a number.
ADVISORY_LOCK = int.from_bytes(b"kiloseed", "big")


@dataclass(frozen=True, slots=True, repr=False)
class SeededPerson:
    """A person of the demo with everything needed to act as him."""

    person: DemoPerson
    credentials: DemoCredentials

    def as_json(self) -> dict[str, Any]:
        """Everything in plain text: this is what the demo is for."""
        person, credentials = self.person, self.credentials
        return {
            "email": person.email,
            "password": credentials.password,
            "role": person.role.value if person.role else "staff",
            "organization": person.organization.name if person.organization else None,
            "api_key": credentials.api_key,
            "management_key": credentials.management_key,
        }


@dataclass(frozen=True, slots=True)
class SeededDemo:
    """What the database now holds of the demo."""

    people: tuple[SeededPerson, ...]
    staff: SeededPerson

    def as_json(self) -> dict[str, Any]:
        """The organizations and everybody's credentials, in plain text."""
        return {
            "organizations": [self.organization(organization.name) for organization in ORGANIZATIONS],
            "users": [person.as_json() for person in self.people],
            "staff": self.staff.as_json(),
        }

    def user(self, email: str) -> dict[str, Any]:
        """One of the people with his credentials."""
        return next(seeded.as_json() for seeded in self.people if seeded.person.email == email)

    def organization(self, name: str) -> dict[str, Any]:
        """One of the organizations."""
        found = next(organization for organization in ORGANIZATIONS if organization.name == name)
        return {"id": str(found.id), "name": found.name, "plan": found.plan.value}


def other_organizations() -> int:
    """How many organizations the database has that are none of the demo's."""
    return Organization.objects.exclude(pk__in=[organization.id for organization in ORGANIZATIONS]).count()


@transaction.atomic
def seed_demo() -> SeededDemo:
    """Make what is missing of the demo, all or nothing; one run at a time.

    Passwords and keys are known again from a file in the installation's data directory.
    """
    file = settings.DATA_DIR / FILE_NAME
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(%s)", [ADVISORY_LOCK])
    known = read_credentials(file)
    people = [SeededPerson(person, known.get(person.email, DemoCredentials())) for person in (*PEOPLE, STAFF)]
    users = {seeded.person.email: _provide_user(seeded) for seeded in people}
    for organization in ORGANIZATIONS:
        _provide_organization(organization, users)
    for seeded in people:
        _provide_keys(seeded, users[seeded.person.email])
    # Before the commit: a file with keys that no database knows is mended by the next run, as is the reverse.
    write_credentials(file, {seeded.person.email: seeded.credentials for seeded in people})
    return SeededDemo(tuple(people[:-1]), people[-1])


def _provide_user(seeded: SeededPerson) -> User:
    person, credentials = seeded.person, seeded.credentials
    user = User.objects.filter(email=person.email).first() or User(email=person.email, name=person.name)
    is_as_shown = bool(credentials.password) and credentials.password_mark == _mark(user) and user.is_active
    if not is_as_shown:
        credentials.password = credentials.password or new_password()
        user.set_password(credentials.password)
        user.is_active = True
        user.is_staff = user.is_superuser = person is STAFF
        user.save()
        credentials.password_mark = _mark(user)
    return user


def _mark(user: User) -> str:
    return hashlib.sha256(user.password.encode()).hexdigest()


def _provide_organization(demo: DemoOrganization, users: Mapping[str, User]) -> None:
    members = [person for person in PEOPLE if person.organization is demo]
    organization = Organization.objects.filter(pk=demo.id).first()
    is_new = organization is None
    if organization is None:
        organization = organization_create(
            name=demo.name,
            plan=demo.plan,
            owner=users[members[0].email],
            actor=audit.COMMAND,
            organization_id=demo.id,
        )
    present = set(Membership.objects.filter(organization=organization).values_list("user__email", flat=True))
    for person in members:
        if person.email not in present and person.role is not None:
            membership_add(organization=organization, user=users[person.email], role=person.role, actor=audit.COMMAND)
    if demo is ACME:
        _provide_credential(organization)
        if is_new:
            _add_modes(organization, users[members[0].email])
            _configure_routing(organization)


def _provide_credential(organization: Organization) -> None:
    """The key at the demo upstream; made anew when the installation's encryption keys are no longer the same."""
    stored = Credential.objects.filter(organization=organization, provider=DEMO_PROVIDER).first()
    if stored is not None and (not stored.is_enabled or _opens(organization)):
        return
    secret = Secret(f"demo-provider-key-{secrets.token_hex(8)}")
    locked = lock_organization(organization.pk)
    sealed = keyring().encrypt(secret, owner=SecretOwner.organization(organization.pk), provider_id=DEMO_PROVIDER)
    row = stored or Credential(organization=organization, provider=DEMO_PROVIDER, offered_models=list(OFFERED_MODELS))
    before, row.last_four = row.last_four or None, secret.last_four
    row.key_id, row.ciphertext = sealed.key_id, sealed.ciphertext
    row.save()
    routing_version_raise(locked)
    audit.record(
        AuditAction.BYOK_REPLACED if stored else AuditAction.BYOK_CREATED,
        organization=locked,
        actor=audit.COMMAND,
        message=f"Key of {DEMO_PROVIDER} (…{row.last_four}) {'replaced' if stored else 'stored'}",
        changes={"last_four": (before, row.last_four)},
        target_kind="credential",
        target_id=str(row.pk),
    )


def _opens(organization: Organization) -> bool:
    sealed = enabled_credentials(organization.pk)[DEMO_PROVIDER].sealed
    try:
        keyring().decrypt(sealed, owner=SecretOwner.organization(organization.pk), provider_id=DEMO_PROVIDER)
    except UndecryptableSecret:
        return False
    return True


def _add_modes(organization: Organization, author: User) -> None:
    lock_organization(organization.pk)
    for demo in MODES:
        mode = CustomMode(
            organization=organization,
            name=demo.name,
            slug=demo.slug,
            config=validate_config(demo.config),
            created_by=author,
        )
        mode.full_clean()
        mode.save(force_insert=True)
        audit.record(
            AuditAction.MODE_CREATED,
            organization=organization,
            actor=audit.COMMAND,
            message=f'Mode "{mode.slug}" ({mode.name}) created',
            changes={"name": (None, mode.name), "slug": (None, mode.slug)},
            target_kind="mode",
            target_id=str(mode.pk),
        )


def _configure_routing(organization: Organization) -> None:
    """Organization Auto with its fallback, then route by route, as an admin would do it: so there is a history."""
    auto = {"routes": {}, "fallback_model": FALLBACK}
    stored: dict[str, Any] = {**organization.settings, "default_model": ORGANIZATION_AUTO, "org_auto_model": auto}
    organization_settings_write(
        organization=organization,
        settings=stored,
        actor=audit.COMMAND,
        action=AuditAction.ORGANIZATION_AUTO_ENABLED,
        message=f'Organization Auto enabled with the fallback "{FALLBACK}"',
        changes={"default_model": (None, ORGANIZATION_AUTO), "org_auto_model": (None, auto)},
    )
    routes: dict[str, str] = {}
    for slug, target in ROUTES.items():
        routes = {**routes, slug: target}
        organization_settings_write(
            organization=organization,
            settings={**stored, "org_auto_model": {"routes": routes, "fallback_model": FALLBACK}},
            actor=audit.COMMAND,
            action=AuditAction.ROUTE_SET,
            message=f'Organization Auto route for "{slug}" set to "{target}"',
            changes={slug: (None, target)},
        )


def _provide_keys(seeded: SeededPerson, user: User) -> None:
    organization = seeded.person.organization
    organization_id = organization.id if organization else None
    for scope, field in ((Scope.INFERENCE, "api_key"), (Scope.MANAGEMENT, "management_key")):
        present: str = getattr(seeded.credentials, field)
        if present and _is_good(present, user, scope, organization_id):
            continue
        _revoke_old(user, scope)
        made = api_key_create(
            user=user,
            name=KEY_NAMES[scope],
            scopes=[scope],
            actor=audit.COMMAND,
            organization=Organization.objects.get(pk=organization_id) if organization_id else None,
        )
        setattr(seeded.credentials, field, made.secret.reveal())


def _is_good(key: str, user: User, scope: Scope, organization_id: object) -> bool:
    row = ApiKey.objects.filter(key_hash=key_hash(key), user=user, revoked_at=None, expires_at=None).first()
    return row is not None and row.organization_id == organization_id and row.scopes == [scope.value]


def _revoke_old(user: User, scope: Scope) -> None:
    """Keys of earlier runs that nobody knows any more."""
    for key in ApiKey.objects.filter(user=user, name=KEY_NAMES[scope], scopes=[scope.value], revoked_at=None):
        api_key_revoke(key=key, actor=audit.COMMAND)
