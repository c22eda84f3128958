"""Secrets that tests plant, and the search for them in whatever leaves the gateway.

Three things count as a planted secret: a text with `canary-` in it; a whole API key, or a provider's key of the
demo, by its shape; and the very text that a test sealed, hashed as a password, put into a setting or typed into a field
for secrets. `tests.support.canaries_plugin` plants and searches; a place that it does not see calls `search` itself.
"""

from __future__ import annotations

import gzip
import html
import json
import re
import socket
import zlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Final
from urllib.parse import quote

# A shorter one could stand in an answer by chance.
SHORTEST: Final = 12
MARK: Final = b"canary-"
# How much of a piece is looked at again together with the next one: a secret may stand across both.
OVERLAP: Final = 200


class Kind(StrEnum):
    MARKED = "a marked secret"
    API_KEY = "an API key"
    DEMO_PROVIDER_KEY = "a provider's key of the demo"
    SEALED = "a sealed secret"
    PASSWORD = "a password"
    SETTING = "a secret of the settings"
    TYPED = "a secret that the request brought"


# Some type their own address as a password; it stands on pages in its own right.
_ADDRESS: Final = re.compile(r"[^@\s]+@[^@\s]+\.\w+")
# What begins like a secret, and the whole of it: the first is looked for fast, the second only where it stands.
_SHAPES: Final = (
    (Kind.MARKED, MARK, re.compile(MARK)),
    (Kind.API_KEY, b"kilo_", re.compile(rb"kilo_[A-Za-z0-9_-]{43}")),
    (Kind.DEMO_PROVIDER_KEY, b"demo-provider-key-", re.compile(rb"demo-provider-key-[0-9a-f]{16}")),
)
# Where a new key is shown to its owner, once: (method, path).
_ONCE: Final = (
    ("POST", re.compile(r"/api/organizations/[^/]+/api-keys")),
    ("POST", re.compile(r"/organizations/[^/]+/api-keys/create")),
    ("GET", re.compile(r"/api/device-auth/codes/[^/]+")),
)
# What a command prints for whoever called it. `shell` prints what a test asks it for.
_PRINTED: Final = {
    "create_api_key": {Kind.API_KEY},
    "create_organization": {Kind.PASSWORD},
    "seed_demo": {Kind.API_KEY, Kind.PASSWORD},
    "shell": {Kind.API_KEY},
}
NOTHING: Final[frozenset[Kind]] = frozenset()
SECRET_SETTINGS: Final = (
    "SECRET_KEY",
    "CREDENTIAL_KEYS",
    "OPENROUTER_API_KEY",
    "VERCEL_AI_GATEWAY_API_KEY",
    "OIDC_CLIENT_SECRET",
    "POSTHOG_API_KEY",
    "POSTHOG_PERSONAL_API_KEY",
    "EMAIL_HOST_PASSWORD",
)


def shown_once(method: str, path: str) -> frozenset[Kind]:
    """What the answer of an endpoint may hold."""
    address = path.partition("?")[0]
    is_once = any(method == allowed and route.fullmatch(address) for allowed, route in _ONCE)
    return frozenset({Kind.API_KEY}) if is_once else NOTHING


def printed_by(command: str) -> frozenset[Kind]:
    """What a command may print."""
    return frozenset(_PRINTED.get(command, ()))


def spellings(text: str) -> set[bytes]:
    """The text as it stands in plain text, HTML, JSON and an address."""
    written = {text, html.escape(text), json.dumps(text)[1:-1], quote(text, safe="", errors="replace")}
    return {each.encode("utf-8", "surrogatepass") for each in written}


def decoded(content: bytes, encoding: str) -> bytes:
    """An answer's content without its compression; as it is where that cannot be taken off."""
    try:
        if encoding == "gzip":
            return gzip.decompress(content)
        return zlib.decompress(content) if encoding == "deflate" else content
    except (OSError, EOFError, zlib.error):
        return content


@dataclass
class Canaries:
    """What is planted and what was found. `lasting` belongs to servers, `planted` to the test that runs."""

    planted: dict[bytes, Kind] = field(default_factory=dict)
    lasting: dict[bytes, Kind] = field(default_factory=dict)
    found: list[str] = field(default_factory=list)

    def plant(self, text: str, kind: Kind, *, lasting: bool = False) -> None:
        """Look for a text from now on, until the test ends or, with `lasting`, the process."""
        if len(text) >= SHORTEST and not _ADDRESS.fullmatch(text):
            (self.lasting if lasting else self.planted).update(dict.fromkeys(spellings(text), kind))

    def search(self, where: str, content: bytes, *, but: frozenset[Kind] = NOTHING) -> None:
        """Note each secret in what leaves; `but` are those that may be shown there."""
        for kind, start, shape in _SHAPES:
            if kind not in but and start in content and (match := shape.search(content)):
                self._note(where, kind, content, match.start())
        for known in (self.planted, self.lasting):
            # Other threads plant too.
            for secret, kind in tuple(known.items()):
                if kind not in but and secret in content:
                    self._note(where, kind, content, content.index(secret))

    def search_text(self, where: str, text: str, *, but: frozenset[Kind] = NOTHING) -> None:
        self.search(where, text.encode("utf-8", "surrogatepass"), but=but)

    def searched(self, where: str, pieces: Iterable[bytes], *, but: frozenset[Kind] = NOTHING) -> Iterator[bytes]:
        """The pieces as they are, each looked through as it goes by."""
        tail = b""
        for piece in pieces:
            self.search(where, tail + piece, but=but)
            tail = (tail + piece)[-OVERLAP:]
            yield piece

    def _note(self, where: str, kind: Kind, content: bytes, at: int) -> None:
        before = content[max(0, at - 60) : at].decode("utf-8", "replace")
        self.found.append(f"{kind} in {where}, after {before!r}")

    def judge(self) -> None:
        """Raises AssertionError when something was found since the last call."""
        found, self.found = self.found, []
        assert not found, "secrets appeared:\n" + "\n".join(dict.fromkeys(found))

    @contextmanager
    def expected(self) -> Iterator[list[str]]:
        """For tests of the search: what is found in the block comes into the list, and fails nothing."""
        before, self.found = self.found, []
        mine = self.found
        try:
            yield mine
        finally:
            self.found = before


canaries = Canaries()
_gateway_ports: set[int] = set()


@contextmanager
def watched_gateway(environment: Mapping[str, str]) -> Iterator[None]:
    """In the block, search what clients receive from a server with this environment; from now on for its secrets."""
    ports = {int(environment[name]) for name in ("PORT", "METRICS_PORT") if environment.get(name)}
    for name in SECRET_SETTINGS:
        canaries.plant(environment.get(name, ""), Kind.SETTING, lasting=True)
    for name in ("secret_key", "credential_keys"):
        kept = Path(environment["DATA_DIR"]) / name
        if kept.exists():
            canaries.plant(kept.read_text().strip(), Kind.SETTING, lasting=True)
    _gateway_ports.update(ports)
    try:
        yield
    finally:
        _gateway_ports.difference_update(ports)


def is_gateway(connection: socket.socket) -> bool:
    """Whether a connection of this process leads to such a server."""
    if not _gateway_ports or connection.family != socket.AF_INET:
        return False
    try:
        return connection.getpeername()[1] in _gateway_ports
    except OSError:
        return False
