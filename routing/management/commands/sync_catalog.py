"""Bring the model catalog up to date now."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from routing.catalog.sync import sync_catalog
from routing.models import Installation


class Command(BaseCommand):
    help = "Reads the model catalog of the hosted upstream and puts it in force. The server does so by itself, too."

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument(
            "--force", action="store_true", help="accept a catalog of fewer than half of the current models"
        )

    def handle(self, *_args: Any, **options: Any) -> None:
        result = sync_catalog(force=options["force"])
        if result.failed:
            raise CommandError(f"{result.message}\n{_what_stays()}")
        self.stdout.write(result.message)
        self.stdout.write(f"Read from {settings.OPENROUTER_BASE_URL}.")


def _what_stays() -> str:
    installation = Installation.objects.select_related("catalog_snapshot").defer("catalog_snapshot__entries").first()
    if installation is None:
        return "There is no catalog: run migrate first."
    snapshot = installation.catalog_snapshot
    return (
        f"The current catalog stays in force: {snapshot.model_count} models from {snapshot.source}, "
        f"{snapshot.created_at:%Y-%m-%d %H:%M} UTC."
    )
