#!/usr/bin/env python
"""Django's command line, on the settings of Kilo Gateway."""

from __future__ import annotations

import os
import sys


def main() -> None:
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "kilo_gateway.settings")
    from kilo_gateway.database import lift_statement_timeout, provide_database
    from kilo_gateway.env import SettingError

    lift_statement_timeout()
    try:
        provide_database()
        from django.core.management import execute_from_command_line

        execute_from_command_line(sys.argv)
    except SettingError as error:
        raise SystemExit(f"Configuration error: {error}") from None


if __name__ == "__main__":
    main()
