"""The pages about modes as people use them, with scripts and without."""

from __future__ import annotations

import re
import uuid

import pytest
from playwright.sync_api import Locator, Page, expect

from tests.support.browser import Visitors, barriers

OPUS, KIMI = "anthropic/claude-opus-5", "moonshotai/kimi-k3"


def open_modes(visitors: Visitors, who: str = "alice", *, script: bool = True) -> Page:
    organization = visitors.gateway.organization(visitors.gateway.user(who)["organization"])
    page = visitors.visit(who, script=script)
    page.goto(f"/organizations/{organization['id']}/modes")
    return page


def card(page: Page, slug: str) -> Locator:
    return page.locator(f"#mode-{slug}")


def slug_field(page: Page) -> Locator:
    return page.get_by_role("textbox", name="Slug")


def choose(page: Page, label: str, model: str, *, script: bool) -> None:
    """With scripts by searching the list, as people do."""
    field = page.get_by_role("combobox", name=label)
    field.fill(model.partition("/")[2] if script else model)
    if script:
        page.get_by_role("option").filter(has=page.get_by_text(model, exact=True)).click()
    expect(field).to_have_value(model)


@pytest.mark.parametrize("script", [True, False])
def test_the_life_of_a_mode(visitors: Visitors, script: bool) -> None:
    """Journey (b), first half: created with a route, renamed with its route, deleted."""
    name = f"Écrit {uuid.uuid4().hex[:6]}"
    slug = name.lower().replace("é", "e").replace(" ", "-")
    page = open_modes(visitors, script=script)
    page.get_by_role("link", name="New mode").first.click()
    page.get_by_role("link", name="Test writer").click()
    page.get_by_role("textbox", name="Name").fill(name)
    if not script:
        slug_field(page).fill("")
    page.get_by_label("Only files that match").fill("(")
    choose(page, "Route", OPUS, script=script)
    page.get_by_role("button", name="Create mode").click()
    wrong = page.get_by_label("Only files that match")
    expect(page.get_by_text("It does not compile")).to_be_visible()
    expect(page.get_by_role("combobox", name="Route")).to_have_value(OPUS)
    if script:
        expect(wrong).to_be_focused()
    wrong.fill(r"_test\.py$")
    page.get_by_role("button", name="Create mode").click()
    expect(card(page, slug)).to_contain_text(OPUS)
    expect(card(page, slug)).to_contain_text("Active")
    expect(page.locator("dialog")).to_have_count(0)
    card(page, slug).get_by_role("link", name="Edit").click()
    slug_field(page).fill(f"{slug}-team")
    page.get_by_role("button", name="Save mode").click()
    expect(card(page, f"{slug}-team")).to_contain_text(OPUS)
    expect(card(page, slug)).to_have_count(0)
    card(page, f"{slug}-team").get_by_role("link", name="Delete").click()
    expect(page.get_by_text("Its route goes with it")).to_be_visible()
    page.get_by_role("button", name="Delete mode").click()
    expect(page.get_by_text(f"{name} was deleted.")).to_be_visible()
    expect(card(page, f"{slug}-team")).to_have_count(0)


@pytest.mark.parametrize("script", [True, False])
def test_a_built_in_mode_and_back(visitors: Visitors, script: bool) -> None:
    """Journey (b), second half: overridden with a route, reverted, the route kept."""
    page = open_modes(visitors, script=script)
    orchestrator = card(page, "orchestrator")
    orchestrator.get_by_role("link", name=re.compile("^(Set|Change) route")).click()
    choose(page, "Target", KIMI, script=script)
    page.get_by_role("button", name="Save route").click()
    expect(orchestrator).to_contain_text(KIMI)
    orchestrator.get_by_role("link", name="Edit").click()
    page.get_by_role("textbox", name="Description").fill("Ours, by our rules")
    page.get_by_role("button", name="Save mode").click()
    expect(orchestrator).to_contain_text("Overridden")
    expect(orchestrator).to_contain_text("Ours, by our rules")
    orchestrator.get_by_role("link", name="Revert").click()
    expect(page.get_by_label("Keep it")).to_be_checked()
    page.get_by_role("button", name="Revert to built-in").click()
    expect(orchestrator).not_to_contain_text("Overridden")
    expect(orchestrator).to_contain_text(KIMI)


@pytest.mark.parametrize("script", [True, False])
def test_two_admins_and_one_mode(visitors: Visitors, script: bool) -> None:
    """Journey (i): who is second sees both, and what he typed is there."""
    alice, dave = open_modes(visitors, script=script), open_modes(visitors, "dave", script=script)
    for page in (alice, dave):
        card(page, "security-review").get_by_role("link", name="Edit").click()
    mark = uuid.uuid4().hex[:6]
    dave.get_by_label("When to use").fill(f"Dave's words {mark}")
    dave.get_by_role("button", name="Save mode").click()
    expect(dave.get_by_text("Security Review was saved.")).to_be_visible()
    alice.get_by_label("When to use").fill(f"Alice's words {mark}")
    alice.get_by_role("button", name="Save mode").click()
    expect(alice.get_by_text("This changed while you had it open")).to_be_visible()
    row = alice.get_by_role("row", name="When to use")
    expect(row).to_contain_text(f"Alice's words {mark}")
    expect(row).to_contain_text(f"Dave's words {mark}")
    expect(alice.get_by_label("When to use")).to_have_value(f"Alice's words {mark}")
    alice.get_by_role("button", name="Save mode").click()
    expect(alice.get_by_text("Security Review was saved.")).to_be_visible()


def test_the_slug_follows_the_name(visitors: Visitors) -> None:
    """Until somebody writes one himself."""
    page = open_modes(visitors)
    page.get_by_role("link", name="New mode").first.click()
    page.get_by_role("link", name="Blank").click()
    name, slug = page.get_by_role("textbox", name="Name"), slug_field(page)
    name.press_sequentially("Café & Ops")
    expect(slug).to_have_value("cafe-ops")
    slug.fill("mine")
    name.fill("Something else")
    expect(slug).to_have_value("mine")


@pytest.mark.usefixtures("axe")
def test_nobody_is_kept_out(visitors: Visitors) -> None:
    """The list, the drawer, and the dialog with its list of models open; by keyboard alone."""
    page = open_modes(visitors)
    expect(page.get_by_role("heading", name="Modes", exact=True)).to_be_visible()
    assert barriers(page) == []
    card(page, "architect").get_by_role("link", name="Edit").press("Enter")
    expect(page.get_by_role("dialog", name="Edit Architect")).to_be_visible()
    assert barriers(page) == []
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog")).to_have_count(0)
    card(page, "architect").get_by_role("link", name="Change route").press("Enter")
    expect(page.get_by_role("combobox", name="Target")).to_be_focused()
    page.keyboard.press("ArrowDown")
    expect(page.get_by_role("option").first).to_be_visible()
    assert barriers(page) == []
