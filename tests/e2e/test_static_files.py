"""Static files as the production server serves them."""

from __future__ import annotations

import re

import pytest
import requests

from tests.support.live import Gateway


@pytest.fixture
def stylesheet(gateway: Gateway) -> str:
    """The address of a stylesheet, as a page names it."""
    page = requests.get(f"{gateway.base_url}/accounts/login", timeout=10)
    assert page.status_code == 200
    found = re.search(r'href="(/static/css/base\.[0-9a-f]+\.css)"', page.text)
    assert found, page.text
    return f"{gateway.base_url}{found[1]}"


def test_browsers_keep_them_for_good(stylesheet: str) -> None:
    answer = requests.get(stylesheet, timeout=10)
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("text/css")
    assert "immutable" in answer.headers["cache-control"]
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["content-encoding"] == "gzip"
    assert "set-cookie" not in answer.headers


def test_what_a_browser_has_is_not_sent_again(stylesheet: str) -> None:
    etag = requests.get(stylesheet, timeout=10).headers["etag"]
    answer = requests.get(stylesheet, headers={"If-None-Match": etag}, timeout=10)
    assert (answer.status_code, answer.content) == (304, b"")


@pytest.mark.parametrize("path", ["/static/", "/static/admin", "/static/nothing.css", "/static/%2e%2e/secret_key"])
def test_nothing_else_is_there(gateway: Gateway, path: str) -> None:
    assert requests.get(f"{gateway.base_url}{path}", timeout=10).status_code == 404
