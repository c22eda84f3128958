"""Settings that are right on a developer's machine and wrong where others can reach it."""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import ip_address
from typing import Final
from urllib.parse import urlsplit

from django.conf import settings

from kilo_gateway import embedded_postgres
from routing.doctor.findings import Finding, failed, good, warned

CHECK = "settings"
SHORTEST_KEY: Final = 50
LEAST_VARIETY: Final = 10


def check_security() -> Iterator[Finding]:
    """No query and no request."""
    findings = [finding for finding in _found() if finding is not None]
    yield from findings
    if not findings:
        yield good(CHECK, "The settings are safe.")


def _found() -> Iterator[Finding | None]:
    base = urlsplit(settings.BASE_URL)
    is_public = not _is_loopback(base.hostname or "")
    if settings.DEBUG and is_public:
        yield failed(CHECK, f"DEBUG is on at {settings.BASE_URL}: errors show code and settings.", "Set DEBUG=0.")
    if base.scheme == "http" and is_public:
        yield failed(
            CHECK,
            f"BASE_URL is {settings.BASE_URL}: keys and sessions cross the network in clear.",
            "Put a proxy with TLS in front and set BASE_URL to its https address.",
        )
    if base.scheme == "https" and not settings.TRUSTED_PROXIES:
        yield failed(
            CHECK,
            "BASE_URL is https and TRUSTED_PROXIES is not set: every page is redirected to itself.",
            "Set TRUSTED_PROXIES to the addresses of the proxy that ends TLS.",
        )
    if any(network.prefixlen == 0 for network in settings.TRUSTED_PROXIES):
        yield warned(
            CHECK,
            "TRUSTED_PROXIES believes everybody: a client can claim any address.",
            "List the proxies' own addresses, unless nothing else can reach the gateway.",
        )
    yield _secret_key()
    if not settings.DEBUG and "*" in settings.ALLOWED_HOSTS:
        yield warned(CHECK, "ALLOWED_HOSTS takes any host name.", "List the names that people use.")
    if not settings.DEBUG and _is_embedded():
        yield warned(
            CHECK,
            "The embedded PostgreSQL trusts every user of this machine.",
            "Set DATABASE_URL to a PostgreSQL of yours where others have accounts.",
        )
    if settings.ALLOW_PRIVATE_UPSTREAMS:
        yield warned(
            CHECK,
            "ALLOW_PRIVATE_UPSTREAMS lets organizations send requests into your own network.",
            "Set it to 0 unless every administrator of an organization may do that.",
        )
    if settings.HOSTED_WITHOUT_ORGANIZATION:
        yield warned(
            CHECK,
            "HOSTED_WITHOUT_ORGANIZATION lets everybody with an API key use hosted models outside of organizations: "
            "under no model policy, balance or limit, and at your cost.",
            "Set it to 0 unless everybody may do that.",
        )


def _secret_key() -> Finding | None:
    key: str = settings.SECRET_KEY
    if len(key) < SHORTEST_KEY or len(set(key)) < LEAST_VARIETY or key.startswith("django-insecure"):
        return failed(CHECK, "SECRET_KEY can be guessed: whoever does can sign in as anybody.", "Set a random one.")
    return None


def _is_embedded() -> bool:
    host = str(settings.DATABASES["default"]["HOST"])
    return host.startswith("/") and embedded_postgres.is_running(settings.DATA_DIR)


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")
