"""Acme and its people, and a provider that does what a test says."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from organizations.models import Role, User
from tests.e2e.scripted import ScriptedUpstream
from tests.factories import MembershipFactory, OrganizationFactory, UserFactory
from tests.routing.management.conftest import Team

ROLES = {"alice": Role.OWNER, "dave": Role.ADMIN, "carol": Role.BILLING_MANAGER, "bob": Role.MEMBER}


@pytest.fixture
def team(db: None) -> Team:
    organization = OrganizationFactory.create(name="Acme")
    people = {name: UserFactory.create(email=f"{name}@acme.example", name=name.title()) for name in ROLES}
    for name, role in ROLES.items():
        MembershipFactory.create(user=people[name], organization=organization, role=role)
    return Team(organization, **people)


@pytest.fixture
def mallory(team: Team) -> User:
    """The owner of another organization."""
    user = UserFactory.create(email="mallory@other.example")
    MembershipFactory.create(user=user, role=Role.OWNER)
    return user


@pytest.fixture
def provider(settings: Any) -> Iterator[ScriptedUpstream]:
    """Where the direct providers of these tests are."""
    with ScriptedUpstream() as upstream:
        ids = ("openai-byok", "neuralwatt", "openrouter-byok", "anthropic-byok", "nvidia-byok", "fireworks-byok")
        settings.PROVIDER_BASE_URLS = dict.fromkeys(ids, f"{upstream.base_url}/v1")
        yield upstream
        assert not upstream.failures, upstream.failures
