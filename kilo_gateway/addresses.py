"""From which network address a request came."""

from __future__ import annotations

from collections.abc import Mapping
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Any

from django.conf import settings

_Address = IPv4Address | IPv6Address


def client_address(environ: Mapping[str, Any]) -> str | None:
    """The address of the client, in its normal form; None when there is none, as behind a Unix socket.

    `X-Forwarded-For` counts only as far as proxies of `TRUSTED_PROXIES` wrote it: it is read from the right, and the
    first entry that is none of them is the client. Whatever stands left of it is a claim.
    """
    nearest = _parsed(str(environ.get("REMOTE_ADDR", "")))
    if nearest is None or not _is_trusted(nearest):
        return str(nearest) if nearest else None
    for entry in reversed(str(environ.get("HTTP_X_FORWARDED_FOR", "")).split(",")):
        address = _parsed(entry)
        if address is None:
            break
        nearest = address
        if not _is_trusted(address):
            break
    return str(nearest)


def _parsed(text: str) -> _Address | None:
    try:
        address = ip_address(text.strip().partition("%")[0])
    except ValueError:
        return None
    return getattr(address, "ipv4_mapped", None) or address


def _is_trusted(address: _Address) -> bool:
    return any(address in network for network in settings.TRUSTED_PROXIES)
