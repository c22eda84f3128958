"""People who sign in, and the pages that they do it at."""

from __future__ import annotations

import base64
import hmac
import re
import secrets
import time
from collections.abc import Callable
from typing import Any

import pytest
from allauth.mfa.totp.internal.auth import TOTP
from django.core.mail import EmailMessage
from django.test import Client

from organizations.models import User
from tests.factories import UserFactory

PASSWORD = "a few words in a row"
Person = Callable[..., User]


@pytest.fixture(autouse=True)
def _quick_hashes(settings: Any) -> None:
    """Argon2 is slow by design, and what is tested here is the same with another."""
    settings.PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]


@pytest.fixture
def person(db: None) -> Person:
    """Makes a person with the password `PASSWORD`."""

    def make(**fields: Any) -> User:
        user: User = UserFactory.create(password=PASSWORD, **fields)
        return user

    return make


@pytest.fixture
def alice(person: Person) -> User:
    return person(email="alice@example.com", name="Alice")


def sign_in(client: Client, email: str = "alice@example.com", password: str = PASSWORD, **more: Any) -> Any:
    return client.post("/accounts/login", {"login": email, "password": password, **more})


def is_signed_in(client: Client) -> bool:
    return bool(client.get("/account").status_code == 200)


def link_in(mail: EmailMessage) -> str:
    found = re.search(r"https?://\S+", str(mail.body))
    assert found, mail.body
    return found[0]


def totp_code(secret: str, *, steps: int = 0) -> str:
    """What an authenticator app shows now, or that many periods later (RFC 6238)."""
    counter = int(time.time()) // 30 + steps
    digest = hmac.digest(base64.b32decode(secret), counter.to_bytes(8, "big"), "sha1")
    offset = digest[-1] & 15
    number = int.from_bytes(digest[offset : offset + 4], "big") & 0x7FFFFFFF
    return f"{number % 1_000_000:06}"


@pytest.fixture
def totp() -> Callable[[User], str]:
    """Gives a person a second factor past the page; the key of the app."""

    def make(user: User) -> str:
        secret = base64.b32encode(secrets.token_bytes(20)).decode()
        TOTP.activate(user, secret)
        return secret

    return make
