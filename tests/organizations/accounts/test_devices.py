"""Signing in a command-line program: from the code to the key, and every other end."""

from __future__ import annotations

import re
import threading
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.db import connections
from django.test import Client

from organizations.device_authorization import (
    MAX_PENDING,
    Taken,
    device_authorization_answer,
    device_authorization_create,
    device_authorization_take,
    normal_code,
)
from organizations.models import ApiKey, AuditAction, AuditLog, DeviceAuthorization, User
from tests.factories import ApiKeyFactory, OrganizationFactory, UserFactory
from tests.organizations.accounts.conftest import is_signed_in
from tests.support.tenants import make_tenant

CODES = "/api/device-auth/codes"


def ask(address: str = "192.0.2.1", client: str = "Kilo-Code/7.7.7") -> dict[str, Any]:
    response = Client(REMOTE_ADDR=address).post(CODES, headers={"user-agent": client})
    assert response.status_code == 200, response.content
    return dict(response.json())


def poll(code: str, address: str = "192.0.2.1") -> Any:
    return Client(REMOTE_ADDR=address).get(f"{CODES}/{code}")


@pytest.fixture
def browser(alice: User) -> Client:
    client = Client()
    client.force_login(alice)
    return client


def answer(browser: Client, code: str, word: str = "approve") -> Any:
    return browser.post("/device-auth", {"code": code, "answer": word})


class TestJourney:
    def test_it_works(self, browser: Client, alice: User, settings: Any) -> None:
        asked = ask()
        code = asked["code"]
        assert re.fullmatch(r"[BCDFGHJKLMNPQRSTVWXZ]{4}(-[BCDFGHJKLMNPQRSTVWXZ]{4}){2}", code)
        assert asked == {
            "code": code,
            "verificationUrl": f"{settings.BASE_URL}/device-auth?code={code}",
            "expiresIn": 600,
        }
        assert (poll(code).status_code, poll(code).json()) == (202, {"status": "pending"})

        page = browser.get("/device-auth", {"code": code})
        text = page.content.decode()
        assert all(shown in text for shown in (code, "Kilo-Code/7.7.7", "192.0.2.1", "alice@example.com"))
        assert page["Referrer-Policy"] == "same-origin"
        assert poll(code).status_code == 202
        assert b"Approved" in answer(browser, code).content
        assert not ApiKey.objects.exists()

        taken = poll(code)
        assert taken.status_code == 200
        assert taken["Cache-Control"] == "private, no-store"
        key = taken.json()["token"]
        assert taken.json() == {
            "status": "approved",
            "token": key,
            "userId": str(alice.pk),
            "userEmail": "alice@example.com",
        }
        row = ApiKey.objects.get()
        assert (row.user, row.organization, row.scopes, row.name) == (alice, None, ["inference"], "Kilo CLI")
        assert Client().get("/api/user", headers={"authorization": f"Bearer {key}"}).json()["email"] == alice.email

        again = poll(code)
        assert (again.status_code, again.json()["error"]["code"]) == (410, "device_code_taken")
        assert ApiKey.objects.count() == 1

    def test_it_is_noted(self, browser: Client, alice: User) -> None:
        answer(browser, ask()["code"])
        row = AuditLog.objects.get()
        assert (row.action, row.actor_id) == (AuditAction.DEVICE_AUTH_APPROVED, alice.pk)
        assert row.message == 'Sign-in of "Kilo-Code/7.7.7" at 192.0.2.1 approved by alice@example.com'
        assert row.target_id == str(DeviceAuthorization.objects.get().pk)

    def test_the_person_can_revoke_the_key(self, browser: Client, alice: User, person: Any) -> None:
        code = ask()["code"]
        answer(browser, code)
        header = {"authorization": f"Bearer {poll(code).json()['token']}"}
        path = f"/account/keys/{ApiKey.objects.get().pk}/revoke"
        assert path in browser.get("/account").content.decode()
        other = Client()
        other.force_login(person(email="mallory@example.com"))
        assert other.post(path).status_code == 404
        assert path not in other.get("/account").content.decode()
        assert Client().get("/api/user", headers=header).status_code == 200

        assert b"The API key Kilo CLI is revoked" in browser.post(path, follow=True).content
        assert Client().get("/api/user", headers=header).status_code == 401
        assert path not in browser.get("/account").content.decode()
        assert browser.post(path).status_code == 302
        row = AuditLog.objects.get(action=AuditAction.API_KEY_REVOKED)
        assert (row.actor_id, row.via) == (alice.pk, "web")

    def test_a_key_of_an_organization_is_not_revoked_there(self, browser: Client, alice: User) -> None:
        """That is the business of the organization's own page, under its lock."""
        key = ApiKeyFactory.create(user=alice, organization=OrganizationFactory.create())
        assert str(key.pk) not in browser.get("/account").content.decode()
        assert browser.post(f"/account/keys/{key.pk}/revoke").status_code == 404

    def test_a_code_may_be_typed(self, browser: Client) -> None:
        code = ask()["code"]
        assert b"your terminal shows" in browser.get("/device-auth").content
        page = browser.get("/device-auth", {"code": code.lower().replace("-", " ")})
        assert f'value="{code}"' in page.content.decode()

    def test_nothing_in_the_database_opens_anything(self, browser: Client) -> None:
        code = ask()["code"]
        answer(browser, code)
        stored = str(DeviceAuthorization.objects.values().get())
        assert code not in stored
        assert code.replace("-", "") not in stored
        assert "kilo_" not in stored


class TestOtherEnds:
    def test_denied(self, browser: Client) -> None:
        code = ask()["code"]
        assert b"Denied" in answer(browser, code, "deny").content
        denied = poll(code)
        assert (denied.status_code, denied.json()["error_type"]) == (403, "access_denied")
        assert answer(browser, code).status_code == 409
        assert poll(code).status_code == 403

    @pytest.mark.parametrize("word", ["", "yes", "Approve"])
    def test_only_approve_approves(self, browser: Client, word: str) -> None:
        code = ask()["code"]
        answer(browser, code, word)
        assert poll(code).status_code == 403

    def test_expired_unanswered(self, browser: Client) -> None:
        code = ask()["code"]
        expire()
        assert poll(code).status_code == 410
        assert browser.get("/device-auth", {"code": code}).status_code == 410
        assert answer(browser, code).status_code == 409

    def test_expired_untaken(self, browser: Client) -> None:
        code = ask()["code"]
        answer(browser, code)
        row = DeviceAuthorization.objects.get()
        assert row.expires_at <= datetime.now(UTC) + timedelta(minutes=2)
        expire()
        assert poll(code).status_code == 410
        assert not ApiKey.objects.exists()

    def test_answered_once(self, browser: Client, person: Any) -> None:
        code = ask()["code"]
        answer(browser, code)
        other = Client()
        other.force_login(person(email="mallory@example.com"))
        assert other.get("/device-auth", {"code": code}).status_code == 410
        assert answer(other, code, "deny").status_code == 409
        assert poll(code).json()["userEmail"] == "alice@example.com"

    def test_approved_by_somebody_deactivated_since(self, browser: Client, alice: User) -> None:
        code = ask()["code"]
        answer(browser, code)
        User.objects.update(is_active=False)
        assert poll(code).status_code == 403
        assert not ApiKey.objects.exists()

    @pytest.mark.parametrize("code", ["BBBB-CCCC-DDDD", "short", "AEIO-AEIO-AEIO", "%00", "x" * 300])
    def test_there_is_no_such_code(self, browser: Client, code: str) -> None:
        assert poll(code).status_code == 410
        assert browser.get("/device-auth", {"code": code}).status_code == 410

    def test_approving_takes_a_person_and_the_form_s_token(self, alice: User) -> None:
        code = ask()["code"]
        assert Client().post("/device-auth", {"code": code, "answer": "approve"}).status_code == 302
        signed_in = Client(enforce_csrf_checks=True)
        signed_in.force_login(alice)
        assert answer(signed_in, code).status_code == 403
        assert signed_in.get("/device-auth", {"code": code, "answer": "approve"}).status_code == 200
        assert poll(code).status_code == 202

    def test_signed_out_it_leads_through_the_sign_in(self, client: Client, db: None) -> None:
        code = ask()["code"]
        assert (
            client.get("/device-auth", {"code": code})["Location"]
            == f"/accounts/login?next=/device-auth%3Fcode%3D{code}"
        )

    def test_what_a_program_calls_itself_is_text(self, browser: Client) -> None:
        code = ask(client="<b>Kilo</b>\x1b[31m" + "x" * 500)["code"]
        text = browser.get("/device-auth", {"code": code}).content.decode()
        assert "&lt;b&gt;Kilo&lt;/b&gt;[31m" in text
        assert len(DeviceAuthorization.objects.get().client) == 200


class TestLimits:
    def test_so_many_wait_for_an_answer(self, browser: Client) -> None:
        codes = [ask()["code"] for _ in range(MAX_PENDING)]
        refused = Client(REMOTE_ADDR="192.0.2.1").post(CODES)
        assert (refused.status_code, refused.json()["error"]["code"]) == (429, "too_many_pending")
        assert int(refused["Retry-After"]) > 0
        ask("192.0.2.2")
        answer(browser, codes[0])
        answer(browser, codes[1], "deny")
        ask()
        ask()
        assert Client(REMOTE_ADDR="192.0.2.1").post(CODES).status_code == 429
        expire()
        ask()

    def test_an_ipv6_subscriber_is_one(self, db: None) -> None:
        for number in range(MAX_PENDING):
            ask(f"2001:db8::{number + 1:x}")
        assert Client(REMOTE_ADDR="2001:db8::ffff").post(CODES).status_code == 429
        ask("2001:db8:0:1::1")

    def test_guessing_stops(self, browser: Client) -> None:
        code = ask()["code"]
        answer(browser, code)
        for number in range(30):
            assert poll(f"BBBB-BBBB-BB{'BCDFGHJKLM'[number // 10]}{'BCDFGHJKLM'[number % 10]}").status_code == 410
        refused = poll(code)
        assert (refused.status_code, refused.json()["error"]["code"]) == (429, "too_many_wrong_codes")
        assert poll(code, "192.0.2.2").status_code == 200

    def test_old_ones_are_forgotten(self, browser: Client) -> None:
        for _ in range(3):
            ask()
        answer(browser, ask()["code"])
        DeviceAuthorization.objects.update(expires_at=datetime.now(UTC) - timedelta(hours=1))
        ask()
        # The new one, and the one that somebody answered.
        assert DeviceAuthorization.objects.count() == 2
        DeviceAuthorization.objects.update(expires_at=datetime.now(UTC) - timedelta(days=31))
        ask()
        assert DeviceAuthorization.objects.count() == 1


def test_of_two_takers_one_gets_a_key(committed_db: None) -> None:
    user = UserFactory.create(email="alice@example.com")
    made = device_authorization_create(address="192.0.2.1", client="Kilo")
    code = made.code.reveal()
    device_authorization_answer(code=code, user=user, address="192.0.2.1", approve=True)
    together = threading.Barrier(8)

    def take(number: int) -> bool:
        try:
            together.wait(10)
            return isinstance(device_authorization_take(code=code, address=f"192.0.2.{number}"), Taken)
        finally:
            connections.close_all()

    with ThreadPoolExecutor(8) as pool:
        got = list(pool.map(take, range(1, 9)))
    assert sum(got) == 1
    assert ApiKey.objects.count() == 1


def test_a_session_opens_no_proxy(client: Client, db: None) -> None:
    """Pages have sessions, model requests have keys."""
    client.force_login(make_tenant().user)
    assert is_signed_in(client)
    for path in ("/api/gateway/v1/chat/completions", "/api/openrouter/models"):
        assert client.post(path, {}, content_type="application/json").status_code in {401, 405}
    assert client.get("/api/gateway/v1/models").status_code == 401


@pytest.mark.parametrize(
    ("typed", "code"),
    [
        ("bcdf-ghjk-lmnp", "BCDF-GHJK-LMNP"),
        ("BCDF GHJK LMNP", "BCDF-GHJK-LMNP"),
        ("BCDFGHJKLMNP", "BCDF-GHJK-LMNP"),
        ("BCDF-GHJK-LMNA", ""),
        ("BCDF-GHJK", ""),
        ("", ""),
        ("ßCDF-GHJK-LMNP", ""),
    ],
)
def test_how_codes_are_read(typed: str, code: str) -> None:
    assert normal_code(typed) == code


def expire() -> None:
    DeviceAuthorization.objects.update(expires_at=datetime.now(UTC) - timedelta(seconds=1))
