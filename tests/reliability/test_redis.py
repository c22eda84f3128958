"""Signing in while Redis is away. What rate limits do then is in `tests/e2e/test_shared_limits.py`."""

from __future__ import annotations

import re
from pathlib import Path

import requests

from tests.organizations.accounts.conftest import totp_code
from tests.support.live import Gateway, free_port, server_beside

PASSWORD = "a few words in a row"
SECRET = "JBSWY3DPEHPK3PXPJBSWY3DPEHPK3PXP"
MAKE = f"""
from allauth.mfa.totp.internal.auth import TOTP
from organizations.models import User
TOTP.activate(User.objects.create_user("careful@example.com", {PASSWORD!r}), {SECRET!r})
"""


def enter(browser: requests.Session, url: str, **fields: str) -> requests.Response:
    """Fill a form in and send it."""
    page = browser.get(url, timeout=20)
    token = re.search(r'name="csrfmiddlewaretoken" value="([^"]+)"', page.text)
    assert token, page.text
    fields["csrfmiddlewaretoken"] = token[1]
    return browser.post(url, fields, headers={"Referer": url}, timeout=20)


def test_the_second_factor_does_not_need_it(gateway: Gateway, tmp_path: Path) -> None:
    """A code is good, and good once."""
    assert gateway.manage("shell", "-c", MAKE).returncode == 0
    code = totp_code(SECRET)
    dead = f"redis://127.0.0.1:{free_port()}/0"
    came_in = []
    with server_beside(gateway, tmp_path, CACHE_URL=dead, RATE_LIMIT_PER_KEY="1000") as server:
        for _ in range(2):
            with requests.Session() as browser:
                enter(browser, f"{server.base_url}/accounts/login", login="careful@example.com", password=PASSWORD)
                answer = enter(browser, f"{server.base_url}/accounts/second-factor", code=code)
                account = browser.get(f"{server.base_url}/account", allow_redirects=False, timeout=20)
                came_in.append((answer.status_code, account.status_code))
    assert came_in == [(200, 200), (422, 302)]
