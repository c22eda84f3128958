"""What all pages have in common, in a real browser."""

from __future__ import annotations

import pytest

from tests.support.browser import NARROW, Visitors, barriers, overflow


def members(visitors: Visitors) -> str:
    organization = visitors.gateway.organization(visitors.gateway.user("alice")["organization"])
    return f"/organizations/{organization['id']}/members"


@pytest.mark.usefixtures("axe")
@pytest.mark.parametrize("dark", [False, True])
def test_no_barriers(visitors: Visitors, dark: bool) -> None:
    """Wide and light, or narrow and dark."""
    width = NARROW if dark else 1280
    found = {}
    for who, path in (("staff", "/styleguide"), ("alice", members(visitors)), ("", "/no/such/page")):
        page = visitors.visit(who, width=width, dark=dark)
        page.goto(path)
        found[path] = barriers(page)
        assert overflow(page) <= 0, path
    assert not any(found.values()), found


@pytest.mark.usefixtures("axe")
def test_no_barriers_in_an_overlay(visitors: Visitors) -> None:
    page = visitors.visit("alice", width=360)
    page.goto(members(visitors))
    page.get_by_role("link", name="Invite member").click()
    page.get_by_role("dialog").wait_for()
    assert barriers(page) == []
    assert overflow(page) <= 0


def test_the_navigation_of_a_narrow_screen_needs_no_script(visitors: Visitors) -> None:
    page = visitors.visit("alice", width=360, script=False)
    page.goto(members(visitors))
    assert not page.get_by_role("link", name="Audit log").is_visible()
    page.locator(".top > details > summary").click()
    assert page.get_by_role("link", name="Audit log").is_visible()
    assert page.get_by_role("link", name="Members").get_attribute("aria-current") == "page"


def test_why_not_is_shown_on_focus(visitors: Visitors) -> None:
    page = visitors.visit("alice")
    page.goto(members(visitors))
    refused = page.get_by_role("row", name="alice@example.com").get_by_role("button", name="Leave")
    refused.focus()
    assert page.get_by_role("tooltip").filter(visible=True).inner_text().startswith("An organization keeps")
    assert refused.get_attribute("aria-disabled") == "true"


def test_django_admin_and_the_api_reference_keep_the_policy(visitors: Visitors) -> None:
    page = visitors.visit("staff")
    for path in (
        "/admin/",
        "/admin/organizations/auditlog/",
        "/admin/organizations/user/add/",
        "/admin/organizations/organization/",
    ):
        page.goto(path)
        assert page.locator("#site-name").is_visible(), path
    narrow = page.goto("/admin/organizations/auditlog/")
    assert narrow is not None
    assert "unsafe" not in narrow.headers["content-security-policy"]
    page.goto("/api/docs/")
    page.locator(".opblock-tag").first.wait_for()


def test_the_policy_is_enforced(visitors: Visitors) -> None:
    page = visitors.visit("alice")
    page.goto(members(visitors))
    page.evaluate("document.body.insertAdjacentHTML('beforeend', '<img src=x onerror=\"window.hit = 1\">')")
    page.wait_for_timeout(100)
    assert page.evaluate("window.hit") is None
    assert any("Content Security Policy" in problem for problem in visitors.problems)
    visitors.problems.clear()
