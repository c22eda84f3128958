"""Every page, for pictures of all of them: one line each."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from playwright.sync_api import Page


@dataclass(frozen=True)
class Screen:
    """A page as somebody sees it.

    Attributes:
        path: `{organization}` is the id of the person's organization.
        who: Of the cast, or `staff`; blank for nobody.
        act: What is done before the picture is taken.
    """

    name: str
    path: str
    who: str = "alice"
    act: Callable[[Page], object] | None = None


BELOW = "/organizations/{organization}"
# Each picture of an invitation takes another one: an address is invited once.
INVITED = iter(("frank", "grace", "heidi", "ivan"))


def own_provider_key(page: Page) -> None:
    """The account of somebody with a provider key, which is stored when there is none yet."""
    if page.get_by_role("link", name="Manage").count() == 0:
        page.get_by_role("link", name="Add (a provider key)").click()
        page.get_by_label("Provider", exact=True).fill("neuralwatt")
        page.get_by_label("Key", exact=True).fill("sk-neuralwatt-example-of-a-person")
        page.get_by_role("button", name="Store key").click()
        page.get_by_role("link", name="Manage").wait_for()


SCREENS = (
    Screen("sign-in", "/accounts/login", who=""),
    Screen("forgotten-password", "/accounts/password/reset", who=""),
    Screen("invitation-none", "/invitations/none", who=""),
    Screen("account", "/account"),
    Screen("account-provider-keys", "/account", who="dave", act=own_provider_key),
    Screen(
        "account-provider-key",
        "/account",
        who="dave",
        act=lambda page: (own_provider_key(page), page.get_by_role("link", name="Manage").click()),
    ),
    Screen("account-provider-key-add", "/account/provider-keys/add"),
    Screen("no-organization", "/", who="staff"),
    Screen(
        "form-out-of-date",
        "/accounts/login",
        who="",
        act=lambda page: (
            page.context.clear_cookies(),
            page.get_by_label("Email address").fill("alice@example.com"),
            page.get_by_label("Password").fill("a password"),
            page.get_by_role("button", name="Sign in").click(),
            page.get_by_role("heading", name="This form is out of date").wait_for(),
        ),
    ),
    Screen("password", "/accounts/password"),
    Screen("password-again", "/accounts/again"),
    Screen("device-code", "/device-auth"),
    Screen("styleguide", "/styleguide", who="staff"),
    Screen("not-found", "/no/such/page", who=""),
    Screen("admin", "/admin/", who="staff"),
    Screen("admin-audit-log", "/admin/organizations/auditlog/", who="staff"),
    Screen("modes", f"{BELOW}/modes"),
    Screen("modes-member", f"{BELOW}/modes", who="bob"),
    Screen("modes-teams-plan", f"{BELOW}/modes", who="mallory"),
    Screen(
        "modes-templates", f"{BELOW}/modes", act=lambda page: page.get_by_role("link", name="New mode").first.click()
    ),
    Screen("modes-new", f"{BELOW}/modes/new?template=test-writer"),
    Screen(
        "modes-edit",
        f"{BELOW}/modes",
        act=lambda page: page.locator("#mode-docs-writer").get_by_role("link", name="Edit").click(),
    ),
    Screen("modes-built-in-member", f"{BELOW}/modes/built-in/architect", who="bob"),
    Screen(
        "modes-route",
        f"{BELOW}/modes",
        act=lambda page: (
            page.locator("#mode-code").get_by_role("link", name="Change route").click(),
            page.get_by_role("combobox", name="Target").fill("sonnet"),
        ),
    ),
    Screen(
        "modes-delete",
        f"{BELOW}/modes",
        act=lambda page: page.locator("#mode-docs-writer").get_by_role("link", name="Delete").click(),
    ),
    Screen("overview", f"{BELOW}/"),
    Screen("overview-member", f"{BELOW}/", who="bob"),
    Screen("overview-teams", f"{BELOW}/?client=openai", who="mallory"),
    Screen("explain", f"{BELOW}/explain"),
    Screen(
        "explain-draft",
        f"{BELOW}/explain?mode=code&route=neuralwatt/demo-model&providers=openai&denied=openai/gpt-5-mini",
    ),
    Screen("explain-refused", f"{BELOW}/explain?mode=code", who="mallory"),
    Screen("explain-no-request", f"{BELOW}/explain?request=abc"),
    Screen("history", f"{BELOW}/history"),
    Screen("history-member", f"{BELOW}/history", who="bob"),
    Screen(
        "history-version",
        f"{BELOW}/history",
        act=lambda page: page.get_by_role("link", name="Changes").nth(1).click(),
    ),
    Screen("history-restore", f"{BELOW}/history/3/restore"),
    Screen("request-none", f"{BELOW}/usage/requests/00000000-0000-4000-8000-000000000000"),
    Screen("members", f"{BELOW}/members"),
    Screen("members-forbidden", f"{BELOW}/members", who="bob"),
    Screen(
        "members-invite",
        f"{BELOW}/members",
        act=lambda page: page.get_by_role("link", name="Invite member").click(),
    ),
    Screen("members-invite-page", f"{BELOW}/members/invite"),
    Screen(
        "members-invited",
        f"{BELOW}/members/invite",
        act=lambda page: (
            page.get_by_label("Email address").fill(f"{next(INVITED)}@example.com"),
            page.get_by_role("button", name="Create invitation").click(),
            page.get_by_text("Hand this link over now").wait_for(),
        ),
    ),
    Screen(
        "members-role",
        f"{BELOW}/members",
        act=lambda page: page.get_by_role("link", name="Change role").first.click(),
    ),
    Screen("providers-and-models", f"{BELOW}/providers-and-models"),
    Screen("providers-and-models-member", f"{BELOW}/providers-and-models", who="bob"),
    Screen("providers-and-models-teams", f"{BELOW}/providers-and-models", who="mallory"),
    Screen("providers", f"{BELOW}/providers-and-models?tab=providers"),
    Screen(
        "providers-and-models-breaks",
        f"{BELOW}/providers-and-models?q=claude",
        act=lambda page: (
            page.get_by_role("button", name="Deny all shown").click(),
            page.get_by_role("button", name="Save policy").click(),
            page.get_by_role("alert").wait_for(),
        ),
    ),
    Screen(
        "model-details",
        f"{BELOW}/providers-and-models?q=sonnet",
        act=lambda page: (
            page.locator("#models tbody tr:not([hidden]) a").first.click(),
            page.get_by_role("dialog").wait_for(),
        ),
    ),
    Screen(
        "default-model",
        f"{BELOW}/providers-and-models",
        act=lambda page: (
            page.get_by_role("link", name="Change (default model)").click(),
            page.get_by_label("One model").check(),
            page.get_by_role("combobox", name="Model").fill("son"),
        ),
    ),
    Screen("default-model-page", f"{BELOW}/providers-and-models/default-model?to=auto"),
    Screen("data-collection", f"{BELOW}/providers-and-models/data-collection"),
    Screen(
        "data-collection-conflict",
        f"{BELOW}/providers-and-models/data-collection",
        act=lambda page: (
            page.locator("[name=routing_version]").evaluate("field => { field.value = 1 }"),
            page.get_by_label("Deny").check(),
            page.get_by_role("button", name="Save").click(),
            page.get_by_role("alert").wait_for(),
        ),
    ),
    Screen("spending-limits", f"{BELOW}/providers-and-models/spending-limits", who="carol"),
    Screen("provider-keys", f"{BELOW}/byok"),
    Screen("provider-keys-member", f"{BELOW}/byok", who="bob"),
    Screen("provider-keys-none", f"{BELOW}/byok", who="mallory"),
    Screen(
        "provider-key",
        f"{BELOW}/byok",
        act=lambda page: page.get_by_role("link", name="Neuralwatt", exact=True).click(),
    ),
    Screen(
        "provider-key-add",
        f"{BELOW}/byok",
        act=lambda page: (
            page.get_by_role("link", name="Add key").first.click(),
            page.get_by_label("Provider", exact=True).fill("an"),
        ),
    ),
    Screen("provider-key-add-page", f"{BELOW}/byok/add"),
    Screen("provider-key-off", f"{BELOW}/byok", act=lambda page: page.get_by_role("switch").first.click()),
    Screen(
        "custom-provider-refused",
        f"{BELOW}/byok/custom-providers/add",
        act=lambda page: (
            page.get_by_label("Name", exact=True).fill("Lab"),
            page.get_by_label("Id", exact=True).fill("custom-lab"),
            page.get_by_label("Base URL", exact=True).fill("https://169.254.169.254/v1"),
            page.get_by_label("Responses").check(),
            page.get_by_role("button", name="Add provider").click(),
            page.locator("[aria-invalid=true]").wait_for(),
        ),
    ),
    Screen("api-keys", f"{BELOW}/api-keys"),
    Screen("api-keys-member", f"{BELOW}/api-keys", who="bob"),
    Screen("api-key-create", f"{BELOW}/api-keys/create"),
    Screen(
        "api-key-created",
        f"{BELOW}/api-keys",
        act=lambda page: (
            page.get_by_role("link", name="Create key").click(),
            page.get_by_label("Name", exact=True).fill("Laptop"),
            page.get_by_role("button", name="Create key").click(),
            page.locator("#api-key").wait_for(),
        ),
    ),
    Screen("usage", f"{BELOW}/usage"),
    Screen("usage-own", f"{BELOW}/usage", who="bob"),
    Screen("usage-refused", f"{BELOW}/usage?from=2026-02-01&to=2026-01-01"),
    Screen("usage-requests", f"{BELOW}/usage/requests"),
    Screen("usage-requests-none", f"{BELOW}/usage/requests?mode=never-used"),
    Screen("audit-log", f"{BELOW}/audit-logs"),
    Screen("audit-log-none", f"{BELOW}/audit-logs?text=nothing-like-it"),
    Screen("audit-log-forbidden", f"{BELOW}/audit-logs", who="bob"),
    Screen("audit-log-row", f"{BELOW}/audit-logs", act=lambda page: page.locator(".audit-message").first.click()),
    Screen("audit-log-row-page", f"{BELOW}/audit-logs/8"),
)
