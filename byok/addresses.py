"""Where a custom provider may be: no address of the installation's own network can be reached through one.

An organization writes the base URL, so it is checked twice. When it is written, `check_base_url` says what is wrong
with it. When a connection is made, `connect_checked` resolves the name again and connects to one of the very addresses
that it has checked, so that a name cannot move into the network between the two.
"""

from __future__ import annotations

import re
import socket
import time
from enum import Enum
from functools import partial
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Final
from urllib.parse import urlsplit

import idna
from django.conf import settings

from byok.lookups import Lookups, SocketAddress

MAX_BASE_URL: Final = 500
NAT64: Final = IPv6Network("64:ff9b::/96")
GLOBAL_UNICAST: Final = IPv6Network("2000::/3")

# Opened by ALLOW_PRIVATE_UPSTREAMS: this machine, and networks of one's own.
_PRIVATE: Final = tuple(
    ip_network(network)
    for network in (
        "127.0.0.0/8",
        "10.0.0.0/8",
        "172.16.0.0/12",
        "192.168.0.0/16",
        "100.64.0.0/10",  # shared behind carriers' NAT, and used by overlay networks
        "::1/128",
        "fc00::/7",
    )
)
# Never opened. No model is served there, and the metadata services give out a machine's own credentials.
_NEVER: Final = tuple(
    ip_network(network)
    for network in (
        "0.0.0.0/8",
        "169.254.0.0/16",  # link-local, with the metadata service of most clouds
        "100.100.100.200/32",  # Alibaba's metadata service
        "168.63.129.16/32",  # Azure's service for its machines
        "192.0.0.0/24",  # protocol assignments; Oracle's metadata service was there
        "192.0.2.0/24",  # for documentation, as are two below
        "192.88.99.0/24",  # relays of 6to4
        "198.18.0.0/15",  # benchmarks
        "198.51.100.0/24",
        "203.0.113.0/24",
        "224.0.0.0/4",  # multicast
        "240.0.0.0/4",  # reserved, and the broadcast address
        "fd00:ec2::/32",  # Amazon's metadata service
        "fd20:ce::/32",  # Google's
        "2001::/23",  # protocol assignments; Teredo carries an IPv4 address of anyone's choice
        "2001:db8::/32",  # for documentation, as is 3fff::/20
        "2002::/16",  # 6to4 carries one as well
        "3fff::/20",
    )
)

_PORTS: Final = {"https": 443, "http": 80}
_LABEL: Final = re.compile(r"[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?")
_BRACKETED: Final = re.compile(r"\[([0-9A-Fa-f:.]+)\](:[0-9]+)?")
_PATH: Final = re.compile(r"(/[A-Za-z0-9._~!$&'()*+,;=:%-]+)*")
# How parsers of addresses decide that a host is meant to be an IPv4 address: its last part is a number.
_NUMBER: Final = re.compile(r"[0-9]+|0x[0-9a-f]*")

_lookups: Final = Lookups()


class ForbiddenAddress(OSError):
    """The host is, or resolves to, an address that custom providers may not be at. The text names neither."""

    def __init__(self) -> None:
        super().__init__("the host is at an address that custom providers may not use")


class BadBaseUrl(ValueError):
    """A custom provider cannot have this base URL; the text says why, as a clause that is shown."""


class Reach(Enum):
    """Who may be connected to at an address."""

    PUBLIC = "public"
    PRIVATE = "private"
    NEVER = "never"


def resolve(host: str, port: int) -> list[tuple[int, SocketAddress]]:
    """The families and socket addresses of a host, in the order to try; raises `OSError` when there are none."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except ValueError:
        # The resolver's own encoding refuses some names before it asks anyone.
        raise OSError("the host's name cannot be resolved") from None
    return [(family, address) for family, _, _, _, address in found]


def connect_checked(host: str, port: int, timeout: float) -> socket.socket:
    """A connection to a host after every one of its addresses was checked. `timeout` bounds the lookup of its name and
    all attempts together.

    Raises `ForbiddenAddress`, before anything is connected to, if any of them is forbidden: a name that has both kinds
    is trusted with neither. Raises another `OSError` when the name does not resolve or no address answers.
    """
    deadline = time.monotonic() + timeout
    found = _checked(host, port, timeout)
    problem: OSError = TimeoutError("timed out")
    for family, address in found:
        remaining = deadline - time.monotonic()
        if remaining <= 0:
            break
        try:
            return _connected(family, address, remaining)
        except OSError as error:
            problem = error
    raise problem


def origin_of(base_url: str) -> tuple[str, str]:
    """Scheme, host and port: what a secret is meant for."""
    parts = urlsplit(base_url)
    return parts.scheme, parts.netloc


def check_base_url(text: str) -> str:
    """A custom provider's base URL in its normal form, after its host was resolved and checked.

    Waits for the resolver, at most for as long as a connection may take, so it is called before a lock is taken. Raises
    `BadBaseUrl`.
    """
    url = normal_base_url(text)
    parts = urlsplit(url)
    try:
        _checked(parts.hostname or "", parts.port or _PORTS[parts.scheme], settings.UPSTREAM_CONNECT_TIMEOUT)
    except OSError:
        # Whether a name exists inside of the installation's network is not told.
        raise BadBaseUrl(
            "its host does not resolve, or is at an address that may not be used (loopback, private, link-local and "
            "reserved ones)"
        ) from None
    return url


def normal_base_url(text: str) -> str:
    """The one spelling of a base URL, without asking the resolver; raises `BadBaseUrl`.

    `http` is taken only where the installation allows private upstreams. A host is lower-cased and written in ASCII;
    an IPv4 address is taken only as four decimal numbers. The usual port and slashes at the end are dropped.
    """
    text = text.strip()
    if len(text) > MAX_BASE_URL:
        raise BadBaseUrl(f"it is longer than {MAX_BASE_URL} characters")
    if not text.isprintable() or set(text) & set(" \\"):
        raise BadBaseUrl("it has a space, a backslash or an unprintable character")
    if "?" in text or "#" in text:
        raise BadBaseUrl("it has a query or a fragment")
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError:
        raise BadBaseUrl("its host or port is malformed") from None
    if parts.scheme not in {"https", "http"}:
        raise BadBaseUrl("it does not start with https://")
    if parts.scheme == "http" and not settings.ALLOW_PRIVATE_UPSTREAMS:
        raise BadBaseUrl("it must start with https:// (plain http needs an installation that allows private upstreams)")
    if "@" in parts.netloc:
        raise BadBaseUrl("it has user info")
    if port == 0 or parts.netloc.endswith(":"):
        raise BadBaseUrl("its port is not a number from 1 to 65535")
    path = parts.path.rstrip("/")
    if not _PATH.fullmatch(path) or {".", ".."} & set(path.split("/")):
        raise BadBaseUrl("its path has a part that is empty, . or .., or an unusual character")
    suffix = "" if port in {None, _PORTS[parts.scheme]} else f":{port}"
    return f"{parts.scheme}://{_normal_host(parts.netloc)}{suffix}{path}"


def reach(address: IPv4Address | IPv6Address) -> Reach:
    """Who may be connected to there. What carries an IPv4 address is judged by that address."""
    if isinstance(address, IPv6Address):
        # An interface's name may follow the address, and no network contains such a one.
        address = IPv6Address(int(address))
        if address.ipv4_mapped is not None:
            return reach(address.ipv4_mapped)
        if address in NAT64:
            return reach(IPv4Address(int(address) & 0xFFFF_FFFF))
    if any(address in network for network in _NEVER):
        return Reach.NEVER
    if any(address in network for network in _PRIVATE):
        return Reach.PRIVATE
    if isinstance(address, IPv6Address) and address not in GLOBAL_UNICAST:
        return Reach.NEVER
    return Reach.PUBLIC


def _checked(host: str, port: int, timeout: float) -> list[tuple[int, SocketAddress]]:
    found = _found(host, port, timeout)
    allowed = {Reach.PUBLIC, Reach.PRIVATE} if settings.ALLOW_PRIVATE_UPSTREAMS else {Reach.PUBLIC}
    if any(reach(ip_address(address[0])) not in allowed for _, address in found):
        raise ForbiddenAddress
    if not found:
        raise OSError("the host has no address")
    return found


def _found(host: str, port: int, timeout: float) -> list[tuple[int, SocketAddress]]:
    """As `resolve`, within this time. A lookup under way may have been asked for with another port."""
    try:
        ip_address(host)
    except ValueError:
        found = _lookups.ask(host, partial(resolve, host, port), timeout)
        return [(family, (address[0], port, *address[2:])) for family, address in found]
    return resolve(host, port)


def _connected(family: int, address: SocketAddress, timeout: float) -> socket.socket:
    connection = socket.socket(family, socket.SOCK_STREAM)
    try:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection.settimeout(timeout)
        connection.connect(address)
    except BaseException:
        connection.close()
        raise
    return connection


def _normal_host(netloc: str) -> str:
    if netloc.startswith("["):
        bracketed = _BRACKETED.fullmatch(netloc)
        try:
            return f"[{IPv6Address(bracketed[1] if bracketed else '').compressed}]"
        except ValueError:
            raise BadBaseUrl("its host is a malformed IPv6 address") from None
    host = netloc.partition(":")[0]
    try:
        host = host.lower() if host.isascii() else idna.encode(host, uts46=True).decode("ascii")
    except idna.IDNAError:
        raise BadBaseUrl("its host is not a valid name") from None
    host = host.removesuffix(".")
    labels = host.split(".")
    if _NUMBER.fullmatch(labels[-1]):
        try:
            return str(IPv4Address(host))
        except ValueError:
            raise BadBaseUrl("its host must be a name, or an IPv4 address as four decimal numbers") from None
    if len(host) > 253 or not all(_LABEL.fullmatch(label) for label in labels):
        raise BadBaseUrl("its host is not a valid name")
    return host
