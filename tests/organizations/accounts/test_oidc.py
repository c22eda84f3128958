"""Signing in through an identity provider: who comes in, who does not, and whose word counts."""

from __future__ import annotations

import html
import re
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

import pytest
import requests
from cryptography.hazmat.primitives.asymmetric import rsa
from django.test import Client

from organizations.acting import Acting
from organizations.audit import COMMAND
from organizations.members import invitation_create, invitation_revoke
from organizations.models import AuditAction, AuditLog, Membership, Organization, Role, User
from tests.factories import ApiKeyFactory, OrganizationFactory
from tests.organizations.accounts.conftest import Person, is_signed_in, sign_in
from tests.organizations.accounts.issuer import CLIENT_ID, CLIENT_SECRET, Issuer, running_issuer


@pytest.fixture(scope="module")
def running() -> Iterator[Issuer]:
    with running_issuer() as issuer:
        yield issuer


@pytest.fixture
def issuer(running: Issuer, settings: Any, db: None) -> Issuer:
    running.claims = {"sub": "person-1", "email": "alice@example.com", "email_verified": True, "name": "Alice A."}
    running.token_claims, running.signer, running.denies = {}, None, False
    running.requests.clear()
    settings.OIDC_ISSUER = running.base_url
    settings.OIDC_CLIENT_ID, settings.OIDC_CLIENT_SECRET = CLIENT_ID, CLIENT_SECRET
    settings.OIDC_NAME = "Example Identity"
    return running


def callback_address(client: Client, **more: str) -> str:
    """From the button on the sign-in page through the issuer, up to where the issuer sends the person back to."""
    page = client.post("/accounts/oidc/oidc/login", more)
    assert page.status_code == 200
    found = re.search(r'content="0; url=([^"]+)"', page.content.decode())
    assert found
    sent_back = requests.get(html.unescape(found[1]), allow_redirects=False, timeout=5).headers["location"]
    return urlsplit(sent_back)._replace(scheme="", netloc="").geturl()


def come_in(client: Client, **more: str) -> Any:
    return client.get(callback_address(client, **more))


class TestWhoComesIn:
    def test_a_person_with_an_account(self, client: Client, issuer: Issuer, alice: User) -> None:
        assert b"Example Identity" in client.get("/accounts/login").content
        assert come_in(client, next="/account")["Location"] == "/account"
        assert is_signed_in(client)
        row = AuditLog.objects.get(action=AuditAction.USER_LOGIN)
        assert row.message == "alice@example.com signed in with the identity provider"
        assert "/jwks" in issuer.requests

    def test_the_first_time_is_noted(self, issuer: Issuer, alice: User) -> None:
        """From then on there is another way in."""
        for _ in range(2):
            come_in(Client())
        row = AuditLog.objects.get(action=AuditAction.USER_UPDATED)
        assert row.message == "User alice@example.com connected with the identity provider"
        assert (row.actor_email, row.via) == ("alice@example.com", "web")

    def test_what_somebody_did_before_the_address_was_proven_ends(
        self, client: Client, issuer: Issuer, alice: User
    ) -> None:
        User.objects.update(email_proven_at=None)
        theirs, key = Client(), ApiKeyFactory.create(user=alice)
        sign_in(theirs)
        come_in(client)
        assert is_signed_in(client)
        assert not is_signed_in(theirs)
        alice.refresh_from_db()
        key.refresh_from_db()
        assert not alice.has_usable_password()
        assert alice.email_proven_at is not None
        assert key.revoked_at is not None

    def test_who_was_connected_before_proofs_were_noted(self, client: Client, issuer: Issuer, alice: User) -> None:
        come_in(Client())
        User.objects.update(email_proven_at=None)
        here, key = Client(), ApiKeyFactory.create(user=alice)
        sign_in(here)
        for _ in range(2):
            come_in(client)
        alice.refresh_from_db()
        key.refresh_from_db()
        assert alice.email_proven_at is not None
        assert alice.has_usable_password()
        assert key.revoked_at is None
        assert is_signed_in(here)
        (row,) = AuditLog.objects.filter(action=AuditAction.USER_UPDATED, message__contains="known to have")
        assert row.changes == {"email_proven_at": [None, alice.email_proven_at.isoformat()]}

    def test_the_same_person_under_another_address(self, client: Client, issuer: Issuer, alice: User) -> None:
        come_in(Client())
        issuer.claims["email"] = "alice.married@example.com"
        come_in(client)
        assert client.get("/account").context["user"] == alice

    def test_an_invited_person_becomes_a_member(self, client: Client, issuer: Issuer) -> None:
        organizations: list[Organization] = OrganizationFactory.create_batch(2)
        for organization in organizations:
            invitation_create(
                organization_id=organization.pk, acting=Acting(COMMAND), email="alice@example.com", role=Role.ADMIN
            )
        come_in(client)
        assert is_signed_in(client)
        person = User.objects.get(email="alice@example.com")
        assert (person.name, person.has_usable_password()) == ("Alice A.", False)
        assert set(Membership.objects.values_list("organization_id", "user", "role")) == {
            (organization.pk, person.pk, "admin") for organization in organizations
        }

    def test_whoever_has_a_second_factor_is_asked_for_it(
        self, client: Client, issuer: Issuer, alice: User, totp: Any
    ) -> None:
        totp(alice)
        assert come_in(client)["Location"] == "/accounts/second-factor"
        assert not is_signed_in(client)


class TestWhoDoesNot:
    def refused(self, client: Client, reason: bytes) -> None:
        response = come_in(client)
        assert response.status_code == 403
        assert reason in response.content
        assert not is_signed_in(client)

    def test_strangers(self, client: Client, issuer: Issuer) -> None:
        self.refused(client, b"has no account here")
        assert not User.objects.exists()

    def test_an_invitation_that_is_over(self, client: Client, issuer: Issuer) -> None:
        organization = OrganizationFactory.create()
        acting = Acting(COMMAND)
        made = invitation_create(
            organization_id=organization.pk, acting=acting, email="alice@example.com", role=Role.MEMBER
        )
        invitation_revoke(organization_id=organization.pk, acting=acting, invitation_id=made.row.pk)
        self.refused(client, b"has no account here")

    @pytest.mark.parametrize("verified", [False, None, "false", "yes", 1.5])
    def test_addresses_that_are_not_verified(
        self, client: Client, issuer: Issuer, alice: User, verified: object
    ) -> None:
        issuer.claims["email_verified"] = verified
        self.refused(client, b"is verified")

    def test_an_issuer_that_does_not_say(self, client: Client, issuer: Issuer, alice: User, settings: Any) -> None:
        del issuer.claims["email_verified"]
        self.refused(client, b"is verified")
        settings.OIDC_TRUST_EMAIL = True
        come_in(client)
        assert is_signed_in(client)

    def test_other_domains(self, client: Client, issuer: Issuer, alice: User, settings: Any) -> None:
        settings.OIDC_EMAIL_DOMAINS = frozenset({"company.example"})
        self.refused(client, b"not an address of a company")

    def test_deactivated_people(self, client: Client, issuer: Issuer, person: Person) -> None:
        person(email="alice@example.com", is_active=False)
        self.refused(client, b"is deactivated")
        assert User.objects.get().socialaccount_set.count() == 0


class TestWhoseWordCounts:
    def failed(self, client: Client, address: str, status: int = 401) -> None:
        response = client.get(address)
        assert response.status_code == status
        assert CLIENT_SECRET not in response.content.decode()
        assert not is_signed_in(client)

    def test_a_signature_of_another(self, client: Client, issuer: Issuer, alice: User) -> None:
        issuer.signer = rsa.generate_private_key(65537, 2048)
        self.failed(client, callback_address(client))

    @pytest.mark.parametrize(
        "claims",
        [{"aud": "another-client"}, {"iss": "https://evil.example"}, {"exp": 1}],
        ids=lambda claims: next(iter(claims)),
    )
    def test_a_token_for_somebody_else(
        self, client: Client, issuer: Issuer, alice: User, claims: dict[str, Any]
    ) -> None:
        issuer.token_claims = claims
        self.failed(client, callback_address(client))

    def test_user_info_about_another_person(self, client: Client, issuer: Issuer, alice: User) -> None:
        issuer.token_claims = {"sub": "person-2"}
        self.failed(client, callback_address(client), 403)

    def test_another_browser_s_sign_in(self, client: Client, issuer: Issuer, alice: User) -> None:
        self.failed(client, callback_address(Client()))

    def test_a_code_works_once(self, client: Client, issuer: Issuer, alice: User) -> None:
        address = callback_address(client)
        client.get(address)
        client.post("/accounts/logout")
        self.failed(client, address)

    def test_a_person_who_says_no(self, client: Client, issuer: Issuer, alice: User) -> None:
        issuer.denies = True
        assert come_in(client)["Location"] == "/accounts/oidc/cancelled"
        assert client.get("/accounts/oidc/cancelled").status_code == 200

    def test_an_issuer_that_is_away(self, client: Client, issuer: Issuer, settings: Any) -> None:
        settings.OIDC_ISSUER = "http://127.0.0.1:9"
        assert client.post("/accounts/oidc/oidc/login").status_code == 502

    @pytest.mark.parametrize("process", ["connect", "redirect"])
    def test_nobody_is_connected_by_way_of_another_process(
        self, client: Client, issuer: Issuer, alice: User, process: str
    ) -> None:
        address = callback_address(client, process=process)
        self.failed(client, address, 403)

    def test_it_leads_nowhere_else(self, client: Client, issuer: Issuer, alice: User) -> None:
        assert come_in(client, next="https://evil.example/")["Location"] == "/"

    def test_without_an_issuer_there_is_no_way(self, client: Client, db: None) -> None:
        assert client.post("/accounts/oidc/oidc/login").status_code == 404
        assert client.get("/accounts/oidc/oidc/callback").status_code == 404
        assert b"Continue with" not in client.get("/accounts/login").content
