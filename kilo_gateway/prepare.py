"""What is done before the server starts, in a process of its own: `python -m kilo_gateway.prepare [--migrate]`."""

from __future__ import annotations

import os
import sys

import django
from django.core.management import call_command

from kilo_gateway.static_files import collect_static_files


def main() -> None:
    """Migrate the database if asked to, and collect the static files. `DATABASE_URL` is set by the caller."""
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "kilo_gateway.settings")
    django.setup()
    if "--migrate" in sys.argv[1:]:
        call_command("migrate", interactive=False, verbosity=0)
    collect_static_files()


if __name__ == "__main__":
    main()
