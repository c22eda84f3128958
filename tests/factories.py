"""Rows for tests, made with as little as the test says."""

from __future__ import annotations

import secrets
from typing import Any

import factory
from factory.django import DjangoModelFactory

from byok.encryption import SecretOwner
from byok.keys import keyring
from byok.models import Credential
from kilo_gateway.secret import Secret
from organizations.api_keys import key_hash
from organizations.models import ApiKey, Membership, Organization, Plan, Role, Scope, User
from organizations.modes.models import CustomMode
from routing.models import HostedBalance


class UserFactory(DjangoModelFactory[User]):
    """A person; without a password unless one is given, because hashing takes its time."""

    class Meta:
        model = User

    email = factory.Sequence(lambda number: f"person{number}@example.com")
    name = factory.Sequence(lambda number: f"Person {number}")

    @classmethod
    def _create(cls, model_class: type[User], *args: Any, **kwargs: Any) -> User:
        return model_class.objects.create_user(*args, **kwargs)


class OrganizationFactory(DjangoModelFactory[Organization]):
    class Meta:
        model = Organization

    name = factory.Sequence(lambda number: f"Organization {number}")
    plan = Plan.ENTERPRISE
    settings = factory.LazyFunction(dict)


class MembershipFactory(DjangoModelFactory[Membership]):
    class Meta:
        model = Membership

    user = factory.SubFactory(UserFactory)
    organization = factory.SubFactory(OrganizationFactory)
    role = Role.MEMBER


class ApiKeyFactory(DjangoModelFactory[ApiKey]):
    """A key, bound to no organization unless one is given; `plaintext` is what a client presents."""

    class Meta:
        model = ApiKey

    user = factory.SubFactory(UserFactory)
    name = "Test key"
    scopes = factory.LazyFunction(lambda: [Scope.INFERENCE.value])

    @classmethod
    def _create(cls, model_class: type[ApiKey], *args: Any, **kwargs: Any) -> ApiKey:
        plaintext = kwargs.pop("plaintext", None) or f"kilo_{secrets.token_urlsafe(32)}"
        key = model_class.objects.create(
            *args, key_hash=key_hash(plaintext), prefix=plaintext[:9], last_four=plaintext[-4:], **kwargs
        )
        key.plaintext = plaintext  # type: ignore[attr-defined]  # only tests know it
        return key


def bearer(key: ApiKey) -> dict[str, str]:
    """The header with which a client presents the key, for Django's test clients."""
    return {"HTTP_AUTHORIZATION": f"Bearer {key.plaintext}"}  # type: ignore[attr-defined]  # made by the factory


class CredentialFactory(DjangoModelFactory[Credential]):
    """A provider's key of an organization (or, with `user`, of a person), sealed as always; `secret` is its text."""

    class Meta:
        model = Credential

    provider = "neuralwatt"
    offered_models = factory.LazyFunction(lambda: ["demo-model", "Kimi-K2.6"])

    @classmethod
    def _create(cls, model_class: type[Credential], *args: Any, **kwargs: Any) -> Credential:
        secret = Secret(kwargs.pop("secret", "test-provider-key-0000"))
        if "user" in kwargs:
            owner = SecretOwner.user(kwargs["user"].pk)
        else:
            kwargs.setdefault("organization", None)
            kwargs["organization"] = kwargs["organization"] or OrganizationFactory.create()
            owner = SecretOwner.organization(kwargs["organization"].pk)
        sealed = keyring().encrypt(secret, owner=owner, provider_id=kwargs["provider"])
        return model_class.objects.create(
            *args, key_id=sealed.key_id, ciphertext=sealed.ciphertext, last_four=secret.last_four, **kwargs
        )


class CustomModeFactory(DjangoModelFactory[CustomMode]):
    class Meta:
        model = CustomMode

    organization = factory.SubFactory(OrganizationFactory)
    name = factory.Sequence(lambda number: f"Mode {number}")
    slug = factory.Sequence(lambda number: f"mode-{number}")
    config = factory.LazyFunction(lambda: {"roleDefinition": "You help.", "groups": ["read"]})
    created_by = factory.SubFactory(UserFactory)


class HostedBalanceFactory(DjangoModelFactory[HostedBalance]):
    class Meta:
        model = HostedBalance

    organization = factory.SubFactory(OrganizationFactory)
    balance_microdollars = 12_340_000


def organization_auto(
    routes: dict[str, str] | None = None, fallback: str | None = "kilo-auto/balanced", **others: Any
) -> dict[str, Any]:
    """Settings with Organization Auto enabled."""
    auto = {"routes": routes or {}, "fallback_model": fallback}
    return {"default_model": "kilo-auto/org", "org_auto_model": auto, **others}
