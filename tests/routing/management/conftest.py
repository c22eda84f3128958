"""An organization with its people, a small catalog, and clients whose every answer is checked."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest
from django.test import Client

from organizations.audit import verify_chain
from organizations.models import AuditLog, Organization, Role, Scope, SettingsVersion, User
from routing.catalog.index import forget_index
from routing.catalog.tiers import forget_tier_table
from routing.domain.types import Tier
from routing.models import AutoTierRule, CatalogSnapshot, Installation
from tests.factories import ApiKeyFactory, MembershipFactory, OrganizationFactory, UserFactory, bearer
from tests.routing.test_api import entry
from tests.support.openapi import check_answer

CLAUDE, GPT, KIMI = "anthropic/claude", "openai/gpt", "moonshot/kimi"
ENTRIES = [
    entry(CLAUDE, providers=("anthropic", "bedrock")),
    entry(GPT, providers=("openai",)),
    entry(KIMI, providers=("moonshot",)),
    entry("openai/gpt:free", prompt="0"),
]
TIERS = {Tier.BALANCED: [GPT], Tier.FRONTIER: [CLAUDE], Tier.SMALL: [KIMI], Tier.FREE: ["openai/gpt:free"]}


@pytest.fixture(autouse=True)
def catalog(db: None) -> Iterator[None]:
    snapshot = CatalogSnapshot.objects.create(
        origin="synced", source="test", entries=ENTRIES, providers=[], model_count=len(ENTRIES)
    )
    Installation.objects.update(catalog_snapshot=snapshot)
    AutoTierRule.objects.all().delete()
    for tier, models in TIERS.items():
        AutoTierRule.objects.create(tier=tier.value, model_ids=models)
    forget_index()
    forget_tier_table()
    yield
    forget_index()
    forget_tier_table()


@dataclass
class Api:
    """The management API as one person with a key sees it."""

    user: User
    organization: Organization
    scopes: list[str] = field(default_factory=lambda: [Scope.MANAGEMENT.value])
    headers: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        key = ApiKeyFactory.create(user=self.user, scopes=self.scopes)
        self.client = Client(**bearer(key))
        self.key = key

    def request(self, method: str, path: str, body: Any = None, **headers: str) -> Any:
        full = f"/api/organizations/{self.organization.pk}/{path}"
        data = {} if method == "GET" else {"data": "" if body is None else body, "content_type": "application/json"}
        response = getattr(self.client, method.lower())(full, **data, headers={**self.headers, **headers})
        check_answer(method, full.partition("?")[0], response)
        return response

    def get(self, path: str, **headers: str) -> Any:
        return self.request("GET", path, **headers)

    def put(self, path: str, body: Any, **headers: str) -> Any:
        return self.request("PUT", path, body, **headers)

    def post(self, path: str, body: Any, **headers: str) -> Any:
        return self.request("POST", path, body, **headers)

    def patch(self, path: str, body: Any, **headers: str) -> Any:
        return self.request("PATCH", path, body, **headers)

    def delete(self, path: str, body: Any = None, **headers: str) -> Any:
        return self.request("DELETE", path, body, **headers)


@dataclass
class Team:
    """Acme and its people."""

    organization: Organization
    alice: User
    dave: User
    carol: User
    bob: User

    def api(self, user: User | None = None, **options: Any) -> Api:
        return Api(user or self.alice, self.organization, **options)

    def configure(self, **settings: Any) -> None:
        """Settings written past the services, with a kept version as if a service had written them."""
        self.organization.settings = settings
        self.organization.save()

    @property
    def settings(self) -> dict[str, Any]:
        self.organization.refresh_from_db()
        found: dict[str, Any] = self.organization.settings
        return found

    @property
    def routing_version(self) -> int:
        self.organization.refresh_from_db()
        return self.organization.routing_version

    def state(self) -> tuple[Any, ...]:
        """Everything that a change of settings leaves behind."""
        return (
            self.settings,
            self.organization.plan,
            self.routing_version,
            list(AuditLog.objects.filter(organization=self.organization).values_list("pk", flat=True)),
            list(SettingsVersion.objects.filter(organization=self.organization).values_list("pk", flat=True)),
            list(self.organization.custom_modes.order_by("pk").values_list("pk", "slug", "name", "config")),
        )

    @contextmanager
    def nothing_changes(self) -> Iterator[None]:
        before = self.state()
        yield
        assert self.state() == before

    @contextmanager
    def audited(
        self,
        *rows: tuple[str, str, dict[str, Any] | None],
        actor: User | None = None,
        raises_version: bool = True,
        via: str = "api",
    ) -> Iterator[None]:
        """Exactly these rows (action, message, changes; None: any) are written, and one version or none."""
        known = set(AuditLog.objects.values_list("pk", flat=True))
        version = self.routing_version
        kept = SettingsVersion.objects.filter(organization=self.organization).count()
        yield
        written = list(AuditLog.objects.exclude(pk__in=known).order_by("sequence"))
        assert [(row.action, row.message) for row in written] == [row[:2] for row in rows]
        person = actor or self.alice
        for row, (_, _, changes) in zip(written, rows, strict=True):
            if changes is not None:
                assert row.changes == {name: list(pair) for name, pair in changes.items()}
            assert (row.organization, row.via) == (self.organization, via)
            if via == "api":
                assert (row.actor_id, row.actor_email, row.actor_name) == (person.pk, person.email, person.name)
                assert row.address == "127.0.0.1"
        assert self.routing_version == version + (1 if raises_version else 0)
        versions = SettingsVersion.objects.filter(organization=self.organization).order_by("-routing_version")
        assert versions.count() == kept + (1 if raises_version else 0)
        if raises_version:
            newest = versions[0]
            assert (newest.routing_version, newest.settings) == (version + 1, self.settings)
            assert newest.audit_log in written
        assert verify_chain(self.organization.pk)[1] is None


@pytest.fixture
def team(db: None) -> Team:
    organization = OrganizationFactory.create(name="Acme")
    people = {}
    for name, role in (
        ("alice", Role.OWNER),
        ("dave", Role.ADMIN),
        ("carol", Role.BILLING_MANAGER),
        ("bob", Role.MEMBER),
    ):
        people[name] = UserFactory.create(email=f"{name}@acme.example", name=name.title())
        MembershipFactory.create(user=people[name], organization=organization, role=role)
    return Team(organization, **people)


@pytest.fixture
def mallory(team: Team) -> User:
    return MembershipFactory.create(user=UserFactory.create(email="mallory@other.example"), role=Role.OWNER).user


@pytest.fixture
def toggle_off(settings: Any) -> None:
    settings.DEBUG = False
    settings.POSTHOG_API_KEY = ""
    settings.ORGANIZATION_AUTO_ROLLOUT = "off"


def refused(response: Any, status: int, code: str, *, field: str = "", says: str = "") -> dict[str, Any]:
    """The error of an answer that has to be one."""
    assert response.status_code == status, response.content
    error: dict[str, Any] = response.json()["error"]
    assert error["code"] == code, error
    if field:
        assert field in error["fields"], error
    assert says in error["message"], error
    return error
