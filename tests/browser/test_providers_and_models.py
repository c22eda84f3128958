"""Providers & Models as people use it, with scripts and without."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
from playwright.sync_api import Page, expect

from tests.support.browser import NARROW, Visitors, barriers, overflow

KEPT = "SELECT settings FROM organizations_organization WHERE id = %s"
RESTORE = "UPDATE organizations_organization SET settings = %s, routing_version = routing_version + 1 WHERE id = %s"
WAIT = 15_000


def address(visitors: Visitors, who: str = "alice") -> str:
    organization = visitors.gateway.organization(visitors.gateway.user(who)["organization"])
    return f"/organizations/{organization['id']}/providers-and-models"


def settings_of(visitors: Visitors) -> dict[str, object]:
    organization = visitors.gateway.organization("Acme")["id"]
    (row,) = visitors.gateway.sql(KEPT, organization)
    found: dict[str, object] = row["settings"]
    return found


def tick(page: Page, key: str, *, on: bool) -> None:
    page.locator(f'input[value="{key}"]').set_checked(on)


@pytest.mark.usefixtures("axe")
@pytest.mark.parametrize("dark", [False, True])
def test_no_barriers(visitors: Visitors, dark: bool) -> None:
    found = {}
    page = visitors.visit("alice", width=NARROW if dark else 1280, dark=dark)
    for path in ("", "?tab=providers", "/default-model?to=specific", "/spending-limits", "/models/openai/gpt-5.4"):
        page.goto(address(visitors) + path)
        found[path] = barriers(page)
        assert overflow(page) <= 0, path
    assert not any(found.values()), found


@pytest.mark.parametrize("script", [True, False])
def test_a_policy_that_breaks_routes(visitors: Visitors, script: bool) -> None:
    """The warning lists them, nothing is saved, and what was ticked is kept until it is mended."""
    before = settings_of(visitors)
    page = visitors.visit("alice", script=script, width=1280 if script else NARROW)
    page.goto(address(visitors))
    page.get_by_role("searchbox").fill("gpt-5.4")
    if not script:
        page.get_by_role("button", name="Filter").click()
    expect(page.locator('input[value="anthropic/claude-opus-5"]')).to_be_hidden()
    tick(page, "openai/gpt-5.4", on=False)
    if script:
        expect(page.locator("[data-policy-bar]")).to_contain_text("1 change not saved")
    page.get_by_role("button", name="Save policy").click()
    alert = page.get_by_role("alert")
    expect(alert).to_contain_text("it would break routes of Organization Auto", timeout=WAIT)
    expect(alert.get_by_role("row", name="debug")).to_contain_text("openai/gpt-5.4")
    expect(alert.get_by_role("row", name="code")).to_have_count(0)
    if script:
        expect(alert).to_be_focused()
    assert settings_of(visitors) == before
    expect(page.locator('input[value="openai/gpt-5.4"]')).not_to_be_checked()
    if script:
        page.get_by_role("link", name="Discard").click()
        expect(page.locator("[data-policy-bar]")).to_be_hidden()
    tick(page, "openai/gpt-5.4", on=True)
    if not script:
        page.get_by_role("button", name="Save policy").click()
        expect(page.get_by_text("Nothing was changed.")).to_be_visible(timeout=WAIT)
    assert settings_of(visitors) == before


@pytest.fixture
def acme_restored(visitors: Visitors) -> Iterator[None]:
    before = settings_of(visitors)
    yield
    visitors.gateway.sql(RESTORE, json.dumps(before), visitors.gateway.organization("Acme")["id"])


@pytest.mark.usefixtures("acme_restored")
def test_one_model_for_everything_and_a_selection_of_providers(visitors: Visitors) -> None:
    """By keyboard where it is a list; a selection that clears the default is confirmed first."""
    page = visitors.visit("alice")
    page.goto(address(visitors))
    page.get_by_role("link", name="Change (default model)").click()
    page.get_by_label("One model").check()
    field = page.get_by_role("combobox", name="Model")
    field.press_sequentially("gpt-5.4")
    expect(page.get_by_role("listbox")).to_be_visible()
    field.press("Escape")
    expect(page.get_by_role("listbox")).to_have_count(0)
    expect(page.get_by_role("dialog")).to_be_visible()
    field.press("ArrowDown")
    field.fill("openai/gpt-5.4")
    field.press("ArrowDown")
    field.press("Enter")
    expect(field).to_have_value("openai/gpt-5.4")
    page.get_by_role("button", name="Save", exact=True).click()
    expect(page.get_by_text("The default model was saved.")).to_be_visible(timeout=WAIT)
    assert settings_of(visitors)["default_model"] == "openai/gpt-5.4"
    page.locator(".policy-tabs").get_by_text("Providers").click()
    tick(page, "openai", on=False)
    expect(page.get_by_label("Only the ticked providers")).to_be_checked()
    page.get_by_role("button", name="Save policy").click()
    alert = page.get_by_role("alert")
    expect(alert).to_contain_text("is cleared", timeout=WAIT)
    alert.get_by_role("button", name="Save all the same").click()
    expect(page.get_by_text("The model policy was saved.")).to_be_visible(timeout=WAIT)
    expect(page.locator('input[value="openai"]')).to_be_visible()
    saved = settings_of(visitors)
    assert "default_model" not in saved
    allowed = saved["provider_allow_list"]
    assert isinstance(allowed, list)
    assert "anthropic" in allowed
    assert "openai" not in allowed


def test_the_details_of_a_model_and_back(visitors: Visitors) -> None:
    page = visitors.visit("bob")
    page.goto(address(visitors) + "?q=claude-opus-5")
    row = page.get_by_role("row").filter(has=page.locator('input[value="anthropic/claude-opus-5"]'))
    link = row.get_by_role("link")
    link.press("Enter")
    dialog = page.get_by_role("dialog")
    expect(dialog).to_contain_text("Providers and prices", timeout=WAIT)
    page.keyboard.press("Escape")
    expect(link).to_be_focused()
    assert page.url.endswith("?q=claude-opus-5")
