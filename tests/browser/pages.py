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

SCREENS = (
    Screen("sign-in", "/accounts/login", who=""),
    Screen("forgotten-password", "/accounts/password/reset", who=""),
    Screen("invitation-none", "/invitations/none", who=""),
    Screen("account", "/account"),
    Screen("password", "/accounts/password"),
    Screen("password-again", "/accounts/again"),
    Screen("device-code", "/device-auth"),
    Screen("styleguide", "/styleguide", who="staff"),
    Screen("not-found", "/no/such/page", who=""),
    Screen("admin-audit-log", "/admin/organizations/auditlog/", who="staff"),
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
            page.get_by_label("Email address").fill("frank@example.com"),
            page.get_by_role("button", name="Create invitation").click(),
        ),
    ),
    Screen(
        "members-role",
        f"{BELOW}/members",
        act=lambda page: page.get_by_role("link", name="Change role").first.click(),
    ),
)
