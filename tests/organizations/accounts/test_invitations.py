"""The page of an invitation, for everybody who may open its link."""

from __future__ import annotations

import io
import logging
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.test import Client

from kilo_gateway.logs import JsonFormatter
from organizations.acting import Acting
from organizations.audit import COMMAND
from organizations.members import NewInvitation, invitation_create, invitation_revoke
from organizations.models import AuditAction, AuditLog, Invitation, Membership, Organization, Role, User
from tests.factories import MembershipFactory
from tests.organizations.accounts.conftest import PASSWORD, Person, is_signed_in, sign_in

EMAIL = "frank@example.com"


@pytest.fixture
def acme(alice: User) -> Organization:
    membership: Membership = MembershipFactory.create(user=alice, role=Role.OWNER, organization__name="Acme & Sons")
    return membership.organization


@pytest.fixture
def sent(acme: Organization, alice: User) -> NewInvitation:
    acting = Acting(COMMAND, alice)
    return invitation_create(organization_id=acme.pk, acting=acting, email=EMAIL, role=Role.BILLING_MANAGER)


@pytest.fixture
def path(sent: NewInvitation) -> str:
    return f"/invitations/{sent.token.reveal()}"


class TestWithoutAnAccount:
    FORM = {"name": "Frank", "password": PASSWORD}

    def test_it_says_who_invites_to_what(self, client: Client, path: str) -> None:
        page = client.get(path)
        text = " ".join(page.content.decode().split())
        assert "Join Acme &amp; Sons" in text
        assert "Alice invites frank@example.com as billing manager." in text
        assert page["Referrer-Policy"] == "same-origin"
        assert "no-store" in page["Cache-Control"]

    def test_an_account_is_made_and_joins(self, client: Client, path: str, acme: Organization) -> None:
        assert client.post(path, self.FORM)["Location"] == f"/organizations/{acme.pk}/"
        assert is_signed_in(client)
        frank = User.objects.get(email=EMAIL)
        assert (frank.name, frank.check_password(PASSWORD), frank.is_staff) == ("Frank", True, False)
        assert Membership.objects.get(user=frank).role == Role.BILLING_MANAGER
        told = AuditLog.objects.filter(organization=acme, actor_email=EMAIL).values_list("action", flat=True)
        assert set(told) == {AuditAction.INVITATION_ACCEPTED, AuditAction.MEMBER_ADDED}

    def test_nothing_of_it_is_taken_from_the_form(self, client: Client, path: str) -> None:
        client.post(path, {**self.FORM, "email": "evil@example.com", "role": "owner", "is_staff": "1"})
        assert Membership.objects.get(user__email=EMAIL).role == Role.BILLING_MANAGER
        assert not User.objects.filter(email="evil@example.com").exists()

    @pytest.mark.parametrize("form", [{"password": "short"}, {"password": "frank@example.com"}, {"name": ""}])
    def test_what_does_not_do(self, client: Client, path: str, form: dict[str, str]) -> None:
        assert client.post(path, self.FORM | form).status_code == 422
        assert not User.objects.filter(email=EMAIL).exists()

    def test_no_password_is_set_where_the_issuer_decides(self, client: Client, path: str, settings: Any) -> None:
        """Whoever invited has the link as well, and could take the account before its owner signs in."""
        settings.OIDC_ISSUER, settings.OIDC_NAME = "https://id.example.com", "Example ID"
        settings.OIDC_EMAIL_DOMAINS = frozenset({"example.com"})
        assert b"Sign in with Example ID" in client.get(path).content
        client.post(path, self.FORM)
        assert not User.objects.filter(email=EMAIL).exists()
        settings.OIDC_EMAIL_DOMAINS = frozenset({"example.org"})
        client.post(path, self.FORM)
        assert User.objects.filter(email=EMAIL).exists()

    def test_twice_at_once_makes_one(self, client: Client, path: str) -> None:
        client.post(path, self.FORM)
        again = Client().post(path, self.FORM)
        assert again.status_code == 410
        assert User.objects.filter(email=EMAIL).count() == 1


class TestWithAnAccount:
    @pytest.fixture(autouse=True)
    def _frank(self, person: Person) -> None:
        person(email=EMAIL, name="Frank")

    def test_signed_out_it_leads_through_the_sign_in(self, client: Client, path: str) -> None:
        assert f'href="/accounts/login?next={path}"' in client.get(path).content.decode()
        assert client.post(path, TestWithoutAnAccount.FORM).status_code == 200
        assert not Membership.objects.filter(user__email=EMAIL).exists()
        assert sign_in(client, EMAIL, next=path)["Location"] == path

    def test_signed_in_it_takes_one_click(self, client: Client, path: str, acme: Organization) -> None:
        sign_in(client, EMAIL)
        assert b"Accept the invitation" in client.get(path).content
        assert not Membership.objects.filter(user__email=EMAIL).exists()
        assert client.post(path)["Location"] == f"/organizations/{acme.pk}/"
        assert Membership.objects.filter(user__email=EMAIL).exists()

    def test_it_takes_the_form_s_token(self, path: str) -> None:
        client = Client(enforce_csrf_checks=True)
        client.force_login(User.objects.get(email=EMAIL))
        assert client.post(path).status_code == 403

    def test_somebody_else(self, client: Client, path: str, person: Person) -> None:
        person(email="mallory@example.com")
        sign_in(client, "mallory@example.com")
        for response in (client.get(path), client.post(path)):
            assert response.status_code == 403
            assert b"for somebody else" in response.content
        assert client.post("/accounts/logout", {"next": path})["Location"] == path
        assert not Membership.objects.filter(user__email="mallory@example.com").exists()


class TestItIsOver:
    def test_accepted(self, client: Client, path: str) -> None:
        client.post(path, TestWithoutAnAccount.FORM)
        self.over(Client(), path, b"was accepted")

    def test_revoked(self, client: Client, path: str, sent: NewInvitation, acme: Organization) -> None:
        invitation_revoke(organization_id=acme.pk, acting=Acting(COMMAND), invitation_id=sent.row.pk)
        self.over(client, path, b"was taken back")

    def test_expired(self, client: Client, path: str) -> None:
        Invitation.objects.update(expires_at=datetime.now(UTC) - timedelta(seconds=1))
        self.over(client, path, b"for seven days")

    def test_none_has_this_token(self, client: Client, db: None) -> None:
        self.over(client, "/invitations/guessed", b"no such invitation", 404)
        self.over(client, f"/invitations/{'x' * 5000}", b"no such invitation", 404)

    def over(self, client: Client, path: str, words: bytes, status: int = 410) -> None:
        for response in (client.get(path), client.post(path, TestWithoutAnAccount.FORM)):
            assert (response.status_code, words in response.content) == (status, True)


@pytest.mark.parametrize("state", ["open", "of_another"])
def test_the_token_is_in_no_log(client: Client, path: str, alice: User, caplog: Any, state: str) -> None:
    token = path.rpartition("/")[2]
    if state == "of_another":
        client.force_login(alice)
    with caplog.at_level(logging.DEBUG):
        client.get(path)
    stream = io.StringIO()
    formatter = JsonFormatter()
    for record in caplog.records:
        if record.name.startswith("django.request"):
            stream.write(formatter.format(record))
    assert token not in stream.getvalue()
    assert ("/invitations/..." in stream.getvalue()) is (state == "of_another")
