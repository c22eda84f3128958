"""Run the demo upstream in the foreground."""

from __future__ import annotations

import errno
from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand, CommandError

from routing.demo import DemoUpstream, run_upstream
from routing.demo.cast import OFFERED_MODELS


class Command(BaseCommand):
    help = "A small HTTP server that plays the upstream: answers say which model, path and key they were asked with."
    # It needs no database and no complete configuration.
    requires_system_checks = ()

    def add_arguments(self, parser: ArgumentParser) -> None:
        parser.add_argument("--host", default="127.0.0.1", help="address to listen at (default: %(default)s)")
        parser.add_argument("--port", type=int, default=8001, help="port, 0 for any free one (default: %(default)s)")

    def handle(self, *_args: Any, **options: Any) -> None:
        # Here, since the catalog takes its time to load and `--help` has no need of it.
        from routing.catalog.bundled import bundled_models

        host, port = options["host"], options["port"]
        try:
            run_upstream(
                host,
                port,
                models=bundled_models(),
                own_models=OFFERED_MODELS,
                on_ready=self._announce,
                on_request=self._show if options["verbosity"] > 1 else None,
            )
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise CommandError(f"Cannot listen at {host}:{port}: {error.strerror}") from error
            raise CommandError(f"Port {port} is in use: choose another with --port.") from error
        except OverflowError as error:
            raise CommandError("--port must be between 0 and 65535.") from error

    def _announce(self, upstream: DemoUpstream) -> None:
        self.stdout.write(f"Demo upstream at {upstream.base_url} (Ctrl-C stops it)")
        self.stdout.flush()

    def _show(self, request: dict[str, Any]) -> None:
        key = f"...{request['key_last_four']}" if request["key_last_four"] else "none"
        self.stdout.write(f"{request['method']} {request['path']} model={request['model'] or '-'} key={key}")
        self.stdout.flush()
