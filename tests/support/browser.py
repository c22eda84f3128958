"""A real browser before a real gateway: Debian's Chromium, driven by Playwright.

Django's ORM refuses to work on the thread of Playwright's event loop: what a test wants of the database it asks with
`Gateway.sql`.
"""

from __future__ import annotations

import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from django.conf import settings
from django.contrib.auth import BACKEND_SESSION_KEY, HASH_SESSION_KEY, SESSION_KEY
from django.contrib.sessions.backends.db import SessionStore
from django.test import override_settings
from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Page, Request, sync_playwright
from playwright.sync_api import Error as PlaywrightError

from organizations.models import User
from tests.support.canaries import canaries, shown_once
from tests.support.live import Gateway
from tests.support.npm import npm_ci

FOLDER = Path(__file__).resolve().parents[1] / "browser"
WIDE, NARROW = 1280, 390
HOW_TO_GET = "a browser is missing: 'apt-get install chromium'"
# A page or a form that answers 4xx is what some tests are about; the browser logs each.
EXPECTED_LOG = "Failed to load resource: the server responded with a status of 4"

LOOK = """async (rules) => {
    const sheet = new CSSStyleSheet();
    sheet.replaceSync(".top, .sticky-bar, .toasts { position: static !important }");
    document.adoptedStyleSheets = [sheet];
    const found = await axe.run(document.querySelector("dialog:modal") ?? document, rules);
    document.adoptedStyleSheets = [];
    return found;
}"""


class NoBrowserError(Exception):
    """There is none; the message says how to get one."""


@contextmanager
def chromium() -> Iterator[Browser]:
    """The browser, without a window."""
    program = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if program is None:
        raise NoBrowserError(HOW_TO_GET)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=["--no-sandbox", "--disable-gpu"])
        try:
            yield browser
        finally:
            browser.close()


@dataclass
class Visitors:
    """Opens pages as somebody, and notes whatever a page must not do."""

    browser: Browser
    gateway: Gateway
    problems: list[str] = field(default_factory=list)
    contexts: list[BrowserContext] = field(default_factory=list)

    def visit(
        self, name: str = "", *, script: bool = True, width: int = WIDE, dark: bool = False, height: int = 900
    ) -> Page:
        """A new page of somebody of the cast, who is signed in (`staff` too), or of nobody."""
        context = self.browser.new_context(
            base_url=self.gateway.base_url,
            java_script_enabled=script,
            viewport={"width": width, "height": height},
            color_scheme="dark" if dark else "light",
            reduced_motion="reduce",
        )
        context.set_default_timeout(20_000)
        self.contexts.append(context)
        if name:
            value = session_of(self.gateway, name)
            context.add_cookies([{"name": settings.SESSION_COOKIE_NAME, "value": value, "url": self.gateway.base_url}])
        page = context.new_page()
        page.on("console", self._console)
        page.on("pageerror", lambda error: self.problems.append(f"script: {error}"))
        page.on("request", lambda request: self._request(request.url))
        page.on("requestfinished", _search)
        return page

    def _console(self, message: ConsoleMessage) -> None:
        if message.type in {"error", "warning"} and not message.text.startswith(EXPECTED_LOG):
            where = message.location
            self.problems.append(f"{message.type}: {message.text} ({where.get('url')}:{where.get('lineNumber')})")

    def _request(self, url: str) -> None:
        parts = urlsplit(url)
        if parts.scheme not in {"data", "blob"} and f"{parts.scheme}://{parts.netloc}" != self.gateway.base_url:
            self.problems.append(f"request to another host: {url}")

    def close(self) -> None:
        """End all visits."""
        for context in self.contexts:
            context.close()
        self.contexts.clear()


def _search(request: Request) -> None:
    """Look for secrets in a page or a part of one, unless the browser has moved on and forgotten it."""
    if request.resource_type not in {"document", "fetch", "xhr"}:
        return
    path = urlsplit(request.url).path
    try:
        response = request.response()
        content = response.body() if response is not None and response.status not in range(300, 400) else b""
    except PlaywrightError:
        return
    canaries.search(f"the answer to {request.method} {path}", content, but=shown_once(request.method, path))


def session_of(gateway: Gateway, name: str) -> str:
    """The cookie of a new session of somebody, written into the gateway's database."""
    (row,) = gateway.sql("SELECT * FROM organizations_user WHERE email LIKE %s", f"{name}@%")
    secret = (Path(gateway.environment["DATA_DIR"]) / "secret_key").read_text().strip()
    with override_settings(SECRET_KEY=secret):
        user = User(**row)
        data = {
            SESSION_KEY: str(user.pk),
            BACKEND_SESSION_KEY: settings.AUTHENTICATION_BACKENDS[0],
            HASH_SESSION_KEY: user.get_session_auth_hash(),
        }
        stored = SessionStore().encode(data)
    key = secrets.token_hex(16)
    gateway.sql(
        "INSERT INTO django_session (session_key, session_data, expire_date) VALUES (%s, %s, %s)",
        key,
        stored,
        datetime.now(UTC) + timedelta(hours=1),
    )
    return key


def barriers(page: Page) -> list[str]:
    """What axe-core finds on the page: rule and elements. Raises NotInstallableError when it cannot be had.

    Beside an open dialog all is inert, so only the dialog is looked at. What sticks to the edge of the window is put
    into its place meanwhile: it would count as covering what happens to be scrolled below it.
    """
    npm_ci(FOLDER)
    # By way of the debugger: the page's policy allows no script of another's.
    page.evaluate((FOLDER / "node_modules" / "axe-core" / "axe.min.js").read_text())
    rules = {"runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]}
    found: dict[str, Any] = page.evaluate(LOOK, rules)
    return [
        f"{violation['id']}: {', '.join(str(node['target']) for node in violation['nodes'][:5])}"
        for violation in found["violations"]
    ]


def overflow(page: Page) -> int:
    """By how many pixels the page is wider than the window."""
    return int(page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth"))
