"""Overview, History and Explain as people use them; what is said there about connecting a client is true."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import requests
from playwright.sync_api import Page, expect

from tests.support.browser import NARROW, Visitors, barriers, overflow

KEY = "YOUR_API_KEY"


def below(visitors: Visitors, path: str = "") -> str:
    organization = visitors.gateway.organization(visitors.gateway.user("alice")["organization"])
    return f"/organizations/{organization['id']}/{path}"


def set_route(visitors: Visitors, slug: str, model: str) -> None:
    answer = requests.put(
        f"{visitors.gateway.base_url}/api{below(visitors, f'organization-auto/routes/{slug}')}",
        json={"model": model},
        headers={"Authorization": f"Bearer {visitors.gateway.user('alice')['management_key']}"},
        timeout=10,
    )
    assert answer.status_code == 200, answer.text


@pytest.mark.usefixtures("axe")
@pytest.mark.parametrize("dark", [False, True])
def test_no_barriers(visitors: Visitors, dark: bool) -> None:
    width = NARROW if dark else 1280
    found = {}
    for path in ("", "history", "history/3", "history/3/restore", "explain?mode=code&route=a/b"):
        page = visitors.visit("alice", width=width, dark=dark)
        page.goto(below(visitors, path))
        found[path] = barriers(page)
        assert overflow(page) <= 0, path
    assert not any(found.values()), found


def test_the_root_leads_here(visitors: Visitors) -> None:
    page = visitors.visit("bob", script=False)
    page.goto("/")
    expect(page.get_by_role("heading", name="Overview")).to_be_visible()


@pytest.mark.parametrize("script", [True, False])
def test_restore_a_version(visitors: Visitors, script: bool) -> None:
    """A route is changed twice, looked up in the history, and brought back."""
    slug = f"restored-{'with' if script else 'without'}-script"
    set_route(visitors, slug, "anthropic/claude-sonnet-5")
    set_route(visitors, slug, "anthropic/claude-opus-5")
    page = visitors.visit("alice", script=script)
    page.goto(below(visitors, "history"))
    row = page.get_by_role("row", name=f'route for "{slug}" set to')
    row.get_by_role("link", name="Changes").click()
    expect(page.locator("ins")).to_have_text("anthropic/claude-sonnet-5")
    page.get_by_role("link", name="Restore this version").click()
    expect(page.locator("del")).to_have_text("anthropic/claude-opus-5")
    # Somebody else is quicker.
    set_route(visitors, "elsewhere", f"anthropic/claude-{'opus' if script else 'sonnet'}-5")
    page.get_by_role("button", name="Restore").click()
    expect(page.get_by_text("This changed while you had it open")).to_be_visible()
    page.get_by_role("button", name="Restore").click()
    expect(page.get_by_text("are in force again.")).to_be_visible()
    expect(page.locator("dialog")).to_have_count(0)
    expect(page.get_by_role("row").nth(1)).to_contain_text("restored")
    page.goto(below(visitors, f"explain?mode={slug}"))
    expect(page.locator(".verdict")).to_have_text("anthropic/claude-sonnet-5")


def test_explain_while_typing(visitors: Visitors) -> None:
    """A draft, compared with what happens now; nothing is pressed."""
    page = visitors.visit("bob")
    page.goto(below(visitors, "explain"))
    expect(page.locator(".verdict")).to_have_text("anthropic/claude-sonnet-5")
    page.get_by_label("Mode", exact=True).fill("architect")
    expect(page.locator(".verdict")).to_have_text("anthropic/claude-opus-5")
    page.get_by_text("What if it were set otherwise").click()
    page.get_by_label("Organization Auto").select_option("off")
    expect(page.get_by_role("region", name="With the draft").locator(".verdict")).to_contain_text("is not enabled")
    expect(page.get_by_role("region", name="Now").locator(".verdict")).to_have_text("anthropic/claude-opus-5")
    expect(page.locator(".htmx-request")).to_have_count(0)
    # The address says all of it.
    again = visitors.visit("bob", script=False)
    again.goto(page.url)
    expect(again.get_by_label("Organization Auto")).to_have_value("off")
    expect(again.get_by_role("region", name="With the draft").locator(".verdict")).to_contain_text("is not enabled")


def test_explain_and_a_receipt_without_script(visitors: Visitors) -> None:
    asked = chat(visitors, "debug")
    request_id = asked.headers["x-request-id"]
    visitors.gateway.usage(request_id)
    page = visitors.visit("bob", script=False, width=NARROW)
    page.goto(below(visitors, "explain"))
    page.get_by_label("Mode", exact=True).fill("plan")
    page.get_by_role("button", name="Explain").click()
    expect(page.get_by_text("plan follows the route of architect")).to_be_visible()
    page.get_by_label("Request id").fill(request_id)
    page.get_by_role("button", name="Open its receipt").click()
    expect(page.locator(".path")).to_contain_text(asked.headers["x-kilo-model"])
    expect(page.locator("#receipt-headers")).to_contain_text(f"x-kilo-route: {asked.headers['x-kilo-route']}")
    page.get_by_role("link", name="Explain it now").click()
    expect(page.get_by_label("Mode", exact=True)).to_have_value("debug")
    page = visitors.visit("dave")
    page.goto(below(visitors, f"usage/requests/{request_id}"))
    expect(page.get_by_text("bob@example.com")).to_be_visible()


def chat(visitors: Visitors, mode: str) -> Any:
    answer = requests.post(
        f"{visitors.gateway.base_url}/api/gateway/v1/chat/completions",
        json={"model": "kilo-auto/org", "messages": [{"role": "user", "content": "hello"}]},
        headers={"Authorization": f"Bearer {visitors.gateway.user('bob')['api_key']}", "x-kilocode-mode": mode},
        timeout=30,
    )
    assert answer.status_code == 200, answer.text
    return answer


# ---------------------------------------------------------------- connect a client


def copied(visitors: Visitors, page: Page, tab: str, snippet: str) -> str:
    """What is to be copied, with a key that works."""
    page.get_by_role("link", name=tab, exact=True).click()
    text = page.locator(f"#{snippet}").inner_text()
    assert KEY in text
    return text.replace(KEY, visitors.gateway.user("bob")["api_key"])


def run(command: list[str], folder: Path) -> str:
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=60, check=False, cwd=folder, env={"PATH": os.environ["PATH"]}
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_snippets_work(visitors: Visitors, tmp_path: Path) -> None:
    page = visitors.visit("bob")
    page.goto(below(visitors))
    curl = copied(visitors, page, "curl", "curl-chat")
    answer = run(["bash", "-c", curl.replace("curl -i", "curl -is")], tmp_path)
    assert "x-kilo-route: exact:code" in answer.lower()
    for tab, snippet in (("OpenAI SDK", "openai-python"), ("Anthropic SDK", "anthropic-python")):
        told = run([sys.executable, "-c", copied(visitors, page, tab, snippet)], tmp_path)
        assert "model anthropic/claude-" in told


def test_the_kilo_cli_is_told_what_it_reads(visitors: Visitors) -> None:
    """The tests of the real CLI start it with these three and these arguments."""
    page = visitors.visit("bob", script=False)
    page.goto(below(visitors))
    words = shlex.split(copied(visitors, page, "Kilo CLI", "kilo-key").replace("\\\n", ""))
    user = visitors.gateway.user("bob")
    organization = visitors.gateway.organization(user["organization"])
    assert words[:3] == [
        f"KILO_API_URL={visitors.gateway.environment.get('BASE_URL', visitors.gateway.base_url)}",
        f"KILO_API_KEY={user['api_key']}",
        f"KILO_ORG_ID={organization['id']}",
    ]
    assert words[3:] == ["kilo", "run", "--auto", "--agent", "plan", "-m", "kilo/kilo-auto/org", "say hello"]
