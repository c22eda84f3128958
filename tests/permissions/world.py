"""One organization with everything in it that an address can name, and one person for each role."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlencode
from uuid import uuid4

from django.http import HttpResponseBase
from django.test import Client
from django.urls import URLPattern, URLResolver, get_resolver

from byok.services.custom_providers import custom_provider_create
from organizations.acting import Acting
from organizations.audit import COMMAND
from organizations.members import invitation_create
from organizations.models import ApiKey, Organization, Plan, Role, Scope, User
from organizations.services import membership_add, organization_create
from routing.services.modes import mode_create
from routing.services.organization_auto import default_model_set_auto, route_set
from tests.factories import ApiKeyFactory, CredentialFactory, UserFactory
from tests.permissions.table import ADMIN_SUBTREE, METHODS, ROLES, Line
from tests.routing.usage.records import used

MODEL = "anthropic/claude-sonnet-5"
CONFIG = {"roleDefinition": "You help."}
BOTH_SCOPES = [Scope.INFERENCE.value, Scope.MANAGEMENT.value]


@dataclass
class World:
    """`arguments` are the parts of addresses by name; `keys` are bound to no organization."""

    organization: Organization
    users: dict[str, User]
    keys: dict[str, ApiKey]
    arguments: dict[str, str] = field(default_factory=dict)

    def client(self, role: str, *, with_session: bool = False) -> Client:
        """Somebody's client: with his key for the API, with his session for pages."""
        if role == "anonymous":
            return Client()
        if not with_session:
            return Client(headers={"Authorization": f"Bearer {self.keys[role].plaintext}"})  # type: ignore[attr-defined]
        client = Client()
        client.force_login(self.users[role])
        return client

    def path(self, route: str, **more: str) -> str:
        """An address of a route, with the world's arguments in it."""
        arguments = {**self.arguments, **more}
        return "/" + re.sub(r"<(?:\w+:)?(\w+)>", lambda match: arguments[match[1]], route)

    def filled(self, value: Any) -> Any:
        """A body with the world's arguments in it."""
        if isinstance(value, str):
            return value.format(**self.arguments) if re.fullmatch(r"\{\w+\}", value) else value
        if isinstance(value, Mapping):
            return {name: self.filled(inner) for name, inner in value.items()}
        return [self.filled(inner) for inner in value] if isinstance(value, list) else value

    def _body(self, path: str, body: Any) -> dict[str, Any]:
        filled = self.filled(body)
        if path.startswith("/api/"):
            return {"data": json_bytes(filled), "content_type": "application/json"}
        return {"data": urlencode(filled, doseq=True), "content_type": "application/x-www-form-urlencoded"}

    def send(self, client: Client, method: str, path: str, line: Line | None = None) -> HttpResponseBase:
        sent: HttpResponseBase = client.generic(
            method,
            path,
            query_params=dict(line.query) if line else None,
            headers={"X-KiloCode-OrganizationId": str(self.organization.pk)},
            **({} if line is None or line.body is None else self._body(path, line.body)),
        )
        if sent.streaming:
            b"".join(sent)  # type: ignore[call-overload]  # it is a streaming one
        return sent


def json_bytes(value: Any) -> bytes:
    import json

    return json.dumps(value).encode()


def make_world() -> World:
    """Committed rows, because the proxy reads past Django."""
    users = {role: UserFactory.create(email=f"{role}@example.com") for role in ROLES if role != "anonymous"}
    User.objects.filter(pk=users["staff"].pk).update(is_staff=True, is_superuser=True)
    organization = organization_create(name="Acme", plan=Plan.ENTERPRISE, owner=users["owner"], actor=COMMAND)
    for role in (Role.ADMIN, Role.BILLING_MANAGER, Role.MEMBER):
        membership_add(organization=organization, user=users[role.value], role=role, actor=COMMAND)
    erin, second_owner = UserFactory.create(), UserFactory.create()
    membership_add(organization=organization, user=erin, role=Role.MEMBER, actor=COMMAND)
    membership_add(organization=organization, user=second_owner, role=Role.OWNER, actor=COMMAND)
    elsewhere = organization_create(name="Other", plan=Plan.ENTERPRISE, owner=users["stranger"], actor=COMMAND)
    membership_add(organization=elsewhere, user=users["owner"], role=Role.OWNER, actor=COMMAND)
    keys = {role: ApiKeyFactory.create(user=user, scopes=BOTH_SCOPES) for role, user in users.items()}
    world = World(organization, users, keys)
    world.arguments = {
        "model": MODEL,
        "model_id": MODEL,
        "slug": "code",
        "version": "1",
        "sequence": "1",
        **_objects(world, erin),
    }
    world.arguments |= {
        "organization_id": str(organization.pk),
        "other_organization_id": str(elsewhere.pk),
        "user_id": str(erin.pk),
        "owner_id": str(second_owner.pk),
        "newcomer": UserFactory.create().email,
        # What nobody was given: an invitation, a device's code, a link to a new password.
        "token": "guessed",
        "code": "BBBB-CCCC-DDDD",
        "uidb36": "1",
        "key": "guessed",
    }
    return world


def _objects(world: World, erin: User) -> dict[str, str]:
    organization_id = world.organization.pk
    owner = Acting(COMMAND, world.users["owner"])
    default_model_set_auto(organization_id=organization_id, acting=owner, fallback_model=MODEL)
    route_set(organization_id=organization_id, acting=owner, slug="routed", target=MODEL)
    made = {
        "mode_id": mode_create(
            organization_id=organization_id, acting=owner, name="Plain", slug="plain", config=CONFIG
        ),
        "routed_mode_id": mode_create(
            organization_id=organization_id, acting=owner, name="Routed", slug="routed", config=CONFIG
        ),
        "key_id": ApiKeyFactory.create(user=erin, organization=world.organization),
    }
    made["credential_id"] = CredentialFactory.create(organization=world.organization)
    made["own_key_id"] = ApiKeyFactory.create(user=world.users["owner"])
    made["own_credential_id"] = CredentialFactory.create(user=world.users["owner"])
    provider = custom_provider_create(
        organization_id=organization_id,
        acting=owner,
        provider_id="custom-own",
        name="Own",
        base_url="https://93.184.215.14/v1",
        api_kinds=["chat_completions"],
    )
    for name, role in (("invitation_id", Role.MEMBER), ("owner_invitation_id", Role.OWNER)):
        made[name] = invitation_create(
            organization_id=organization_id, acting=owner, email=f"{uuid4().hex}@new.example", role=role
        ).row
    # The member's own: whoever sees everybody's usage sees it too.
    request = used(organization_id, world.users["member"].pk)
    named = {"provider_id": provider.provider_id, "request_id": str(request.request_id)}
    return {**named, **{name: str(row.pk) for name, row in made.items()}}


def routes() -> dict[str, URLPattern]:
    """Every address of the project by its pattern, as the resolver has it."""
    return dict(_walk(get_resolver(), ""))


def _walk(resolver: URLResolver, prefix: str) -> Iterator[tuple[str, URLPattern]]:
    for entry in resolver.url_patterns:
        route = prefix + str(entry.pattern)
        if isinstance(entry, URLResolver):
            yield from _walk(entry, route)
        else:
            yield route, entry


def admin_routes() -> list[str]:
    """The addresses of Django admin below its first page."""
    return sorted(route for route in routes() if route.startswith(ADMIN_SUBTREE) and route != ADMIN_SUBTREE)


__all__ = ["METHODS", "World", "admin_routes", "make_world", "routes"]
