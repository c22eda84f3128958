"""Fixtures for all tests.

The cast: Alice (owner), Dave (admin), Carol (billing manager), Bob (member), Mallory (of another organization).
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import pytest
from django.db import connection, connections
from django.test.utils import setup_databases, teardown_databases
from pytest_django import DjangoDbBlocker

from routing.catalog.index import forget_index
from routing.catalog.tiers import forget_tier_table
from routing.demo import DemoUpstream
from routing.proxy.usage_writer import writer
from routing.resolution import forget_everything
from tests.support.live import Gateway, live_gateway
from tests.support.tenants import wipe_committed_rows

pytest_plugins = ["tests.support.canaries_plugin"]


@pytest.fixture(scope="session")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    """A gateway as people run it: its own processes, database and demo upstream, all real."""
    with live_gateway(tmp_path_factory.mktemp("gateway"), ALLOW_PRIVATE_UPSTREAMS="1") as running:
        yield running


@pytest.fixture(scope="session")
def django_db_setup(django_test_environment: None, django_db_blocker: DjangoDbBlocker) -> Iterator[None]:
    """A test database of this run's own, so that two runs on one machine do not meet."""
    connection.settings_dict["TEST"]["NAME"] = f"test_kilo_{os.getpid()}"
    with django_db_blocker.unblock():
        created = setup_databases(verbosity=0, interactive=False)
    yield
    with django_db_blocker.unblock():
        connections.close_all()
        teardown_databases(created, verbosity=0)


@pytest.fixture(scope="module")
def no_leftovers(django_db_setup: None, django_db_blocker: DjangoDbBlocker) -> None:
    """For a file that counts all there is: what other files asked the gateway in this process is written by a thread of
    its own, and stays.
    """
    with django_db_blocker.unblock():
        writer.flush()
        wipe_committed_rows()
        connections.close_all()


@pytest.fixture
def committed_db(django_db_setup: None, django_db_blocker: DjangoDbBlocker) -> Iterator[None]:
    """A database whose changes are committed, for tests with several threads or connections; emptied afterwards."""
    with django_db_blocker.unblock():
        try:
            yield
        finally:
            writer.flush()
            wipe_committed_rows()
            connections.close_all()


@pytest.fixture
def hosted_upstream(settings: Any) -> Iterator[DemoUpstream]:
    """A real hosted upstream on loopback, which the gateway in this process uses as OpenRouter."""
    with DemoUpstream() as upstream:
        settings.OPENROUTER_API_KEY = "sk-hosted-key-0001"
        settings.OPENROUTER_BASE_URL = f"{upstream.base_url}/api/v1"
        settings.VERCEL_AI_GATEWAY_API_KEY = ""
        yield upstream


@pytest.fixture(autouse=True)
def _fresh_memory() -> None:
    """Decisions, tiers and catalogs of one test's database mean nothing in the next one's."""
    forget_everything()
    forget_index()
    forget_tier_table()


@pytest.fixture(autouse=True)
def _settled_usage(django_db_blocker: DjangoDbBlocker) -> Iterator[None]:
    """What a test asked the gateway in this process is written with its end: later, the writer's thread would look for
    what it took in a test that may not use the database, and complain in its log.
    """
    yield
    if writer.depth:
        with django_db_blocker.unblock():
            writer.flush()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Where everything is installed, a test that was skipped is a test that nobody runs."""
    skipped = terminalreporter.stats.get("skipped", [])
    if os.environ.get("FAIL_ON_SKIP") and skipped:
        terminalreporter.write_line(f"{len(skipped)} skipped tests: nothing may be skipped here.", red=True)


def pytest_sessionfinish(session: pytest.Session) -> None:
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if os.environ.get("FAIL_ON_SKIP") and reporter is not None and reporter.stats.get("skipped"):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
