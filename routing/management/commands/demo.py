"""`manage.py demo`: everything on one machine, for a first look. `make demo` calls it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from typing import Any

from django.core.management import call_command
from django.core.management.base import BaseCommand, CommandError

from byok.providers import override_variable
from kilo_gateway import kilo_cli
from kilo_gateway.env import SettingError
from kilo_gateway.listening import require_free_address
from routing.catalog.bundled import bundled_models
from routing.demo import DemoUpstream
from routing.demo.cast import OFFERED_MODELS
from routing.demo.seed import DEMO_PROVIDER, SeededDemo, seed_demo

START_SECONDS = 60

GUIDE = """
Kilo Gateway is ready at {base_url}

  Sign in     {email}  (owner of Acme), password {password}
  API key     {api_key}
  Upstream    a demo server that answers with the model it was asked for: {upstream}

Ask for kilo-auto/org as the mode "code":

  curl -s {base_url}/api/gateway/v1/chat/completions \\
    -H 'Authorization: Bearer {api_key}' -H 'Content-Type: application/json' -H 'x-kilocode-mode: code' \\
    -d '{{"model": "kilo-auto/org", "messages": [{{"role": "user", "content": "Say hello"}}]}}'

The Kilo CLI:

  npm install {kilo_cli}
  KILO_API_URL={base_url} KILO_API_KEY={api_key} KILO_ORG_ID={organization_id} \\
    npx kilo run --auto --agent plan -m kilo/kilo-auto/org "say hello"

Commands beside it find its database by themselves, and its upstream when they are told:

  {upstream_settings} \\
  {python} manage.py doctor

Ctrl-C stops everything.
"""


class Command(BaseCommand):
    help = "Migrate, seed, start a demo upstream and the gateway, and say how to use them. Ctrl-C stops all of it."

    def handle(self, *args: Any, **options: Any) -> None:
        """Run until Ctrl-C or SIGTERM, or until the server ends by itself."""
        host, port = os.environ.get("HOST", "127.0.0.1"), int(os.environ.get("PORT", "8000"))
        _require_free_port(host, port)
        # Both by name: a shell starts what runs in the background with Ctrl-C ignored.
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.default_int_handler)
        call_command("migrate", interactive=False, verbosity=0)
        with DemoUpstream(bundled_models(), own_models=OFFERED_MODELS) as upstream:
            seeded = seed_demo()
            server = _start_server(upstream.base_url)
            try:
                _wait_until_ready(f"http://{host}:{port}/readyz", server)
                self.stdout.write(_guide(f"http://{host}:{port}", seeded, upstream.base_url))
                self.stdout.flush()
                server.wait()
            except KeyboardInterrupt:
                self.stdout.write("\nStopping.")
            finally:
                _stop(server)


def _require_free_port(host: str, port: int) -> None:
    try:
        require_free_address(host, port)
    except SettingError as error:
        raise CommandError(str(error)) from None


def _start_server(upstream_url: str) -> subprocess.Popen[bytes]:
    environment = os.environ | {
        "MIGRATE": "0",
        # Nothing is in front that would have to notice.
        "SHUTDOWN_DELAY": "0",
        "LOG_FORMAT": os.environ.get("LOG_FORMAT", "console"),
        **_upstream_settings(upstream_url),
    }
    return subprocess.Popen([sys.executable, "-m", "kilo_gateway.serve"], env=environment)


def _upstream_settings(upstream_url: str) -> dict[str, str]:
    return {
        "OPENROUTER_API_KEY": "demo-hosted-key",
        "OPENROUTER_BASE_URL": f"{upstream_url}/api/v1",
        override_variable(DEMO_PROVIDER): f"{upstream_url}/v1",
    }


def _wait_until_ready(url: str, server: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        if server.poll() is not None:
            raise CommandError("The server ended before it was ready; its messages are above.")
        try:
            with urllib.request.urlopen(url, timeout=2):  # noqa: S310 - our own address
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.05)
    raise CommandError(f"The server was not ready within {START_SECONDS} s.")


def _guide(base_url: str, seeded: SeededDemo, upstream_url: str) -> str:
    alice = seeded.user("alice@example.com")
    return GUIDE.format(
        base_url=base_url,
        kilo_cli=kilo_cli.PACKAGE,
        upstream=upstream_url,
        email=alice["email"],
        password=alice["password"],
        api_key=alice["api_key"],
        organization_id=seeded.organization("Acme")["id"],
        upstream_settings=" \\\n  ".join(f"{name}={value}" for name, value in _upstream_settings(upstream_url).items()),
        python=os.path.relpath(sys.executable),
    )


def _stop(server: subprocess.Popen[bytes]) -> None:
    if server.poll() is None:
        server.terminate()
        try:
            server.wait(timeout=15)
        except subprocess.TimeoutExpired:
            server.kill()
            server.wait()
