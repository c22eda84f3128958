"""The members' pages as people use them, with scripts and without."""

from __future__ import annotations

import uuid

import pytest
from playwright.sync_api import Page, expect

from tests.support.browser import Visitors


def open_members(visitors: Visitors, *, script: bool, width: int = 1280) -> Page:
    organization = visitors.gateway.organization(visitors.gateway.user("alice")["organization"])
    page = visitors.visit("alice", script=script, width=width)
    page.goto(f"/organizations/{organization['id']}/members")
    return page


@pytest.mark.parametrize("script", [True, False])
def test_a_journey(visitors: Visitors, script: bool) -> None:
    """A wrong address first, then an invitation, the link, and its end."""
    email = f"frank-{uuid.uuid4().hex[:6]}@example.com"
    page = open_members(visitors, script=script, width=390)
    page.get_by_role("link", name="Invite member").click()
    page.get_by_label("Email address").fill("frank")
    page.get_by_role("button", name="Create invitation").click()
    wrong = page.get_by_label("Email address")
    expect(wrong).to_have_attribute("aria-invalid", "true")
    expect(wrong).to_have_value("frank")
    if script:
        expect(wrong).to_be_focused()
    wrong.fill(email)
    page.get_by_label("Admin").check()
    page.get_by_role("button", name="Create invitation").click()
    expect(page.locator("#invitation-link")).to_contain_text("/invitations/")
    page.get_by_role("link", name="Done").click()
    row = page.get_by_role("row", name=email)
    expect(row).to_contain_text("Admin")
    row.get_by_role("link", name="Revoke").click()
    page.get_by_role("button", name="Revoke invitation").click()
    expect(page.get_by_text(f"The invitation of {email} was revoked.")).to_be_visible()
    expect(page.get_by_role("row", name=email)).to_have_count(0)
    expect(page.locator("dialog")).to_have_count(0)


def test_an_overlay_gives_the_focus_back(visitors: Visitors) -> None:
    page = open_members(visitors, script=True)
    opener = page.get_by_role("link", name="Invite member")
    opener.press("Enter")
    expect(page.get_by_label("Email address")).to_be_focused()
    page.keyboard.press("Escape")
    expect(page.locator("dialog")).to_have_count(0)
    expect(opener).to_be_focused()


def test_changes_are_not_lost_by_accident(visitors: Visitors) -> None:
    page = open_members(visitors, script=True)
    page.get_by_role("link", name="Invite member").click()
    page.get_by_label("Email address").fill("frank@example.com")
    asked: list[str] = []
    page.once("dialog", lambda dialog: (asked.append(dialog.message), dialog.dismiss()))
    page.get_by_role("button", name="Close").click()
    assert asked
    expect(page.get_by_label("Email address")).to_have_value("frank@example.com")


def test_a_session_that_ended(visitors: Visitors) -> None:
    page = open_members(visitors, script=True)
    page.context.clear_cookies()
    page.get_by_role("link", name="Invite member").click()
    page.wait_for_url("**/login?next=/organizations/**")


def test_the_network_is_away(visitors: Visitors) -> None:
    page = open_members(visitors, script=True)
    page.context.set_offline(True)
    page.get_by_role("link", name="Invite member").click()
    expect(page.get_by_text("The gateway cannot be reached.")).to_be_visible()
    visitors.problems.clear()
