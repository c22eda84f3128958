"""Fixtures for all tests. The cast: Alice (owner), Dave (admin), Carol (billing manager), Bob (member), Mallory (elsewhere)."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from tests.support.live import Gateway, live_gateway


@pytest.fixture(scope="session")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """A gateway as people run it: its own processes, database and demo upstream, all real."""
    with live_gateway(tmp_path_factory.mktemp("gateway")) as running:
        yield running


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Where everything is installed, a test that was skipped is a test that nobody runs."""
    skipped = terminalreporter.stats.get("skipped", [])
    if os.environ.get("FAIL_ON_SKIP") and skipped:
        terminalreporter.write_line(f"{len(skipped)} skipped tests: nothing may be skipped here.", red=True)


def pytest_sessionfinish(session: pytest.Session) -> None:
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if os.environ.get("FAIL_ON_SKIP") and reporter is not None and reporter.stats.get("skipped"):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
