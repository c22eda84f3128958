"""`manage.py check_routes`: which stored routes would be refused today."""

from __future__ import annotations

from typing import Any

from django.core.management.base import BaseCommand, CommandError

from routing.services.health import routes_check


class Command(BaseCommand):
    help = "Checks every route of the organizations that have Organization Auto on. Exit code 1 when one is broken."

    def handle(self, *_args: Any, **_options: Any) -> None:
        """A route that broke since the last check is also noted in the organization's audit log."""
        broken = routes_check()
        for organization, health in broken:
            name = f'route for "{health.slug}"' if health.slug else "fallback"
            self.stdout.write(f"{organization.name} ({organization.pk}): {name}: {health.reason}")
        if broken:
            raise CommandError(f"{len(broken)} broken.")
        self.stdout.write("Every route is valid.")
