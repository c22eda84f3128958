"""Usage and the audit log in a real browser, with scripts and without."""

from __future__ import annotations

import re

import pytest
import requests
from playwright.sync_api import Page, expect

from tests.support.browser import NARROW, Visitors, barriers, overflow
from tests.support.inprocess import CHAT, chat
from tests.support.live import Gateway


@pytest.fixture(scope="module")
def acme(gateway: Gateway) -> str:
    """Where the pages of an organization begin that has used something."""
    alice = gateway.user("alice")
    headers = {"Authorization": f"Bearer {alice['api_key']}", "x-kilocode-mode": "code"}
    answer = requests.post(gateway.base_url + CHAT, json=chat(), headers=headers, timeout=20)
    gateway.usage(answer.headers["x-request-id"])
    return f"/organizations/{gateway.organization(alice['organization'])['id']}"


@pytest.mark.usefixtures("axe")
@pytest.mark.parametrize("dark", [False, True])
def test_no_barriers(visitors: Visitors, acme: str, dark: bool) -> None:
    found = {}
    page = visitors.visit("alice", width=NARROW if dark else 1280, dark=dark)
    for path in ("/usage", "/usage/requests", "/audit-logs", "/audit-logs/2"):
        page.goto(f"{acme}{path}")
        found[path] = barriers(page)
        assert overflow(page) <= 0, path
    page.goto(f"{acme}/audit-logs")
    page.locator(".audit-message").first.click()
    page.get_by_role("dialog").wait_for()
    found["drawer"] = barriers(page)
    assert not any(found.values()), found


def open_log(visitors: Visitors, acme: str, *, script: bool) -> Page:
    page = visitors.visit("alice", script=script)
    page.goto(f"{acme}/audit-logs")
    return page


def test_the_search_answers_while_typing(visitors: Visitors, acme: str) -> None:
    page = open_log(visitors, acme, script=True)
    messages = page.locator(".audit-message")
    page.get_by_role("searchbox").press_sequentially('route for "ask"')
    expect(messages.filter(has_text="local-docs")).to_have_count(0)
    expect(messages.first).to_contain_text('route for "ask"')
    expect(page).to_have_url(re.compile("text=route.*ask"))
    expect(page.get_by_role("searchbox")).to_be_focused()
    messages.first.press("Enter")
    dialog = page.get_by_role("dialog")
    expect(dialog).to_contain_text("hash fits")
    page.keyboard.press("Escape")
    expect(messages.first).to_be_focused()


def test_the_log_without_script(visitors: Visitors, acme: str) -> None:
    page = open_log(visitors, acme, script=False)
    page.get_by_label("Action").select_option("organization_auto.enabled")
    page.get_by_role("button", name="Apply").click()
    page.locator(".audit-message").last.click()
    expect(page.get_by_text("hash fits")).to_be_visible()
    expect(page.locator(".changes")).to_be_visible()
    page.get_by_role("link", name="Audit log").last.click()
    expect(page.get_by_role("heading", name="Audit log")).to_be_visible()


@pytest.mark.parametrize("script", [True, False])
def test_tabs_and_sorting_stay_where_they_are(visitors: Visitors, acme: str, script: bool) -> None:
    page = visitors.visit("alice", script=script)
    page.goto(f"{acme}/usage")
    tab = page.get_by_role("link", name="Tokens", exact=True).first
    tab.click()
    expect(tab).to_have_attribute("aria-current", "page")
    page.get_by_role("link", name="Models").last.click()
    models = page.get_by_role("table", name="Usage by model")
    expect(models).to_contain_text("anthropic/claude-sonnet-5")
    head = page.get_by_role("columnheader", name="Hosted cost")
    head.get_by_role("link").click()
    expect(head).to_have_attribute("aria-sort", "descending")
    if script:
        expect(head.get_by_role("link")).to_be_focused()
    expect(models).to_be_visible()
