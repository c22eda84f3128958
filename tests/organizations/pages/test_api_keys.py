"""The pages of API keys."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest
from django.test import Client
from django.urls import reverse

from organizations.api_keys import key_hash
from organizations.models import ApiKey, AuditAction, AuditLog, Membership, Role
from organizations.people_selectors import KEYS_PAGE
from tests.factories import ApiKeyFactory, MembershipFactory

pytestmark = pytest.mark.django_db
OVERLAY = {"HX-Request": "true", "HX-Target": "overlay"}


@pytest.fixture
def alice() -> Membership:
    return MembershipFactory.create(role=Role.OWNER, user__email="alice@example.com", user__name="Alice")


@pytest.fixture
def bob(alice: Membership) -> Membership:
    return MembershipFactory.create(role=Role.MEMBER, organization=alice.organization, user__email="bob@example.com")


@pytest.fixture
def key_of_alice(alice: Membership) -> ApiKey:
    return ApiKeyFactory.create(user=alice.user, organization=alice.organization, name="Hers")


def client_of(membership: Membership) -> Client:
    client = Client()
    client.force_login(membership.user)
    return client


def url(name: str, membership: Membership, **more: Any) -> str:
    return reverse(name, kwargs={"organization_id": membership.organization_id, **more})


def new_key(**more: Any) -> dict[str, Any]:
    return {"name": "Laptop", "scopes": ["inference"], "expires": "90", "once": str(uuid4()), **more}


class TestList:
    def test_owners_see_everybodys(self, alice: Membership, bob: Membership, key_of_alice: ApiKey) -> None:
        ApiKeyFactory.create(user=bob.user, organization=bob.organization, name="His")
        text = client_of(alice).get(url("api-keys-page", alice)).content.decode()
        assert "Hers" in text
        assert "His" in text
        assert "bob@example.com" in text

    def test_members_see_their_own(self, bob: Membership, key_of_alice: ApiKey) -> None:
        ApiKeyFactory.create(user=bob.user, organization=bob.organization, name="His")
        text = client_of(bob).get(url("api-keys-page", bob)).content.decode()
        assert "His" in text
        assert "Hers" not in text
        assert "alice@example.com" not in text

    def test_one_that_has_expired(self, alice: Membership, key_of_alice: ApiKey) -> None:
        ApiKey.objects.update(expires_at=datetime.now(UTC) - timedelta(minutes=1))
        assert "expired" in client_of(alice).get(url("api-keys-page", alice)).content.decode()

    def test_the_number_of_queries(self, alice: Membership, django_assert_max_num_queries: Any) -> None:
        for _ in range(30):
            ApiKeyFactory.create(user=alice.user, organization=alice.organization)
        client = client_of(alice)
        client.get(url("api-keys-page", alice))
        with django_assert_max_num_queries(4):
            client.get(url("api-keys-page", alice))

    def test_page_by_page(self, alice: Membership) -> None:
        keys = [
            ApiKeyFactory.create(user=alice.user, organization=alice.organization, name=f"key {number}")
            for number in range(KEYS_PAGE + 1)
        ]
        client, here = client_of(alice), url("api-keys-page", alice)
        first = client.get(here)
        assert [row.key for row in first.context["rows"]] == keys[:0:-1]
        assert first.context["older"] == f"{here}?cursor={keys[1].pk}"
        last = client.get(first.context["older"])
        assert [row.key for row in last.context["rows"]] == keys[:1]
        assert (last.context["newest"], last.context["older"]) == (here, "")
        edit = url("api-key-edit", alice, key_id=keys[0].pk)
        assert client.get(edit).status_code == 200
        assert len(client.get(f"{here}?cursor=nothing").context["rows"]) == KEYS_PAGE


class TestCreate:
    def test_it_is_shown_once(self, alice: Membership) -> None:
        client = client_of(alice)
        answer = client.post(url("api-key-create", alice), new_key(default_mode="Code"))
        text = answer.content.decode()
        assert (answer.status_code, answer["Cache-Control"]) == (201, "no-store")
        found = re.search(r'<code id="api-key">(kilo_[\w-]+)</code>', text)
        assert found is not None
        row = ApiKey.objects.get()
        assert bytes(row.key_hash) == key_hash(found[1])
        assert (row.user, row.organization, row.default_mode) == (alice.user, alice.organization, "code")
        assert row.expires_at is not None
        assert row.expires_at - datetime.now(UTC) > timedelta(days=89)
        assert f"KILO_API_KEY={found[1]}" in text
        assert AuditLog.objects.filter(action=AuditAction.API_KEY_CREATED, via="web").count() == 1
        for path in ("api-keys-page", "api-key-create"):
            assert found[1] not in client.get(url(path, alice)).content.decode()
        assert found[1] not in str(dict(client.session))

    def test_the_same_form_again(self, alice: Membership) -> None:
        """As a browser does that loads the answer anew."""
        client, body = client_of(alice), new_key()
        assert client.post(url("api-key-create", alice), body).status_code == 201
        again = client.post(url("api-key-create", alice), body)
        text = again.content.decode()
        assert again.status_code == 422
        assert "No second one was made." in text
        assert 'id="api-key"' not in text
        assert body["once"] not in text
        assert ApiKey.objects.count() == 1

    @pytest.mark.parametrize(
        ("change", "told"),
        [
            ({"name": ""}, "This field is required."),
            ({"name": " "}, "This field is required."),
            ({"scopes": []}, "This field is required."),
            ({"scopes": ["everything"]}, "Select a valid choice."),
            ({"expires": "day"}, "Choose the last day on which it works."),
            ({"expires": "day", "expires_at": "2020-01-01"}, "It must be in the future."),
            ({"default_mode": "no mode"}, "A mode&#x27;s slug has"),
        ],
    )
    def test_refused(self, alice: Membership, change: dict[str, Any], told: str) -> None:
        answer = client_of(alice).post(url("api-key-create", alice), new_key(**change), headers=OVERLAY)
        assert answer.status_code == 422
        assert told in answer.content.decode()
        assert not ApiKey.objects.exists()

    def test_a_day(self, alice: Membership) -> None:
        last = (datetime.now(UTC) + timedelta(days=3)).date()
        body = new_key(expires="day", expires_at=last.isoformat())
        assert client_of(alice).post(url("api-key-create", alice), body).status_code == 201
        end = ApiKey.objects.get().expires_at
        assert end is not None
        assert (end - timedelta(seconds=1)).date() == last

    def test_never(self, alice: Membership) -> None:
        body = new_key(expires="never", scopes=["management"])
        text = client_of(alice).post(url("api-key-create", alice), body).content.decode()
        assert ApiKey.objects.get().expires_at is None
        assert "until it is revoked" in text
        assert "organization-auto" in text
        assert "KILO_API_KEY" not in text


class TestEdit:
    def test_it_works(self, alice: Membership, key_of_alice: ApiKey) -> None:
        path = url("api-key-edit", alice, key_id=key_of_alice.pk)
        client = client_of(alice)
        assert 'value="Hers"' in client.get(path).content.decode()
        assert client.post(path, {"name": "Desktop", "default_mode": "ask"}).status_code == 303
        key_of_alice.refresh_from_db()
        assert (key_of_alice.name, key_of_alice.default_mode) == ("Desktop", "ask")

    def test_another_persons(self, bob: Membership, key_of_alice: ApiKey) -> None:
        for name in ("api-key-edit", "api-key-revoke"):
            path = url(name, bob, key_id=key_of_alice.pk)
            assert client_of(bob).get(path).status_code == 404
            assert client_of(bob).post(path, {"name": "Mine"}).status_code == 404
        key_of_alice.refresh_from_db()
        assert (key_of_alice.name, key_of_alice.revoked_at) == ("Hers", None)


class TestRevoke:
    def test_it_works(self, alice: Membership, key_of_alice: ApiKey) -> None:
        path = url("api-key-revoke", alice, key_id=key_of_alice.pk)
        client = client_of(alice)
        assert client.get(path).status_code == 200
        assert client.post(path).status_code == 303
        key_of_alice.refresh_from_db()
        assert key_of_alice.revoked_at is not None
        assert client.get(path).status_code == 404
