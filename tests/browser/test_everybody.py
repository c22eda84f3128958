"""All pages as a member, with the release toggle off, on the teams plan: what is offered works, else it says why."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import requests
from django.urls import resolve
from playwright.sync_api import Browser, Page, expect

from organizations.pages.navigation import SECTIONS
from tests.browser.pages import BELOW, SCREENS
from tests.permissions.table import ROLES, TABLE
from tests.support.browser import Visitors
from tests.support.live import Gateway, server_beside

SECTION_PATHS = [f"{BELOW}/{path}" for _, entries in SECTIONS for *_, path in entries]
PATHS = list(dict.fromkeys([*SECTION_PATHS, *(one.path for one in SCREENS if one.path.startswith(BELOW))]))
# What sets Organization Auto up: hidden while that is not released, refused on another plan.
SETS_UP = ("mode-route", "mode-route-new", "fallback")


def organization_of(gateway: Gateway, who: str) -> str:
    return str(gateway.organization(gateway.user(who)["organization"])["id"])


def walk(visitors: Visitors, who: str, role: str, paths: Sequence[str] = PATHS) -> dict[str, list[str]]:
    """Open every page; what is wrong with it, by path. A page that is refused says who may see it."""
    organization = organization_of(visitors.gateway, who)
    page = visitors.visit(who, script=False)
    wrong: dict[str, list[str]] = {}
    opened: dict[str, int] = {}
    for path in paths:
        address = path.format(organization=organization)
        answer = page.goto(address)
        assert answer is not None
        found = [] if answer.status in {200, 404, 422} else [f"it answers {answer.status}"]
        if answer.status == 403:
            reason = page.locator("main .empty h2").inner_text()
            found = [] if reason.startswith(("Only ", "This needs ")) else [f"403 without a reason: {reason}"]
        found += [*_dead_links(page, address, opened), *_dead_forms(page, role), *_unexplained(page)]
        if found:
            wrong[address] = found
    return wrong


def _dead_links(page: Page, address: str, opened: dict[str, int]) -> Iterator[str]:
    """Links of the page itself that lead to nothing or to a refusal; each is tried once."""
    links: list[str] = page.evaluate("[...document.querySelectorAll('main a[href]')].map((link) => link.href)")
    for link in links:
        target = urlsplit(link)
        # One of many rows is enough, and so is one of many filters.
        pattern = _pattern(target.path)
        if pattern in opened or target.scheme not in {"http", "https"} or target.path == address:
            continue
        status = page.request.get(link, max_redirects=0).status
        opened[pattern] = status
        if status >= 400:
            yield f"a link to {target.path} answers {status}"


def _pattern(path: str) -> str:
    return str(resolve(path).route)


def _dead_forms(page: Page, role: str) -> Iterator[str]:
    """Forms that can be sent and that this role may not send."""
    forms: list[str] = page.evaluate(
        """[...document.querySelectorAll("main form[method=post]")]
        .filter((form) => [...form.querySelectorAll("button:not([type=button])")]
            .some((button) => button.getAttribute("aria-disabled") !== "true"))
        .map((form) => form.action)"""
    )
    for action in forms:
        line = TABLE[_pattern(urlsplit(action).path)]["POST"]
        if line.outcomes[ROLES.index(role)] in {"403", "role"}:
            yield f"a form to {action} that a {role} may not send"


def _unexplained(page: Page) -> Iterator[str]:
    """Disabled controls that do not say why."""
    silent: list[str] = page.evaluate(
        """[...document.querySelectorAll("main [aria-disabled=true]")]
        .filter((one) => !(document.getElementById(one.getAttribute("aria-describedby") || "none") || {}).textContent)
        .map((one) => one.textContent)"""
    )
    return (f"“{text.strip()}” is disabled without a reason" for text in silent)


def leads_to(page: Page, names: tuple[str, ...]) -> list[str]:
    """Links and forms of the page to these addresses."""
    targets: list[str] = page.evaluate(
        "[...document.querySelectorAll('main a[href], main form')].map((one) => one.href || one.action)"
    )
    return [target for target in targets if resolve(urlsplit(target).path).url_name in names]


@pytest.mark.parametrize(
    ("who", "role"),
    [("bob", "member"), ("mallory", "owner")],
    ids=["member", "teams"],
)
def test_nothing_dead_is_offered(visitors: Visitors, who: str, role: str) -> None:
    assert walk(visitors, who, role) == {}


def test_a_member_is_told_why(visitors: Visitors) -> None:
    page = visitors.visit("bob")
    page.goto(f"{BELOW}/".format(organization=organization_of(visitors.gateway, "bob")))
    change = page.get_by_role("button", name="Change or turn off")
    change.focus()
    tip = page.get_by_role("tooltip").filter(visible=True)
    expect(tip).to_have_text("Only owners and admins change routes, the fallback and the model policy.")


def test_the_teams_plan(visitors: Visitors) -> None:
    page = visitors.visit("mallory")
    below = BELOW.format(organization=organization_of(visitors.gateway, "mallory"))
    for path, told in (
        ("/", "The teams plan has no Organization Auto"),
        ("/modes", "enterprise"),
        ("/explain", "refused"),
    ):
        page.goto(f"{below}{path}")
        expect(page.get_by_role("main")).to_contain_text(told)
    page.goto(f"{below}/")
    expect(page.get_by_role("link", name="Turn on")).to_have_count(0)


@pytest.fixture
def unreleased(browser: Browser, gateway: Gateway, tmp_path: Path) -> Iterator[Visitors]:
    """The same gateway with the release toggle off."""
    with server_beside(gateway, tmp_path, ORGANIZATION_AUTO_ROLLOUT="off") as beside:
        visitors = Visitors(browser, beside)
        yield visitors
        visitors.close()
        assert visitors.problems == []


def test_the_toggle_is_off(unreleased: Visitors) -> None:
    """Nothing can be set up, what is set up serves, and Organization Auto can be turned off, which is not undone."""
    gateway, who = unreleased.gateway, "alice"
    assert walk(unreleased, who, "owner", SECTION_PATHS) == {}
    below = BELOW.format(organization=organization_of(gateway, who))
    page = unreleased.visit(who)
    for path in ("/", "/modes", "/providers-and-models"):
        page.goto(f"{below}{path}")
        assert leads_to(page, SETS_UP) == []
    page.goto(f"{below}/")
    expect(page.get_by_text("Organization Auto is not released to you")).to_be_visible()
    assert asked(gateway).status_code == 200
    try:
        page.get_by_role("link", name="Change or turn off").click()
        page.locator("input[value=global]").check()
        page.get_by_role("button", name="Save").click()
        page.wait_for_url("**/providers-and-models")
        assert asked(gateway).json()["error"]["code"] == "organization_auto_not_enabled"
        page.goto(f"{below}/")
        expect(page.get_by_role("link", name="Turn on")).to_have_count(0)
        expect(page.get_by_text("The routes are saved and serve nobody while it is off.")).to_be_visible()
    finally:
        gateway.sql(
            """UPDATE organizations_organization SET routing_version = routing_version + 1,
            settings = settings || '{"default_model": "kilo-auto/org"}' WHERE id = %s""",
            organization_of(gateway, who),
        )


def asked(gateway: Gateway) -> requests.Response:
    return requests.post(
        f"{gateway.base_url}/api/gateway/v1/chat/completions",
        json={"model": "kilo-auto/org", "messages": [{"role": "user", "content": "hello"}]},
        headers={"Authorization": f"Bearer {gateway.user('bob')['api_key']}", "x-kilocode-mode": "code"},
        timeout=30,
    )
