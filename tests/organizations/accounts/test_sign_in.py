"""Signing in with a password, and out."""

from __future__ import annotations

import re
from typing import Any

import pytest
from django.test import Client, override_settings

from organizations.audit import COMMAND
from organizations.models import AuditAction, AuditLog, User
from organizations.sign_ins import may_try_to_sign_in
from organizations.users import user_update
from tests.organizations.accounts.conftest import PASSWORD, Person, is_signed_in, sign_in


def told(action: AuditAction) -> list[AuditLog]:
    return list(AuditLog.objects.filter(action=action).order_by("sequence"))


class TestPassword:
    def test_it_opens_a_session_and_is_noted(self, client: Client, alice: User) -> None:
        client.get("/accounts/login")
        response = sign_in(client, "Alice@Example.com ")
        assert (response.status_code, response["Location"]) == (302, "/")
        assert is_signed_in(client)
        (row,) = told(AuditAction.USER_LOGIN)
        assert (row.actor_email, row.address, row.organization_id) == ("alice@example.com", "127.0.0.1", None)
        assert row.message == "alice@example.com signed in with a password"

    def test_the_session_gets_another_id(self, client: Client, alice: User) -> None:
        client.get("/accounts/password/reset/1-2-3")
        session = client.session
        session["planted"] = True
        session.save()
        client.cookies["sessionid"] = planted = str(session.session_key)
        sign_in(client)
        assert client.cookies["sessionid"].value != planted
        client.cookies["sessionid"] = planted
        assert not is_signed_in(client)

    def test_the_cookie(self, client: Client, alice: User, settings: Any) -> None:
        settings.SESSION_COOKIE_SECURE = True
        cookie = sign_in(client).cookies["sessionid"]
        assert (cookie["httponly"], cookie["secure"], cookie["samesite"]) == (True, True, "Lax")
        assert cookie["max-age"] == 7 * 24 * 3600

    @pytest.mark.parametrize("wanted", ["/account", "/organizations/1/modes?tab=a"])
    def test_it_leads_to_where_the_person_was_going(self, client: Client, alice: User, wanted: str) -> None:
        assert wanted in client.get("/accounts/login", {"next": wanted}).content.decode()
        assert sign_in(client, next=wanted)["Location"] == wanted

    @pytest.mark.parametrize(
        "elsewhere",
        ["https://evil.example/", "//evil.example", "/\\evil.example", "javascript:alert(1)", "http:///x.y"],
    )
    def test_it_leads_nowhere_else(self, client: Client, alice: User, elsewhere: str) -> None:
        assert sign_in(client, next=elsewhere)["Location"] == "/"
        assert client.get("/accounts/login", {"next": elsewhere})["Location"] == "/"

    def test_a_page_for_members_asks_first(self, client: Client) -> None:
        assert client.get("/account")["Location"] == "/accounts/login?next=/account"

    def test_the_form_needs_its_token(self, alice: User) -> None:
        client = Client(enforce_csrf_checks=True)
        assert sign_in(client).status_code == 403
        assert not is_signed_in(client)


class TestRefusals:
    def test_unknown_and_wrong_look_alike(self, client: Client, alice: User) -> None:
        pages = []
        for email in ("alice@example.com", "nobody@example.com"):
            response = sign_in(client, email, "wrong password")
            assert response.status_code == 422
            text = response.content.decode().replace(email, "ADDRESS")
            pages.append(re.sub(r'(?:value|X-CSRFToken)["\'=: ]+\w{64}', "", text))
        assert pages[0] == pages[1]
        assert "not correct" in pages[0]

    def test_unknown_costs_a_password_hash_too(
        self, client: Client, alice: User, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        hashed: list[str] = []
        original = User.set_password
        monkeypatch.setattr(User, "set_password", lambda self, text: (hashed.append(text), original(self, text))[0])
        sign_in(client, "nobody@example.com", "wrong password")
        assert hashed == ["wrong password"]

    def test_they_are_noted_without_what_strangers_typed(self, client: Client, alice: User) -> None:
        sign_in(client, "alice@example.com", "wrong password")
        sign_in(client, "my-secret-password@example.com", "wrong password")
        known, unknown = told(AuditAction.USER_LOGIN_FAILED)
        assert (known.target_id, known.actor_id) == (str(alice.pk), None)
        assert known.message == "Sign-in of alice@example.com with a password failed"
        assert unknown.message == "Sign-in of an address that has no account with a password failed"
        assert "wrong password" not in str([row.__dict__ for row in (known, unknown)])

    def test_nobody_registers_himself(self, client: Client) -> None:
        assert client.get("/accounts/signup").status_code == 404
        assert client.get("/accounts/email").status_code == 404

    def test_an_inactive_account(self, client: Client, alice: User) -> None:
        User.objects.update(is_active=False)
        assert sign_in(client)["Location"] == "/accounts/inactive"
        assert not is_signed_in(client)
        assert b"deactivated" in client.get("/accounts/inactive").content
        # Only who knows the password is told.
        assert b"not correct" in sign_in(client, password="wrong password").content

    def test_a_session_ends_with_the_account(self, client: Client, alice: User) -> None:
        sign_in(client)
        user_update(user_id=alice.pk, name="Alice", is_active=False, is_staff=False, actor=COMMAND)
        assert not is_signed_in(client)


class TestLimits:
    def test_guessing_stops_after_five(self, client: Client, alice: User) -> None:
        for _ in range(5):
            assert b"not correct" in sign_in(client, password="wrong").content
        # The right password is not looked at any more.
        refused = sign_in(client)
        assert (refused.status_code, refused["Retry-After"], b"Too many" in refused.content) == (429, "300", True)
        assert not is_signed_in(client)
        # Elsewhere the person still gets in.
        elsewhere = Client(REMOTE_ADDR="192.0.2.7")
        sign_in(elsewhere)
        assert is_signed_in(elsewhere)

    def test_from_one_address_nobody_is_locked_out_elsewhere(self, db: None) -> None:
        """However often it is tried there: what was refused does not count against the account."""
        tried = [may_try_to_sign_in("alice@example.com", "192.0.2.1") for _ in range(150)]
        assert sum(tried) == 5
        assert may_try_to_sign_in("alice@example.com", "192.0.2.2")

    def test_guessing_from_many_addresses_stops(self, client: Client, alice: User) -> None:
        """Not where the person has signed in before: there he still gets in."""
        sign_in(Client(REMOTE_ADDR="2001:db8::1"))
        for number in range(100):
            assert may_try_to_sign_in("alice@example.com", f"192.0.2.{number}")
        assert b"Too many" in sign_in(client).content
        sign_in(home := Client(REMOTE_ADDR="2001:db8::2"))
        assert is_signed_in(home)
        for _ in range(5):
            sign_in(Client(REMOTE_ADDR="2001:db8::3"), password="wrong")
        assert b"Too many" in sign_in(Client(REMOTE_ADDR="2001:db8::3")).content

    def test_accounts_that_there_are_not_are_limited_alike(self, client: Client, alice: User) -> None:
        for _ in range(5):
            sign_in(client, "nobody@example.com", "wrong")
        assert b"Too many" in sign_in(client, "NOBODY@example.com ", "wrong").content

    def test_good_passwords_do_not_count_and_forgive_nothing(self, alice: User) -> None:
        for _ in range(4):
            sign_in(Client(), password="wrong")
        for _ in range(3):
            client = Client()
            sign_in(client)
            assert is_signed_in(client)
        sign_in(Client(), password="wrong")
        assert b"Too many" in sign_in(Client()).content

    def test_one_address_has_fifty_for_all_accounts(self, db: None) -> None:
        client = Client(REMOTE_ADDR="2001:db8::1")
        for number in range(50):
            sign_in(client, f"person{number}@example.com", "wrong")
        neighbour = Client(REMOTE_ADDR="2001:db8::ffff")
        assert b"Too many" in sign_in(neighbour, "somebody@example.com", "wrong").content
        assert b"not correct" in sign_in(Client(REMOTE_ADDR="2001:db8:0:1::1"), "s@example.com", "wrong").content
        # Sixty rows an hour at most about accounts that there are not.
        assert len(told(AuditAction.USER_LOGIN_FAILED)) <= 60

    def test_strangers_do_not_fill_the_audit_log(self, alice: User) -> None:
        for number in range(12):
            sign_in(Client(REMOTE_ADDR=f"192.0.2.{number}"), password="wrong")
        assert len(told(AuditAction.USER_LOGIN_FAILED)) == 10


class TestSigningOut:
    def test_it_takes_a_form(self, client: Client, alice: User) -> None:
        sign_in(client)
        assert b"Sign out?" in client.get("/accounts/logout").content
        assert is_signed_in(client)
        assert client.post("/accounts/logout")["Location"] == "/accounts/login"
        assert not is_signed_in(client)

    def test_it_leads_nowhere_else(self, client: Client, alice: User) -> None:
        sign_in(client)
        assert client.post("/accounts/logout", {"next": "https://evil.example/"})["Location"] == "/accounts/login"

    def test_everywhere_else(self, client: Client, alice: User) -> None:
        other = Client()
        sign_in(other)
        sign_in(client)
        page = client.post("/account/sessions/end")
        assert page["Location"].startswith("/accounts/again?next=")
        client.post(page["Location"], {"password": PASSWORD})
        assert is_signed_in(client)
        assert not is_signed_in(other)


class TestDjangoAdmin:
    @pytest.fixture
    def staff(self, person: Person) -> User:
        return person(email="staff@example.com", is_staff=True)

    def test_it_has_no_sign_in_of_its_own(self, client: Client, staff: User) -> None:
        response = client.get("/admin/", follow=True)
        assert response.redirect_chain[-1][0] == "/accounts/login?next=/admin/"
        assert sign_in(client, "staff@example.com", next="/admin/")["Location"] == "/admin/"
        assert client.get("/admin/").status_code == 200

    def test_posting_to_it_signs_nobody_in(self, client: Client, staff: User) -> None:
        response = client.post("/admin/login/", {"username": "staff@example.com", "password": PASSWORD})
        assert response.status_code == 302
        assert client.get("/admin/").status_code == 302

    def test_others_stop_at_the_door(self, client: Client, alice: User) -> None:
        sign_in(client)
        assert client.get("/admin/login/", {"next": "/admin/"}).status_code == 403


@override_settings(ALLOWED_HOSTS=["*"])
def test_mails_lead_to_the_installation_whatever_host_was_named(
    client: Client, alice: User, mailoutbox: list[Any], settings: Any
) -> None:
    client.post("/accounts/password/reset", {"email": "alice@example.com"}, headers={"host": "evil.example"})
    assert f"{settings.BASE_URL}/accounts/password/reset/" in mailoutbox[0].body
    assert "evil.example" not in mailoutbox[0].body
