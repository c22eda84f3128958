"""Fixtures of the catalog's tests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from django.db import connections
from pytest_django import DjangoDbBlocker, Settings

from routing.catalog.index import forget_index
from routing.catalog.install import install_bundled_catalog, install_default_tiers
from routing.catalog.tiers import forget_tier_table
from routing.models import AutoTierRule, CatalogSnapshot, Installation
from tests.routing.catalog.upstream import FakeUpstream


@pytest.fixture(autouse=True)
def nothing_kept() -> Iterator[None]:
    forget_index()
    forget_tier_table()
    yield
    forget_index()
    forget_tier_table()


@pytest.fixture
def upstream(settings: Settings) -> Iterator[FakeUpstream]:
    """A server that stands for the hosted upstream."""
    with FakeUpstream() as server:
        settings.OPENROUTER_BASE_URL = server.base_url
        settings.OPENROUTER_API_KEY = ""
        settings.CATALOG_SYNC_TIMEOUT = 20.0
        yield server


def install() -> None:
    """Bring the installation to where the migrations leave it."""
    install_bundled_catalog(CatalogSnapshot, Installation)
    install_default_tiers(AutoTierRule)


@pytest.fixture
def installation(db: None) -> Installation:
    """The installation as the migrations leave it: the bundled catalog and the default tiers."""
    install()
    return Installation.objects.get()


@pytest.fixture
def committed_installation(django_db_setup: None, django_db_blocker: DjangoDbBlocker) -> Iterator[Installation]:
    """As `installation`, but seen by other threads and connections; back to where it was at the end.

    Not by Django's flush of all tables, which the append-only ones refuse.
    """

    def start_over() -> None:
        for model in (Installation, CatalogSnapshot, AutoTierRule):
            model.objects.all().delete()
        install()

    with django_db_blocker.unblock():
        start_over()
        try:
            yield Installation.objects.get()
        finally:
            start_over()
            connections.close_all()
