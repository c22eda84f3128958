"""A member of staff, signed in."""

from __future__ import annotations

import pytest
from django.test import Client

from organizations.models import User
from tests.factories import (
    UserFactory,
)


@pytest.fixture
def staff() -> User:
    return UserFactory.create(email="staff@example.com", name="Sue", is_staff=True)


@pytest.fixture
def page(client: Client, staff: User) -> Client:
    """A browser in which a member of staff is signed in."""
    client.force_login(staff)
    return client
