"""Fill the database with the demo."""

from __future__ import annotations

import json
from argparse import ArgumentParser
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from routing.demo.seed import FILE_NAME, SeededPerson, other_organizations, seed_demo


class Command(BaseCommand):
    help = (
        "Fill the database with two organizations, their people, routes, modes and keys. Run again, it makes what is "
        "missing and shows the same passwords and keys."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--json", action="store_true", help="print everything as JSON, and nothing else")
        parser.add_argument("--force", action="store_true", help="also into a database with organizations of its own")

    def handle(self, *_args: Any, **options: Any) -> None:
        if not (settings.DEBUG or options["force"]) and (others := other_organizations()):
            raise CommandError(
                f"This database has {others} organizations that are not the demo's, so this may be a real "
                "installation. The demo adds accounts, one of them staff: --force adds them all the same."
            )
        demo = seed_demo()
        if options["json"]:
            self.stdout.write(json.dumps({"base_url": settings.BASE_URL, **demo.as_json()}, indent=2))
            return
        self.stdout.write(f"Sign in at {settings.BASE_URL} as one of:")
        for seeded in (*demo.people, demo.staff):
            self.stdout.write(f"  {_line(seeded)}")
        self.stdout.write(f"The same with management keys: --json. Kept in {settings.DATA_DIR / FILE_NAME}.")


def _line(seeded: SeededPerson) -> str:
    person, credentials = seeded.person, seeded.credentials
    place = f"{person.role.label}, {person.organization.name}" if person.role and person.organization else "Staff"
    return f"{person.email:<20} {place:<24} password {credentials.password}  API key {credentials.api_key}"
