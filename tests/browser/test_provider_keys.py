"""Provider keys and API keys as people use them, with scripts and without."""

from __future__ import annotations

import re
import uuid

import pytest
from playwright.sync_api import Page, expect

from tests.support.browser import Visitors, barriers, overflow


def below(visitors: Visitors, who: str = "alice") -> str:
    return f"/organizations/{visitors.gateway.organization(visitors.gateway.user(who)['organization'])['id']}"


def register_provider(page: Page, provider_id: str, base_url: str, *, script: bool) -> None:
    """At an address that nobody may use first."""
    page.get_by_role("link", name="Add custom provider").first.click()
    page.get_by_label("Name", exact=True).fill(f"Lab {provider_id}")
    page.get_by_label("Id", exact=True).fill(provider_id)
    page.get_by_label("Base URL", exact=True).fill("https://169.254.169.254/v1")
    page.get_by_label("Chat completions").check()
    page.get_by_label("Name of header 1").fill("x-team")
    page.get_by_label("Value of header 1").fill("platform-team")
    page.get_by_role("button", name="Add provider").click()
    wrong = page.get_by_label("Base URL", exact=True)
    expect(wrong).to_have_attribute("aria-invalid", "true")
    if script:
        expect(wrong).to_be_focused()
    wrong.fill(base_url)
    page.get_by_label("Value of header x-team").fill("platform-team")
    page.get_by_role("button", name="Add provider").click()
    expect(page.get_by_text(f"Lab {provider_id} is registered.")).to_be_visible()


def route_to(page: Page, start: str, slug: str, target: str) -> None:
    page.goto(f"{start}/modes/new-route")
    page.get_by_label("Slug").fill(slug)
    page.get_by_label("Target").fill(target)
    page.get_by_label("Target").blur()
    page.get_by_role("button", name="Add route").click()
    expect(page.locator(f"#mode-{slug}")).to_contain_text("Active")


@pytest.mark.parametrize("script", [True, False])
def test_a_key_and_what_depends_on_it(visitors: Visitors, script: bool) -> None:
    """Journey (c): added, tested, routed to, switched off; the badge and the Overview say what that breaks."""
    name, start = f"custom-{uuid.uuid4().hex[:8]}", below(visitors)
    slug = f"mode-{name[-8:]}"
    page = visitors.visit("alice", script=script)
    page.goto(f"{start}/byok")
    register_provider(page, name, f"{visitors.gateway.upstream.base_url}/v1", script=script)
    page.get_by_role("row", name=name).get_by_role("link", name="Add key").click()
    expect(page.get_by_label("Provider", exact=True)).to_have_value(name)
    page.get_by_label("Key", exact=True).fill("demo-key-of-the-lab-wxyz")
    page.get_by_role("button", name="Store key").click()
    expect(page.get_by_text(re.compile(rf"The key for Lab {name} is stored; it can use .* models"))).to_be_visible()
    key = page.get_by_role("row").filter(has=page.get_by_role("switch")).filter(has_text=name)
    expect(key).to_contain_text("…wxyz")
    key.get_by_role("button", name="Test").click()
    expect(key.get_by_text("works", exact=True)).to_be_visible()
    expect(page.get_by_text("The provider took the key.")).to_be_visible()

    route_to(page, start, slug, f"{name}/anthropic/claude-sonnet-5")
    page.goto(f"{start}/byok")
    key.get_by_role("switch").click()
    expect(page.get_by_text("What leads to it breaks")).to_be_visible()
    expect(page.get_by_role("row", name=f"Mode {slug}")).to_contain_text(f"{name}/anthropic/claude-sonnet-5")
    page.get_by_role("button", name="Switch off").click()
    expect(page.get_by_text(f"The key for Lab {name} is off.")).to_be_visible()
    expect(key.get_by_role("switch")).to_have_attribute("aria-checked", "false")
    page.goto(f"{start}/modes")
    expect(page.locator(f"#mode-{slug}")).to_contain_text("Broken")
    page.goto(f"{start}/")
    expect(page.get_by_role("listitem").filter(has_text=f"{slug} ").filter(has_text="broken").first).to_be_visible()

    page.goto(f"{start}/byok")
    provider = page.get_by_role("row").filter(has_text=name).filter(has=page.get_by_role("link", name="Edit"))
    provider.get_by_role("link", name="Delete").click()
    expect(page.get_by_text("Its key is deleted with it.")).to_be_visible()
    page.get_by_role("button", name="Delete provider").click()
    expect(page.get_by_text(f"Lab {name} was deleted.")).to_be_visible()
    bearer = {"Authorization": f"Bearer {visitors.gateway.user('alice')['management_key']}"}
    assert page.request.delete(f"/api{start}/organization-auto/routes/{slug}", headers=bearer).status == 200


@pytest.mark.parametrize("script", [True, False])
def test_an_api_key(visitors: Visitors, script: bool) -> None:
    """Made, shown once, used, not made again by loading the answer anew, revoked."""
    name = f"Laptop {uuid.uuid4().hex[:6]}"
    page = visitors.visit("bob", script=script, width=390)
    page.goto(f"{below(visitors, 'bob')}/api-keys")
    page.get_by_role("link", name="Create key").first.click()
    page.get_by_label("Name", exact=True).fill(name)
    page.get_by_label("Management API").check()
    page.get_by_role("button", name="Create key").click()
    secret = page.locator("#api-key").inner_text()
    assert secret.startswith("kilo_")
    answer = page.request.get("/api/gateway/v1/models", headers={"Authorization": f"Bearer {secret}"})
    assert answer.status == 200
    page.reload()
    assert secret not in page.content()
    (made,) = visitors.gateway.sql("SELECT count(*) FROM organizations_apikey WHERE name = %s", name)
    assert made["count"] == 1
    page.goto(f"{below(visitors, 'bob')}/api-keys")
    row = page.get_by_role("row", name=name)
    expect(row).to_contain_text(f"…{secret[-4:]}")
    row.get_by_role("link", name="Revoke").click()
    page.get_by_role("button", name="Revoke key").click()
    expect(page.get_by_text(f"{name} was revoked.")).to_be_visible()
    expect(row).to_have_count(0)
    answer = page.request.get("/api/gateway/v1/models", headers={"Authorization": f"Bearer {secret}"})
    assert answer.status == 401


def test_the_first_error_has_the_focus_on_a_whole_page(visitors: Visitors) -> None:
    """There the first field takes it when the page comes, and the main part is replaced as a whole."""
    page = visitors.visit("alice")
    page.goto(f"{below(visitors)}/byok/custom-providers/add")
    page.get_by_label("Name", exact=True).fill("Lab")
    page.get_by_label("Base URL", exact=True).fill("https://169.254.169.254/v1")
    page.get_by_label("Responses").check()
    page.get_by_label("Id", exact=True).fill("custom-lab")
    page.get_by_role("button", name="Add provider").click()
    expect(page.get_by_label("Base URL", exact=True)).to_be_focused()


@pytest.mark.usefixtures("axe")
def test_no_barriers(visitors: Visitors) -> None:
    page = visitors.visit("alice", width=360)
    for path, opener in (("byok", "Neuralwatt"), ("byok", "Add custom provider"), ("api-keys", "Create key")):
        page.goto(f"{below(visitors)}/{path}")
        assert barriers(page) == []
        page.get_by_role("link", name=opener).first.click()
        page.get_by_role("dialog").wait_for()
        assert barriers(page) == []
        assert overflow(page) <= 0
