"""Signing in and the account's pages in a real browser, with script and without."""

from __future__ import annotations

import pytest
import requests
from playwright.sync_api import Page, expect

from tests.organizations.accounts.conftest import totp_code
from tests.support.browser import NARROW, Visitors, barriers, overflow


def device_code(visitors: Visitors) -> str:
    answer = requests.post(f"{visitors.gateway.base_url}/api/device-auth/codes", timeout=10)
    return str(answer.json()["code"])


def sign_in(visitors: Visitors, page: Page, name: str) -> None:
    person = visitors.gateway.user(name)
    page.get_by_label("Email address").fill(person["email"])
    page.get_by_label("Password").fill(person["password"])
    page.get_by_role("button", name="Sign in").click()


@pytest.mark.usefixtures("axe")
@pytest.mark.parametrize("dark", [False, True])
def test_no_barriers(visitors: Visitors, dark: bool) -> None:
    found = {}
    width = NARROW if dark else 1280
    pending = f"/device-auth?code={device_code(visitors)}"
    for who, path in (
        ("", "/accounts/login"),
        ("alice", "/account"),
        ("alice", "/accounts/password"),
        ("bob", pending),
    ):
        page = visitors.visit(who, width=width, dark=dark)
        page.goto(path)
        found[path] = barriers(page)
        assert overflow(page) <= 0, path
    assert not any(found.values()), found


def test_a_device_is_approved_without_script(visitors: Visitors) -> None:
    """From the link in the terminal through the sign-in, and back."""
    code = device_code(visitors)
    page = visitors.visit("", width=360, script=False)
    page.goto(f"/device-auth?code={code}")
    sign_in(visitors, page, "carol")
    assert page.locator(".device-code").inner_text() == code
    page.get_by_role("button", name="Approve").click()
    page.get_by_role("heading", name="Approved").wait_for()
    answer = requests.get(f"{visitors.gateway.base_url}/api/device-auth/codes/{code}", timeout=10)
    assert answer.json()["userEmail"] == visitors.gateway.user("carol")["email"]


def test_a_second_factor(visitors: Visitors) -> None:
    """Set up, used, and removed; its picture is one that the policy lets through."""
    page = visitors.visit("")
    page.goto("/accounts/login")
    sign_in(visitors, page, "dave")
    page.wait_for_url(lambda address: "/accounts/login" not in address)
    page.goto("/accounts/second-factor/set-up")
    page.get_by_label("Password").fill(visitors.gateway.user("dave")["password"])
    page.get_by_role("button", name="Continue").click()
    page.locator(".qr img").wait_for()
    assert page.evaluate("document.querySelector('.qr img').naturalWidth") > 0
    page.get_by_label("Code").fill(totp_code(page.locator("#totp-key").inner_text()))
    page.get_by_role("button", name="Turn it on").click()
    page.locator(".recovery-codes").wait_for()
    assert len(page.locator(".recovery-codes").inner_text().split()) == 10
    page.goto("/accounts/second-factor/remove")
    page.get_by_role("button", name="Remove it").click()
    page.get_by_role("link", name="Set up").wait_for()


@pytest.mark.usefixtures("axe")
@pytest.mark.parametrize("script", [True, False])
def test_a_provider_key_of_ones_own(visitors: Visitors, script: bool) -> None:
    """Stored, tested, looked at and deleted, on a phone."""
    page = visitors.visit("carol", script=script, width=360)
    page.goto("/account")
    page.get_by_role("link", name="Add (a provider key)").click()
    page.get_by_label("Provider", exact=True).fill("neuralwatt")
    page.get_by_label("Key", exact=True).fill("sk-of-a-person-1234")
    page.get_by_role("button", name="Store key").click()
    expect(page.get_by_text("The key for Neuralwatt is stored")).to_be_visible()
    page.get_by_role("button", name="Test (Neuralwatt)").click()
    expect(page.get_by_role("heading", name="Neuralwatt")).to_be_visible()
    expect(page.get_by_text("works", exact=True)).to_be_visible()
    assert overflow(page) <= 0
    if script:
        assert barriers(page) == []
    page.get_by_role("link", name="Delete").click()
    page.get_by_role("button", name="Delete key").click()
    expect(page.get_by_text("The key for Neuralwatt was deleted.")).to_be_visible()
    expect(page.get_by_role("link", name="Manage")).to_have_count(0)
