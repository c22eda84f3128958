"""The data migrations, there and back."""

from __future__ import annotations

from importlib import import_module
from typing import Any

import pytest
from django.apps import apps
from django.db import connection

from routing.models import AutoTierRule, CatalogSnapshot, Installation

pytestmark = pytest.mark.usefixtures("installation")


def operation(name: str) -> Any:
    (found,) = import_module(f"routing.migrations.{name}").Migration.operations
    return found


def forward(name: str) -> None:
    with connection.schema_editor() as editor:
        operation(name).code(apps, editor)


def backward(name: str) -> None:
    with connection.schema_editor() as editor:
        operation(name).reverse_code(apps, editor)


def test_they_go_back_and_forth() -> None:
    backward("0003_default_tiers")
    assert not AutoTierRule.objects.exists()
    backward("0002_bundled_catalog")
    assert not Installation.objects.exists()
    assert not CatalogSnapshot.objects.exists()
    forward("0002_bundled_catalog")
    installation = Installation.objects.get()
    assert installation.catalog_snapshot.origin == "bundled"
    assert installation.catalog_snapshot.model_count == len(installation.catalog_snapshot.entries)
    assert installation.catalog_checked_at is None
    forward("0003_default_tiers")
    assert AutoTierRule.objects.filter(tier="frontier").count() == 8


def test_what_is_there_already_stays() -> None:
    backward("0003_default_tiers")
    AutoTierRule.objects.create(tier="free", model_ids=["a/b:free"])
    forward("0003_default_tiers")
    assert AutoTierRule.objects.count() == 1
    before = Installation.objects.get().catalog_snapshot_id
    forward("0002_bundled_catalog")
    assert Installation.objects.get().catalog_snapshot_id == before
