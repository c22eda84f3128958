"""Journey (a): a new customer's first route, from the sign-in to the receipt of a request that it served."""

from __future__ import annotations

from dataclasses import dataclass
from uuid import uuid4

import pytest
import requests
from playwright.sync_api import Locator, Page, expect

from tests.support.browser import Visitors
from tests.support.inprocess import CHAT, chat
from tests.support.live import Gateway

OPUS = "anthropic/claude-opus-5"
# On, and then back again: from where a dialog was left, it is near in one of the two directions, and a list of models
# is hundreds of stops.
STEPS = ("Tab",) * 60 + ("Shift+Tab",) * 180


@dataclass(frozen=True)
class Customer:
    """An organization that has nothing but its owner and his key."""

    email: str
    password: str
    key: str


@pytest.fixture(scope="module")
def customer(gateway: Gateway) -> Customer:
    email = f"erin-{uuid4().hex[:6]}@example.com"
    made = gateway.manage("create_organization", "Initech", "--owner", email, "--plan", "enterprise")
    organization_id, password = made.stdout.strip(), made.stderr.split()[-1]
    key = gateway.manage("create_api_key", "--user", email, "--organization", organization_id)
    assert key.returncode == 0, key.stderr
    return Customer(email, password, key.stdout.strip())


@dataclass(frozen=True)
class Pointer:
    """A person with a mouse."""

    page: Page

    def press(self, control: Locator) -> None:
        control.click()

    def write(self, field: Locator, text: str) -> None:
        field.fill(text)

    def choose(self, field: Locator, model: str, *, script: bool) -> None:
        """A model, out of the list that scripts make of the field."""
        self.write(field, model)
        if script:
            self.page.get_by_role("option").filter(has=self.page.get_by_text(model, exact=True)).click()


@dataclass(frozen=True)
class Keyboard(Pointer):
    """A person who has no mouse: the tabulator leads to everything."""

    def press(self, control: Locator) -> None:
        self._reach(control)
        self.page.keyboard.press("Enter")

    def write(self, field: Locator, text: str) -> None:
        self._reach(field)
        self.page.keyboard.press("Control+A")
        self.page.keyboard.type(text)

    def choose(self, field: Locator, model: str, *, script: bool) -> None:
        self.write(field, model)
        self.page.keyboard.press("ArrowDown")
        self.page.keyboard.press("Enter")
        expect(field).to_have_value(model)

    def _reach(self, control: Locator) -> None:
        expect(control).to_be_visible()
        for key in STEPS:
            if control.evaluate("one => one === document.activeElement"):
                return
            self.page.keyboard.press(key)
        raise AssertionError(f"{control} is not reached by the tabulator")


@pytest.mark.parametrize(
    ("hands", "script", "mode"), [(Pointer, True, "ask"), (Pointer, False, "debug"), (Keyboard, True, "code")]
)
def test_a_first_route(visitors: Visitors, customer: Customer, hands: type[Pointer], script: bool, mode: str) -> None:
    gateway = visitors.gateway
    page = visitors.visit("", script=script)
    person = hands(page)
    page.goto("/")
    person.write(page.get_by_label("Email address"), customer.email)
    person.write(page.get_by_label("Password"), customer.password)
    person.press(page.get_by_role("button", name="Sign in"))

    person.press(page.get_by_role("link", name="Providers & Models", exact=True).first)
    person.press(page.get_by_role("link", name="Turn Organization Auto on"))
    fallback = page.get_by_role("combobox", name="Fallback")
    if not fallback.input_value():
        person.choose(fallback, "kilo-auto/balanced", script=script)
    person.press(page.get_by_role("button", name="Save", exact=True))
    expect(page.get_by_role("link", name="Turn Organization Auto off")).to_be_visible()
    expect(page.get_by_role("dialog")).to_be_hidden()

    person.press(page.get_by_role("link", name="Modes", exact=True).first)
    card = page.locator(f"#mode-{mode}")
    person.press(card.get_by_role("link", name="Set route"))
    person.choose(page.get_by_role("combobox", name="Target"), OPUS, script=script)
    person.press(page.get_by_role("button", name="Save route"))
    expect(card).to_contain_text(OPUS)
    expect(card).to_contain_text("Active")

    answer = requests.post(
        gateway.base_url + CHAT,
        json=chat(),
        headers={"Authorization": f"Bearer {customer.key}", "x-kilocode-mode": mode},
        timeout=20,
    )
    assert (answer.status_code, answer.headers["x-kilo-model"]) == (200, OPUS)
    request_id = answer.headers["x-request-id"]
    gateway.usage(request_id)

    person.press(page.get_by_role("link", name="Usage", exact=True).first)
    person.press(page.get_by_role("table", name="Usage by mode").get_by_role("link", name=mode, exact=True))
    person.press(page.locator(f'a[href$="/usage/requests/{request_id}"]'))
    expect(page.get_by_role("heading", name="Request", exact=True)).to_be_visible()
    receipt = page.get_by_role("dialog") if script else page.locator("#main")
    for said in (request_id, OPUS, mode):
        expect(receipt.get_by_text(said).first).to_be_visible()

    if script:
        page.keyboard.press("Escape")
        expect(page.locator("dialog")).to_have_count(0)
    person.press(page.get_by_role("link", name="Providers & Models", exact=True).first)
    person.press(page.get_by_role("link", name="Turn Organization Auto off"))
    person.press(page.get_by_role("button", name="Save", exact=True))
    expect(page.get_by_role("link", name="Turn Organization Auto on")).to_be_visible()
