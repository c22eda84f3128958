"""Delete usage records that are old enough."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from routing.usage.retention import day_before, usage_prune


class Command(BaseCommand):
    help = (
        "Deletes the records of single requests that are older than a number of days or months. The sums by day, mode, "
        "model and member stay. It may be broken off at any time; the next run goes on."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--older-than", required=True, metavar="AGE", help="days or months, such as 90d or 12m")

    def handle(self, *_args: Any, **options: Any) -> None:
        try:
            before = day_before(options["older_than"])
        except ValueError as error:
            raise CommandError(f"--older-than: {error}") from None
        pruned = usage_prune(before)
        if not pruned.is_complete:
            raise CommandError(
                f"Another process is deleting usage records already; {pruned.records} were deleted here."
            )
        self.stdout.write(f"{pruned.records} usage records from before {before} were deleted.")
