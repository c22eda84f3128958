"""Forgetting a password, changing it, and the page of one's account."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import datetime
from typing import Any
from urllib.parse import urlsplit

import pytest
from django.contrib.auth import tokens
from django.core.mail import EmailMessage
from django.test import Client

from byok.models import Credential
from organizations.acting import Acting
from organizations.audit import Actor
from organizations.device_authorization import (
    device_authorization_answer,
    device_authorization_create,
    device_authorization_take,
)
from organizations.members import invitation_create
from organizations.models import ApiKey, AuditAction, AuditLog, DeviceState, Membership, Role, User, Via
from organizations.people_selectors import OWN_KEYS_PAGE
from organizations.sign_ins import OWN_PASSWORD
from tests.factories import ApiKeyFactory, CredentialFactory, OrganizationFactory
from tests.organizations.accounts.conftest import PASSWORD, Person, is_signed_in, link_in, sign_in, totp_code

NEW = "quite another few words"
Mails = list[EmailMessage]


def ask(client: Client, email: str = "alice@example.com") -> Any:
    return client.post("/accounts/password/reset", {"email": email})


def follow(client: Client, mails: Mails) -> Any:
    """Open the link of the first mail; the form that it leads to."""
    return client.get(urlsplit(link_in(mails[0])).path, follow=True)


def choose(client: Client, page: Any, password: str = NEW) -> Any:
    return client.post(page.request["PATH_INFO"], {"password1": password, "password2": password})


class TestForgotten:
    def test_the_whole_way(self, client: Client, alice: User, mailoutbox: Mails) -> None:
        elsewhere = Client()
        sign_in(elsewhere)
        assert ask(client, "Alice@example.com")["Location"] == "/accounts/password/reset/sent"
        assert mailoutbox[0].to == ["alice@example.com"]
        page = follow(client, mailoutbox)
        # The key is not in the address of the page, so no link on it can give it away.
        assert page.redirect_chain[-1][0].endswith("-set-password")
        assert choose(client, page)["Location"] == "/accounts/password/reset/done"
        assert not is_signed_in(elsewhere)
        assert not is_signed_in(client)
        sign_in(client, password=NEW)
        assert is_signed_in(client)
        row = AuditLog.objects.get(action=AuditAction.USER_UPDATED)
        assert (row.message, row.actor_id) == ("User alice@example.com given a new password", alice.pk)

    def test_a_link_works_once(self, client: Client, alice: User, mailoutbox: Mails) -> None:
        ask(client)
        choose(client, follow(client, mailoutbox))
        page = follow(Client(), mailoutbox)
        assert page.status_code == 404
        assert b"does not work" in page.content

    def test_and_for_an_hour(
        self, client: Client, alice: User, mailoutbox: Mails, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        ask(client)
        an_hour_later = datetime.fromtimestamp(datetime.now().timestamp() + 3601)  # noqa: DTZ005, DTZ006 - as Django's
        monkeypatch.setattr(tokens.PasswordResetTokenGenerator, "_now", lambda _: an_hour_later)
        assert follow(client, mailoutbox).status_code == 404

    def test_it_says_the_same_about_everybody(self, client: Client, alice: User, mailoutbox: Mails) -> None:
        for email in ("alice@example.com", "nobody@example.com"):
            response = ask(client, email)
            assert (response.status_code, response["Location"]) == (302, "/accounts/password/reset/sent")
        assert [mail.to for mail in mailoutbox] == [["alice@example.com"], ["nobody@example.com"]]
        assert "/accounts/" not in mailoutbox[1].body

    def test_deactivated_accounts_get_no_link(self, client: Client, alice: User, mailoutbox: Mails) -> None:
        User.objects.update(is_active=False)
        ask(client)
        assert "/accounts/" not in mailoutbox[0].body

    def test_five_mails_an_hour_for_an_account_or_none(self, alice: User, mailoutbox: Mails) -> None:
        for email in ("alice@example.com", "nobody@example.com"):
            for _ in range(5):
                assert ask(Client(), email).status_code == 302
            refused = ask(Client(), email)
            assert (refused.status_code, b"Too many" in refused.content) == (429, True)
        assert len(mailoutbox) == 10

    def test_twenty_an_hour_from_an_address(self, db: None, mailoutbox: Mails) -> None:
        for number in range(22):
            ask(Client(), f"person{number}@example.com")
        assert len(mailoutbox) == 20

    def test_a_mail_server_that_is_away_tells_nothing(self, client: Client, alice: User, settings: Any) -> None:
        settings.EMAIL_BACKEND = "django.core.mail.backends.smtp.EmailBackend"
        settings.EMAIL_HOST, settings.EMAIL_PORT = "127.0.0.1", 9
        assert ask(client).status_code == ask(client, "nobody@example.com").status_code == 302

    @pytest.mark.parametrize("password", ["short", "password1234", "alice@example.com"])
    def test_weak_passwords(self, client: Client, alice: User, mailoutbox: Mails, password: str) -> None:
        ask(client)
        page = follow(client, mailoutbox)
        assert choose(client, page, password).status_code == 422
        alice.refresh_from_db()
        assert alice.check_password(PASSWORD)


class TestWhoseAddressItIs:
    """Alice was invited; whoever invited her has the link too, and has used the account before her."""

    @pytest.fixture
    def impostor(self, person: Person) -> Client:
        eve = Membership.objects.create(user=person(), organization=OrganizationFactory.create(), role=Role.OWNER)
        acting = Acting(Actor.of(eve.user, Via.WEB), eve.user)
        sent = invitation_create(
            organization_id=eve.organization_id, acting=acting, email="alice@example.com", role=Role.ADMIN
        )
        theirs = Client()
        theirs.post(f"/invitations/{sent.token.reveal()}", {"name": "Alice", "password": PASSWORD})
        assert is_signed_in(theirs)
        return theirs

    def test_the_first_mail_ends_what_was_there(self, client: Client, impostor: Client, mailoutbox: Mails) -> None:
        alice = User.objects.get(email="alice@example.com")
        organization = Membership.objects.get(user=alice).organization
        keys = [ApiKeyFactory.create(user=alice), ApiKeyFactory.create(user=alice, organization=organization)]
        others = ApiKeyFactory.create(organization=organization)
        stored = [
            CredentialFactory.create(user=alice),
            CredentialFactory.create(organization=organization),
        ]
        waiting = device_authorization_create(address="192.0.2.1", client="kilo")
        code = waiting.code.reveal()
        device_authorization_answer(code=code, user=alice, address="192.0.2.1", approve=True)
        ask(client)
        choose(client, follow(client, mailoutbox))
        assert not is_signed_in(impostor)
        assert device_authorization_take(code=code, address="192.0.2.1") is DeviceState.DENIED
        assert set(ApiKey.objects.filter(revoked_at=None)) == {others}
        revoked = AuditLog.objects.filter(action=AuditAction.API_KEY_REVOKED)
        assert {row.target_id for row in revoked} == {str(key.pk) for key in keys}
        assert {row.organization_id for row in revoked} == {None, organization.pk}
        assert list(Credential.objects.all()) == stored[1:]
        told = AuditLog.objects.filter(action=AuditAction.USER_UPDATED).order_by("sequence")
        assert "API keys revoked: 2" in told[0].message
        sign_in(client, password=NEW)
        assert is_signed_in(client)

    def test_an_account_that_is_closed_meanwhile_stays_as_it_is(
        self, client: Client, impostor: Client, mailoutbox: Mails
    ) -> None:
        ask(client)
        page = follow(client, mailoutbox)
        User.objects.filter(email="alice@example.com").update(is_active=False)
        assert choose(client, page)["Location"] == "/accounts/login"
        alice = User.objects.get(email="alice@example.com")
        assert alice.email_proven_at is None
        assert alice.check_password(PASSWORD)

    def test_later_ones_leave_the_keys(self, client: Client, impostor: Client, mailoutbox: Mails) -> None:
        ask(client)
        choose(client, follow(client, mailoutbox))
        alice = User.objects.get(email="alice@example.com")
        assert alice.email_proven_at is not None
        key = ApiKeyFactory.create(user=alice)
        mailoutbox.clear()
        ask(client)
        choose(client, follow(client, mailoutbox))
        assert list(ApiKey.objects.filter(revoked_at=None)) == [key]

    def test_a_changed_password_proves_nothing(self, impostor: Client) -> None:
        impostor.post("/accounts/password", {"oldpassword": PASSWORD, "password1": NEW, "password2": NEW})
        alice = User.objects.get(email="alice@example.com")
        assert alice.check_password(NEW)
        assert alice.email_proven_at is None

    def test_staff_answers_for_the_accounts_that_it_makes(self, client: Client, alice: User, mailoutbox: Mails) -> None:
        key = ApiKeyFactory.create(user=alice)
        ask(client)
        choose(client, follow(client, mailoutbox))
        assert list(ApiKey.objects.filter(revoked_at=None)) == [key]

    def test_a_sign_in_that_waits_for_its_second_factor_ends_too(
        self, client: Client, alice: User, totp: Callable[[User], str], mailoutbox: Mails
    ) -> None:
        secret = totp(alice)
        waiting = Client()
        assert sign_in(waiting)["Location"] == "/accounts/second-factor"
        ask(client)
        choose(client, follow(client, mailoutbox))
        assert waiting.post("/accounts/second-factor", {"code": totp_code(secret)})["Location"] == "/accounts/login"
        assert not is_signed_in(waiting)


class TestWhereTheIssuerDecides:
    @pytest.fixture(autouse=True)
    def issuer(self, settings: Any) -> None:
        settings.OIDC_ISSUER, settings.OIDC_NAME = "https://id.example.com", "Example ID"
        settings.OIDC_EMAIL_DOMAINS = frozenset({"example.com"})

    def test_no_link_is_sent(self, client: Client, alice: User, mailoutbox: Mails, settings: Any) -> None:
        pages = [ask(client, email) for email in ("alice@example.com", "nobody@example.com")]
        assert all(b"Example ID decides" in page.content for page in pages)
        assert not mailoutbox
        settings.OIDC_EMAIL_DOMAINS = frozenset({"example.org"})
        assert ask(client).status_code == 302
        assert len(mailoutbox) == 1

    def test_a_link_that_was_sent_before(self, client: Client, alice: User, mailoutbox: Mails, settings: Any) -> None:
        settings.OIDC_ISSUER = ""
        ask(client)
        settings.OIDC_ISSUER = "https://id.example.com"
        assert b"Example ID decides" in choose(client, follow(client, mailoutbox)).content
        alice.refresh_from_db()
        assert alice.check_password(PASSWORD)

    def test_no_first_password(self, client: Client, person: Person, settings: Any) -> None:
        frank = person(email="frank@example.com")
        frank.set_unusable_password()
        frank.save()
        client.force_login(frank)
        assert b"/accounts/password/first" not in client.get("/account").content
        new = {"password1": NEW, "password2": NEW}
        assert b"Example ID decides" in client.post("/accounts/password/first", new).content
        frank.refresh_from_db()
        assert not frank.has_usable_password()
        settings.OIDC_EMAIL_DOMAINS = frozenset({"example.org"})
        assert b"/accounts/password/first" in client.get("/account").content
        assert client.post("/accounts/password/first", new).status_code == 302

    def test_one_that_staff_gave_can_be_changed(self, client: Client, alice: User) -> None:
        client.force_login(alice)
        client.post("/accounts/password", {"oldpassword": PASSWORD, "password1": NEW, "password2": NEW})
        alice.refresh_from_db()
        assert alice.check_password(NEW)


class TestChanged:
    @pytest.fixture
    def signed_in(self, client: Client, alice: User) -> Client:
        client.force_login(alice)
        return client

    def change(self, client: Client, old: str = PASSWORD) -> Any:
        return client.post("/accounts/password", {"oldpassword": old, "password1": NEW, "password2": NEW})

    def test_it_ends_other_sessions(self, signed_in: Client, alice: User, mailoutbox: Mails) -> None:
        elsewhere = Client()
        elsewhere.force_login(alice)
        assert self.change(signed_in)["Location"] == "/account"
        assert is_signed_in(signed_in)
        assert not is_signed_in(elsewhere)
        assert "was changed" in mailoutbox[0].subject

    def test_it_takes_the_present_one(self, signed_in: Client, alice: User) -> None:
        assert self.change(signed_in, "wrong").status_code == 422
        alice.refresh_from_db()
        assert alice.check_password(PASSWORD)

    def test_which_cannot_be_guessed(self, signed_in: Client, alice: User) -> None:
        self.change(signed_in, "wrong")
        for _ in range(9):
            OWN_PASSWORD.allows(str(alice.pk))
        assert b"Too many" in self.change(signed_in).content


class TestAccount:
    def test_a_name_is_saved(self, client: Client, alice: User) -> None:
        sign_in(client)
        assert client.post("/account", {"name": " Alice Arden "})["Location"] == "/account"
        alice.refresh_from_db()
        assert alice.name == "Alice Arden"
        row = AuditLog.objects.get(action=AuditAction.USER_UPDATED)
        assert row.changes == {"name": ["Alice", "Alice Arden"]}
        client.post("/account", {"name": "Alice Arden"})
        assert AuditLog.objects.filter(action=AuditAction.USER_UPDATED).count() == 1

    def test_what_is_no_name(self, client: Client, alice: User) -> None:
        sign_in(client)
        page = client.post("/account", {"name": "x" * 151})
        assert page.status_code == 422
        assert re.search(rb'aria-invalid="true"', page.content)

    def test_its_api_keys_page_by_page(self, client: Client, alice: User) -> None:
        sign_in(client)
        keys = [ApiKeyFactory.create(user=alice) for _ in range(OWN_KEYS_PAGE + 1)]
        ApiKeyFactory.create()
        first = client.get("/account")
        assert first.context["keys"] == keys[:0:-1]
        assert first.context["older"] in first.content.decode()
        last = client.get(first.context["older"])
        assert (last.context["keys"], last.context["older"]) == (keys[:1], "")

    def test_it_says_nothing_secret(self, client: Client, alice: User) -> None:
        sign_in(client)
        assert alice.password.encode() not in client.get("/account").content
