"""An installation has a catalog before it has reached any network."""

from __future__ import annotations

from typing import ClassVar

from django.apps.registry import Apps
from django.db import migrations
from django.db.backends.base.schema import BaseDatabaseSchemaEditor

from routing.catalog.install import install_bundled_catalog


def install(apps: Apps, _schema_editor: BaseDatabaseSchemaEditor) -> None:
    install_bundled_catalog(apps.get_model("routing", "CatalogSnapshot"), apps.get_model("routing", "Installation"))


def uninstall(apps: Apps, _schema_editor: BaseDatabaseSchemaEditor) -> None:
    apps.get_model("routing", "Installation").objects.all().delete()
    apps.get_model("routing", "CatalogSnapshot").objects.all().delete()


class Migration(migrations.Migration):
    dependencies: ClassVar = [("routing", "0001_initial")]
    operations: ClassVar = [migrations.RunPython(install, uninstall)]
