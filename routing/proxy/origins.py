"""The origins that requests go to: for each the connections that are kept, and how another one is made.

`requests` knows what the environment says about proxies and certificates, and urllib3 makes connections of it: through
a proxy, with TLS, within a time. What is sent and read on a connection is neither's business; see `upstream`.
"""

from __future__ import annotations

import select
import socket
import ssl
import struct
import threading
import time
import weakref
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from http.client import HTTPException
from typing import Any, Final, cast
from urllib.parse import SplitResult, urlsplit

import requests
from django.conf import settings
from requests import PreparedRequest
from requests.adapters import HTTPAdapter
from requests.utils import select_proxy
from urllib3 import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.exceptions import HTTPError
from urllib3.util.ssl_ import create_urllib3_context

from byok.addresses import ForbiddenAddress, connect_checked
from routing.proxy.lookout import wait_awake

# As many idle connections as streams may run in a process; more are opened when needed and dropped afterwards.
POOL_SIZE: Final = 1024
# An idle connection that is older is not used again: what stands between may have forgotten it, and would not say so.
MAX_IDLE_SECONDS: Final = 60.0
# So often, at most, all origins are looked through for such ones.
SWEEP_SECONDS: Final = 10.0
# So many upstreams, and so many addresses at them, are remembered.
KEPT_ORIGINS: Final = 1024
# What waits holds a buffer of this size: small, because a thousand streams wait at once, until much comes at a time.
READ_BYTES: Final = 4096
LARGE_READ_BYTES: Final = 65_536
_USUAL_PORTS: Final = {"http": 80, "https": 443}


class UpstreamUnreachable(Exception):
    """No connection could be made: nothing was sent, so another try or another upstream does no harm."""


class UpstreamForbidden(UpstreamUnreachable):
    """The origin is at an address that must not be connected to, and will be at the next try as well."""


class Connection:
    """An open connection; what waits on it waits at most so long.

    A plain socket leaves the waiting to the kernel. Python's own time-outs would ask it with a call more before each
    read and write, and let another thread run each time.
    """

    __slots__ = ("_patience", "_read_bytes", "_socket", "idle_since")

    def __init__(self, connected: socket.socket) -> None:
        self._socket = connected
        self._read_bytes = READ_BYTES
        self._patience = -1.0
        self.idle_since = 0.0
        """When it was last given back, by the monotonic clock."""

    def wait_at_most(self, seconds: float) -> None:
        """From now on."""
        if seconds == self._patience:
            return
        self._patience = seconds
        if type(self._socket) is not socket.socket:
            # TLS reads and writes in several steps.
            self._socket.settimeout(seconds)
            return
        whole, part = divmod(max(1, round(seconds * 1_000_000)), 1_000_000)
        self._socket.settimeout(None)
        for side in (socket.SO_RCVTIMEO, socket.SO_SNDTIMEO):
            self._socket.setsockopt(socket.SOL_SOCKET, side, struct.pack("ll", whole, part))

    def send(self, data: bytes) -> None:
        """Send all of it; raises `TimeoutError`, or another `OSError` when the connection has ended."""
        try:
            self._socket.sendall(data)
        except BlockingIOError:
            raise TimeoutError from None

    def receive(self) -> bytes:
        """What comes next, empty at the end; raises `TimeoutError`, after which it may be tried again, or `OSError`."""
        try:
            data = self._socket.recv(self._read_bytes)
        except BlockingIOError:
            raise TimeoutError from None
        self._read_bytes = READ_BYTES if len(data) < self._read_bytes else LARGE_READ_BYTES
        return data

    def wait_awake(self) -> None:
        """Wait a moment without going to sleep, so that what comes soon is met when it comes."""
        wait_awake(self._socket.fileno())

    def is_quiet(self) -> bool:
        """Whether nothing has come that nobody has read; the connection's end is something, too."""
        if isinstance(self._socket, ssl.SSLSocket) and self._socket.pending():
            # Decrypted with what was read, and so no longer where the kernel sees it.
            return False
        poller = select.poll()
        poller.register(self._socket, select.POLLIN)
        return not poller.poll(0)

    def close(self) -> None:
        self._socket.close()


class _Guarded:
    """Connects only to addresses that were checked; mixed into a connection of urllib3."""

    host: str
    port: int
    timeout: float

    def _new_conn(self) -> socket.socket:
        return connect_checked(self.host, self.port, self.timeout)


class _GuardedHTTPConnection(_Guarded, HTTPConnection):  # type: ignore[misc]  # its attributes are as said above
    pass


class _GuardedHTTPSConnection(_Guarded, HTTPSConnection):  # type: ignore[misc]
    pass


class Origin:
    """One scheme, host and port. Kept connections are used last in, first out, so that few stay in use.

    A guarded origin is connected to through `connect_checked`, and never through a proxy: that one would resolve the
    name by itself, to an address that nobody has checked.
    """

    def __init__(self, url: str, *, guarded: bool) -> None:
        self._idle: list[Connection] = []
        weakref.finalize(self, _close_all, self._idle)
        _sweeper.add(self)
        proxies: dict[str, str] = {}
        with requests.Session() as session:
            environment = session.merge_environment_settings(url, {}, True, None, None)
        if not guarded:
            proxies = dict(environment["proxies"])
        self._pool = _urllib3_pool(url, environment["verify"] or True, proxies)
        if guarded:
            guarded_class = _GuardedHTTPSConnection if self._pool.scheme == "https" else _GuardedHTTPConnection
            self._pool.ConnectionCls = cast("Any", guarded_class)
        is_proxied = select_proxy(url, proxies) is not None
        self._is_tunnelled = is_proxied and self._pool.scheme == "https"
        self.takes_whole_urls = is_proxied and not self._is_tunnelled
        """Whether it is a proxy that reads the request line, and wants all of the URL there."""

    @property
    def proxy_headers(self) -> Mapping[str, str]:
        """What such a proxy wants to be told, for example who asks it."""
        return self._pool.proxy_headers if self.takes_whole_urls else {}

    def take(self) -> Connection | None:
        """A kept connection that is not too old, and on which nothing has happened since, if there is one."""
        oldest = time.monotonic() - MAX_IDLE_SECONDS
        while True:
            try:
                connection = self._idle.pop()
            except IndexError:
                return None
            if connection.idle_since > oldest and connection.is_quiet():
                return connection
            connection.close()

    def give_back(self, connection: Connection) -> None:
        """Keep a connection whose last answer was read to its end; at times, close what any of them keeps too long."""
        now = connection.idle_since = time.monotonic()
        if len(self._idle) < POOL_SIZE:
            self._idle.append(connection)
        else:
            connection.close()
        _sweeper.sweep(now)

    def close_idle_since(self, moment: float) -> None:
        """Close the kept connections that have been idle since then, or for longer; they are the first ones."""
        # Others may take and give back meanwhile. What they leave here is idle, and so may be closed in any case.
        with suppress(IndexError):
            while self._idle[0].idle_since <= moment:
                self._idle.pop(0).close()

    def connect(self) -> Connection:
        """Another connection, with TLS where the URL says so.

        Raises:
            UpstreamUnreachable: refused, unknown name, too slow, TLS handshake, proxy.
            UpstreamForbidden: a guarded origin at a forbidden address.
        """
        connection = cast("HTTPConnection", self._pool._new_conn())  # noqa: SLF001 - there is no public way to it
        connection.timeout = settings.UPSTREAM_CONNECT_TIMEOUT
        try:
            if self._is_tunnelled:
                self._pool._prepare_proxy(cast("Any", connection))  # noqa: SLF001
            else:
                connection.connect()
        except ForbiddenAddress as error:
            raise UpstreamForbidden(type(error).__name__) from None
        except (OSError, HTTPError, HTTPException) as error:
            connection.close()
            # Its text may hold the address.
            raise UpstreamUnreachable(type(error).__name__) from None
        connected, connection.sock = connection.sock, None
        return Connection(cast("socket.socket", connected))


class _Sweeper:
    """Looks through all origins at times, so that one which nobody asks any more keeps no connection for ever."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._origins: weakref.WeakSet[Origin] = weakref.WeakSet()
        self._due = 0.0

    def add(self, origin: Origin) -> None:
        with self._lock:
            self._origins.add(origin)

    def sweep(self, now: float) -> None:
        """Close what is idle for too long, if it is time to look; else this costs nothing."""
        if now < self._due:
            return
        self._due = now + SWEEP_SECONDS
        with self._lock:
            origins = list(self._origins)
        for origin in origins:
            origin.close_idle_since(now - MAX_IDLE_SECONDS)


_sweeper: Final = _Sweeper()


def _close_all(connections: list[Connection]) -> None:
    while connections:
        connections.pop().close()


def _urllib3_pool(url: str, verify: bool | str, proxies: dict[str, str]) -> HTTPConnectionPool:  # noqa: FBT001 - requests' own
    """What makes the connections; none of them is kept in it."""
    adapter = HTTPAdapter()
    prepared = PreparedRequest()
    prepared.prepare(method="POST", url=url)
    pool = adapter.get_connection_with_tls_context(prepared, verify, proxies)
    adapter.cert_verify(pool, url, verify, None)  # type: ignore[no-untyped-call]  # untyped there
    if isinstance(pool, HTTPSConnectionPool) and pool.proxy is None:
        # Else each connection reads and keeps the list of all authorities, nearly a megabyte, for itself.
        pool.conn_kw["ssl_context"] = _tls_context(pool.ca_certs, pool.ca_cert_dir)
        pool.ca_certs = pool.ca_cert_dir = None
    return cast("HTTPConnectionPool", pool)


@lru_cache(maxsize=8)
def _tls_context(ca_certs: str | None, ca_cert_dir: str | None) -> ssl.SSLContext:
    """One for all origins whose certificates are checked against the same authorities."""
    context = create_urllib3_context(cert_reqs=ssl.CERT_REQUIRED)
    context.load_verify_locations(ca_certs, ca_cert_dir)
    return context


@dataclass(frozen=True, slots=True)
class Address:
    """Where a request goes: the origin, and how its head begins."""

    origin: Origin
    head: str


_lock = threading.Lock()


@lru_cache(maxsize=KEPT_ORIGINS)
def address_of(url: str, *, guarded: bool) -> Address:
    """The address that a URL stands for.

    Raises:
        UpstreamUnreachable: the URL, or what the environment says of proxies and certificates, is not usable.
    """
    parts = urlsplit(url)
    try:
        origin = _origin(f"{parts.scheme}://{parts.netloc}", guarded=guarded)
    except (OSError, ValueError, HTTPError) as error:
        raise UpstreamUnreachable(type(error).__name__) from None
    target = f"{parts.path or '/'}{f'?{parts.query}' if parts.query else ''}"
    if origin.takes_whole_urls:
        target = f"{parts.scheme}://{parts.netloc}{target}"
    headers = {"Host": _host(parts), **origin.proxy_headers}
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    return Address(origin, f"POST {target} HTTP/1.1\r\n{lines}")


def _origin(url: str, *, guarded: bool) -> Origin:
    with _lock:
        return _kept_origin(url, guarded=guarded)


@lru_cache(maxsize=KEPT_ORIGINS)
def _kept_origin(url: str, *, guarded: bool) -> Origin:
    """The one that was asked for longest ago is forgotten, and its kept connections are closed: an organization may
    change the address of its upstream as often as it likes.
    """
    return Origin(url, guarded=guarded)


def _host(parts: SplitResult) -> str:
    host = parts.hostname or ""
    name = f"[{host}]" if ":" in host else host
    return name if parts.port in {None, _USUAL_PORTS.get(parts.scheme)} else f"{name}:{parts.port}"
