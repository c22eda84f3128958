"""Acme and its people, as the management API sees them."""

from __future__ import annotations

import pytest

from organizations.models import Role, User
from tests.factories import MembershipFactory, OrganizationFactory, UserFactory
from tests.routing.management.conftest import Team

ROLES = {
    "alice": Role.OWNER,
    "dave": Role.ADMIN,
    "carol": Role.BILLING_MANAGER,
    "bob": Role.MEMBER,
}


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
