"""Pages in a real browser. A test fails on a script's error, on what the policy forbids, and on any other host."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser

from tests.support.browser import FOLDER, NoBrowserError, Visitors, chromium
from tests.support.live import Gateway
from tests.support.npm import NotInstallableError, npm_ci


@pytest.fixture(scope="package")
def browser() -> Iterator[Browser]:
    """For the tests of this folder only: while it runs, Django's ORM cannot be used on this thread."""
    try:
        with chromium() as running:
            yield running
    except NoBrowserError as error:
        pytest.skip(str(error))


@pytest.fixture
def visitors(browser: Browser, gateway: Gateway) -> Iterator[Visitors]:
    """`visitors.visit("alice", width=390, dark=True, script=False)` is a page of hers."""
    visitors = Visitors(browser, gateway)
    yield visitors
    visitors.close()
    assert visitors.problems == []


@pytest.fixture(scope="session")
def axe() -> None:
    """Wanted by tests that use `barriers`: a skip that says how to get axe-core, where it cannot be had."""
    try:
        npm_ci(FOLDER)
    except NotInstallableError as error:
        pytest.skip(str(error))
