"""The second factor: setting it up, signing in with it, recovery codes, removing it."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest
from allauth.mfa.models import Authenticator
from django.test import Client

from organizations.models import AuditAction, AuditLog, User
from organizations.sign_ins import SECOND_FACTOR_OF_DAY, USED_CODE
from tests.organizations.accounts.conftest import PASSWORD, is_signed_in, sign_in, totp_code


def again(client: Client, page: Any) -> Any:
    """Give the password once more, where a page asks for it; the page that it then is."""
    return client.post(page["Location"], {"password": PASSWORD}, follow=True)


class TestJourney:
    def test_set_up_sign_in_and_remove(self, client: Client, alice: User) -> None:
        sign_in(client)
        page = again(client, client.get("/accounts/second-factor/set-up"))
        secret = page.context["form"].secret
        assert 'src="data:image/svg+xml;base64,' in page.content.decode()
        assert b"<script>" not in page.content
        done = client.post("/accounts/second-factor/set-up", {"code": totp_code(secret)})
        assert done["Location"] == "/accounts/recovery-codes"
        codes = re.findall(r"\b\d{8}\b", client.get("/accounts/recovery-codes").content.decode())
        assert len(codes) == 10
        assert client.get("/accounts/recovery-codes/download").content.decode().split()[-10:] == codes

        # Another browser: the password alone is not enough.
        other = Client()
        assert sign_in(other)["Location"] == "/accounts/second-factor"
        assert not is_signed_in(other)
        assert other.post("/accounts/second-factor", {"code": totp_code(secret, steps=1)})["Location"] == "/"
        assert is_signed_in(other)

        client.post("/accounts/second-factor/remove")
        assert not Authenticator.objects.exists()
        sign_in(another := Client())
        assert is_signed_in(another)
        told = AuditLog.objects.filter(action=AuditAction.USER_UPDATED).order_by("sequence")
        assert [row.changes for row in told] == [{"second_factor": [False, True]}, {"second_factor": [True, False]}]

    def test_it_takes_the_password_again(self, client: Client, alice: User) -> None:
        client.force_login(alice)
        for path in ("set-up",):
            assert client.get(f"/accounts/second-factor/{path}")["Location"].startswith("/accounts/again?next=")

    def test_without_it_there_is_nothing_to_show(self, client: Client, alice: User) -> None:
        client.force_login(alice)
        assert client.get("/accounts/recovery-codes").status_code == 404
        assert client.get("/accounts/recovery-codes/download").status_code == 404

    def test_a_wrong_code_sets_nothing_up(self, client: Client, alice: User) -> None:
        sign_in(client)
        again(client, client.get("/accounts/second-factor/set-up"))
        assert client.post("/accounts/second-factor/set-up", {"code": "000000"}).status_code == 422
        assert not Authenticator.objects.exists()


class TestCodes:
    @pytest.fixture
    def secret(self, alice: User, totp: Callable[[User], str]) -> str:
        return totp(alice)

    @pytest.fixture
    def waiting(self, client: Client, secret: str) -> Client:
        """Alice's browser after the password."""
        sign_in(client)
        return client

    def enter(self, client: Client, code: str) -> Any:
        return client.post("/accounts/second-factor", {"code": code})

    def test_a_code_works_once_in_all_processes(self, waiting: Client, secret: str) -> None:
        code = totp_code(secret)
        self.enter(waiting, code)
        assert is_signed_in(waiting)
        other = Client()
        sign_in(other)
        # What another process knows: the database, and nothing of this process's cache.
        from django.core.cache import cache

        cache.clear()
        assert b"Incorrect code" in self.enter(other, f"{code[:3]} {code[3:]}").content
        assert not is_signed_in(other)

    def test_guessing_stops_after_five(self, waiting: Client, secret: str) -> None:
        for number in range(5):
            self.enter(waiting, f"{number:06}")
        assert b"Too many" in self.enter(waiting, totp_code(secret)).content
        sign_in(other := Client(REMOTE_ADDR="192.0.2.9"))
        assert b"Too many" in self.enter(other, totp_code(secret)).content
        assert not is_signed_in(waiting)

    def test_guessing_slowly_stops_after_a_hundred_a_day(self, waiting: Client, secret: str, alice: User) -> None:
        for _ in range(100):
            assert SECOND_FACTOR_OF_DAY.allows(str(alice.pk))
        assert b"Too many" in self.enter(waiting, totp_code(secret)).content
        assert not is_signed_in(waiting)

    def test_good_codes_do_not_count(self, waiting: Client, secret: str, alice: User) -> None:
        for _ in range(99):
            assert SECOND_FACTOR_OF_DAY.allows(str(alice.pk))
        self.enter(waiting, totp_code(secret))
        assert is_signed_in(waiting)
        assert SECOND_FACTOR_OF_DAY.allows(str(alice.pk))

    def test_failures_are_noted(self, waiting: Client) -> None:
        self.enter(waiting, "000000")
        row = AuditLog.objects.get(action=AuditAction.USER_LOGIN_FAILED)
        assert row.message == "Sign-in of alice@example.com with a second factor failed"

    def test_a_sign_in_says_by_what_means(self, waiting: Client, secret: str) -> None:
        self.enter(waiting, totp_code(secret))
        row = AuditLog.objects.get(action=AuditAction.USER_LOGIN)
        assert row.message == "alice@example.com signed in with a password and a second factor"

    def test_nobody_skips_the_password(self, client: Client, secret: str) -> None:
        assert client.get("/accounts/second-factor")["Location"] == "/accounts/login"
        assert self.enter(client, totp_code(secret)).status_code == 302
        assert not is_signed_in(client)

    def test_the_key_is_sealed_in_the_database(self, secret: str, alice: User) -> None:
        stored = Authenticator.objects.get(user=alice).data["secret"]
        assert secret not in stored
        assert stored.startswith("k1:")

    def test_a_key_that_was_tampered_with_opens_nothing(self, waiting: Client, secret: str) -> None:
        row = Authenticator.objects.get()
        row.data = {"secret": row.data["secret"][:-6] + "AAAAA="}
        row.save()
        waiting.raise_request_exception = False
        assert self.enter(waiting, totp_code(secret)).status_code == 500
        assert not is_signed_in(waiting)

    def test_the_limit_of_used_codes_outlasts_them(self, settings: Any) -> None:
        accepted_for = settings.MFA_TOTP_TOLERANCE * 2 * 30 + 30
        assert USED_CODE.seconds >= accepted_for


def test_recovery_codes_work_once(client: Client, alice: User) -> None:
    sign_in(client)
    page = again(client, client.get("/accounts/second-factor/set-up"))
    client.post("/accounts/second-factor/set-up", {"code": totp_code(page.context["form"].secret)})
    codes = client.get("/accounts/recovery-codes").context["unused_codes"]
    for attempt, is_good in ((codes[0], True), (codes[0], False), (codes[1], True)):
        sign_in(other := Client())
        other.post("/accounts/second-factor", {"code": attempt})
        assert is_signed_in(other) is is_good
    client.post("/accounts/recovery-codes/new")
    row = AuditLog.objects.filter(action=AuditAction.USER_UPDATED).latest("sequence")
    assert row.message == "User alice@example.com given new recovery codes"
    sign_in(other := Client())
    other.post("/accounts/second-factor", {"code": codes[2]})
    assert not is_signed_in(other)
