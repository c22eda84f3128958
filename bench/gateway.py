"""This gateway as a subject."""

from __future__ import annotations

import json
from pathlib import Path

from bench.installation import Installation
from bench.model import LOCAL_HOST, ROOT, BenchError, Request, chat_request
from bench.organizations import MODE, PROVIDER
from bench.processes import free_port, run
from bench.subject import Running, Subject

_PATH = "/api/gateway/v1/chat/completions"
_MODEL = "kilo-auto/org"


class Gateway(Subject):
    """Kilo Gateway: an authenticated completion through Organization Auto to a provider key of the organization."""

    name = "ours"
    title = "Kilo Gateway"
    organizations = 1

    def __init__(self) -> None:
        self.settings = (
            "one worker, production settings, usage recorded in PostgreSQL (on the load core)",
            f"{_MODEL}, mode {MODE}, routed to a direct provider; organizations that take turns: {self.organizations}",
        )
        self._installation: Installation | None = None
        self._keys: list[str] = []

    def prepare(self) -> str:
        try:
            return run(["git", "describe", "--always", "--dirty"], seconds=20, directory=ROOT).strip()
        except BenchError:
            return "unknown revision"

    def start(self, directory: Path, upstream_port: int) -> Running:
        directory.mkdir(parents=True, exist_ok=True)
        if self._installation is None:
            self._installation = Installation(directory.parent.parent)  # both starts work on one database
        installation, port = self._installation, free_port()
        environment = installation.environment(port, **upstream_settings(upstream_port))
        if not self._keys:
            installation.migrate()
            made = installation.command(environment, "-m", "bench.organizations", str(self.organizations))
            self._keys = json.loads(made)
        program = installation.serve(self.name, environment, directory / "gateway.log")
        postmaster = installation.postmaster
        return Running(program, port, self._requests(stream=False), self._requests(stream=True), [postmaster])

    def close(self) -> None:
        if self._installation is not None:
            self._installation.close()
        self._installation, self._keys = None, []

    def _requests(self, *, stream: bool) -> list[Request]:
        return [completion_request(key, stream=stream) for key in self._keys]


def completion_request(key: str, *, stream: bool = False) -> Request:
    """What a client of an organization with this key sends."""
    return chat_request(_PATH, _MODEL, {"Authorization": f"Bearer {key}", "x-kilocode-mode": MODE}, stream=stream)


def upstream_settings(port: int) -> dict[str, str]:
    """The settings with which all that the organizations' requests may lead to is the upstream on this port."""
    upstream = f"http://{LOCAL_HOST}:{port}/v1"
    return {
        f"PROVIDER_BASE_URL_{PROVIDER.upper()}": upstream,
        "OPENROUTER_BASE_URL": upstream,
        "OPENROUTER_API_KEY": "sk-upstream",
        "ALLOW_PRIVATE_UPSTREAMS": "1",
    }


class GatewayManyOrganizations(Gateway):
    """The same work for many organizations in turn; one organization alone must get about as much done."""

    name = "ours-64-organizations"
    title = "Kilo Gateway, 64 organizations"
    organizations = 64
