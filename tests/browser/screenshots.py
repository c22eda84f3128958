"""Pictures of all pages, wide and narrow, light and dark: `python -m tests.browser.screenshots [part of a name]`."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from playwright.sync_api import Error

from tests.support import environment

if TYPE_CHECKING:
    from tests.browser.pages import Screen
    from tests.support.browser import Visitors
    from tests.support.live import Gateway

TARGET = environment.ROOT / ".data" / "screenshots"


def main(parts: list[str]) -> int:
    """Take them all, and look for barriers in each; 1 when a page did something that it must not."""
    import os

    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "kilo_gateway.settings")
    import django

    django.setup()
    # What these import needs Django.
    from tests.browser.pages import SCREENS
    from tests.support.browser import Visitors, chromium
    from tests.support.live import live_gateway

    wanted = [screen for screen in SCREENS if not parts or any(part in screen.name for part in parts)]
    TARGET.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder, live_gateway(Path(folder)) as gateway, chromium() as browser:
        _use(gateway)
        visitors = Visitors(browser, gateway)
        for screen in wanted:
            try:
                _take(visitors, screen)
            except Error as error:
                visitors.problems.append(f"{screen.name}: {error.message.splitlines()[0]}")
                visitors.close()
    for problem in dict.fromkeys(visitors.problems):
        sys.stdout.write(f"{problem}\n")
    sys.stdout.write(f"{len(wanted) * 4} pictures in {TARGET}\n")
    return 1 if visitors.problems else 0


def _use(gateway: Gateway) -> None:
    """Let Acme have been used for two months, so that there is something to see."""
    done = gateway.manage("shell", "--no-imports", "-c", _USE)
    if done.returncode:
        raise SystemExit(done.stderr)


_USE = """
from datetime import UTC, datetime
from organizations.models import Organization
from tests.support.many_rows import many_usage_rows

acme = Organization.objects.get(name="Acme")
many_usage_rows(
    [acme.pk],
    list(acme.memberships.values_list("user_id", flat=True)),
    count=20_000,
    days=60,
    until=datetime.now(UTC),
    modes=("code", "architect", "ask", "debug", "docs-writer", "code", "code", "ask"),
    models=("anthropic/claude-sonnet-5", "anthropic/claude-opus-5", "openai/gpt-5-mini", "moonshotai/kimi-k3"),
)
"""


def _take(visitors: Visitors, screen: Screen) -> None:
    from tests.support.browser import NARROW, WIDE, barriers, overflow

    person = visitors.gateway.user(screen.who) if screen.who not in {"", "staff"} else None
    organization = visitors.gateway.organization(person["organization"])["id"] if person else ""
    for width in (WIDE, NARROW):
        for dark in (False, True):
            page = visitors.visit(screen.who, width=width, dark=dark)
            page.goto(screen.path.format(organization=organization))
            if screen.act is not None:
                screen.act(page)
            # The style guide's own example waits for ever.
            page.locator(".htmx-request:not([inert])").first.wait_for(state="detached")
            page.wait_for_load_state("networkidle")
            if overflow(page) > 0:
                visitors.problems.append(f"{screen.name} at {width}: wider than the window by {overflow(page)} px")
            theme = "dark" if dark else "light"
            # A hidden caret would be an inline style, which the policy forbids where a swap copies it.
            page.screenshot(
                path=TARGET / f"{screen.name}-{width}-{theme}.png", full_page=screen.act is None, caret="initial"
            )
            visitors.problems += [f"{screen.name} at {width}, {theme}: {barrier}" for barrier in barriers(page)]
            visitors.close()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
