"""Forgetting a password, changing it, and the page of one's account."""

from __future__ import annotations

import re
from datetime import datetime
from typing import Any
from urllib.parse import urlsplit

import pytest
from django.contrib.auth import tokens
from django.core.mail import EmailMessage
from django.test import Client

from organizations.models import AuditAction, AuditLog, User
from organizations.sign_ins import OWN_PASSWORD
from tests.organizations.accounts.conftest import PASSWORD, is_signed_in, link_in, sign_in

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
            assert (refused.status_code, b"Too many" in refused.content) == (200, True)
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
        assert choose(client, page, password).status_code == 200
        alice.refresh_from_db()
        assert alice.check_password(PASSWORD)


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
        assert self.change(signed_in, "wrong").status_code == 200
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

    def test_it_says_nothing_secret(self, client: Client, alice: User) -> None:
        sign_in(client)
        assert alice.password.encode() not in client.get("/account").content
