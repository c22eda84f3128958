"""The auto tiers mean something before staff has said what."""

from __future__ import annotations

from typing import ClassVar

from django.apps.registry import Apps
from django.db import migrations
from django.db.backends.base.schema import BaseDatabaseSchemaEditor

from routing.catalog.install import install_default_tiers


def install(apps: Apps, _schema_editor: BaseDatabaseSchemaEditor) -> None:
    install_default_tiers(apps.get_model("routing", "AutoTierRule"))


def uninstall(apps: Apps, _schema_editor: BaseDatabaseSchemaEditor) -> None:
    apps.get_model("routing", "AutoTierRule").objects.all().delete()


class Migration(migrations.Migration):
    dependencies: ClassVar = [("routing", "0002_bundled_catalog")]
    operations: ClassVar = [migrations.RunPython(install, uninstall)]
