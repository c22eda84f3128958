"""The members' pages."""

from __future__ import annotations

from typing import Any

import pytest
from django.test import Client
from django.urls import reverse

from organizations.models import AuditAction, AuditLog, Invitation, Membership, Role, Via
from tests.factories import MembershipFactory

pytestmark = pytest.mark.django_db


@pytest.fixture
def alice() -> Membership:
    return MembershipFactory.create(role=Role.OWNER, user__email="alice@example.com", user__name="Alice")


@pytest.fixture
def dave(alice: Membership) -> Membership:
    return MembershipFactory.create(role=Role.ADMIN, organization=alice.organization, user__email="dave@example.com")


@pytest.fixture
def bob(alice: Membership) -> Membership:
    return MembershipFactory.create(role=Role.MEMBER, organization=alice.organization, user__email="bob@example.com")


def client_of(membership: Membership) -> Client:
    client = Client()
    client.force_login(membership.user)
    return client


def url(name: str, membership: Membership, **more: Any) -> str:
    return reverse(name, kwargs={"organization_id": membership.organization_id, **more})


class TestList:
    def test_it_works(self, alice: Membership, bob: Membership) -> None:
        text = client_of(alice).get(url("members", alice)).content.decode()
        assert "alice@example.com" in text
        assert "bob@example.com" in text
        assert url("member-remove", alice, user_id=bob.user.pk) in text

    def test_an_admin_may_not_touch_owners(self, alice: Membership, dave: Membership) -> None:
        text = client_of(dave).get(url("members", alice)).content.decode()
        assert "Only owners change owners." in text
        assert url("member", alice, user_id=alice.user.pk) not in text.replace("/remove", "")

    def test_the_last_owner_stays(self, alice: Membership) -> None:
        text = client_of(alice).get(url("members", alice)).content.decode()
        assert "An organization keeps at least one owner." in text


class TestInvite:
    def test_it_works(self, alice: Membership) -> None:
        answer = client_of(alice).post(url("member-invite", alice), {"email": "frank@example.com", "role": "admin"})
        assert answer.status_code == 201
        row = Invitation.objects.get(email="frank@example.com")
        assert row.role == Role.ADMIN
        assert "/invitations/" in answer.content.decode()
        assert answer["Cache-Control"] == "no-store"
        log = AuditLog.objects.get(action=AuditAction.INVITATION_CREATED)
        assert (log.via, log.actor_email) == (Via.WEB, "alice@example.com")

    def test_refused_by_the_service(self, alice: Membership, bob: Membership) -> None:
        answer = client_of(alice).post(url("member-invite", alice), {"email": "bob@example.com", "role": "member"})
        assert answer.status_code == 422
        assert "is a member already" in answer.content.decode()

    def test_refused_by_the_form(self, alice: Membership) -> None:
        answer = client_of(alice).post(url("member-invite", alice), {"email": "frank", "role": "member"})
        text = answer.content.decode()
        assert answer.status_code == 422
        assert 'value="frank"' in text
        assert 'aria-invalid="true"' in text

    def test_an_admin_is_not_offered_to_make_owners(self, dave: Membership) -> None:
        client = client_of(dave)
        assert 'value="owner"' not in client.get(url("member-invite", dave)).content.decode()
        answer = client.post(url("member-invite", dave), {"email": "frank@example.com", "role": "owner"})
        assert answer.status_code == 422
        assert not Invitation.objects.exists()


class TestChange:
    def test_it_works(self, alice: Membership, bob: Membership) -> None:
        client = client_of(alice)
        answer = client.post(url("member", alice, user_id=bob.user.pk), {"role": "admin"})
        assert (answer.status_code, answer["Location"]) == (303, url("members", alice))
        bob.refresh_from_db()
        assert bob.role == Role.ADMIN
        assert "bob@example.com is admin now." in client.get(answer["Location"]).content.decode()

    def test_the_last_owner(self, alice: Membership) -> None:
        answer = client_of(alice).post(url("member", alice, user_id=alice.user.pk), {"role": "member"})
        assert answer.status_code == 422
        assert "keeps at least one owner" in answer.content.decode()

    def test_with_htmx(self, alice: Membership, bob: Membership) -> None:
        headers = {"HX-Request": "true", "HX-Target": "overlay"}
        client = client_of(alice)
        answer = client.post(url("member", alice, user_id=bob.user.pk), {"role": "admin"}, headers=headers)
        assert answer.status_code == 200
        assert '"target": "#main"' in answer["HX-Location"]
        main = client.get(url("members", alice), headers={"HX-Request": "true", "HX-Target": "main"})
        assert 'hx-swap-oob="beforeend:#toasts"' in main.content.decode()


class TestRemove:
    def test_it_works(self, alice: Membership, bob: Membership) -> None:
        path = url("member-remove", alice, user_id=bob.user.pk)
        client = client_of(alice)
        assert client.get(path).status_code == 200
        assert client.post(path).status_code == 303
        assert not Membership.objects.filter(pk=bob.pk).exists()

    def test_oneself(self, alice: Membership, bob: Membership) -> None:
        path = url("member-remove", alice, user_id=bob.user.pk)
        client = client_of(bob)
        assert "Leave" in client.get(path).content.decode()
        assert client.post(path)["Location"] == "/"
        assert "You left" in client.get("/").content.decode()

    def test_another_one_as_a_member(self, alice: Membership, bob: Membership) -> None:
        assert client_of(bob).post(url("member-remove", alice, user_id=alice.user.pk)).status_code == 403


class TestRevoke:
    def test_it_works(self, alice: Membership) -> None:
        client = client_of(alice)
        client.post(url("member-invite", alice), {"email": "frank@example.com", "role": "member"})
        row = Invitation.objects.get()
        path = url("invitation-revoke", alice, invitation_id=row.pk)
        assert path in client.get(url("members", alice)).content.decode()
        assert client.post(path).status_code == 303
        row.refresh_from_db()
        assert row.revoked_at is not None
        assert client.get(path).status_code == 404
