"""Speaking to upstreams: one pool of kept-alive connections for each, driven by prepared requests.

`requests` is used below its `Session`, whose convenience (cookies, netrc, the environment read anew for each call)
costs more than the rest of the request path.
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, cast
from urllib.parse import urlsplit

import requests
import urllib3
from django.conf import settings
from requests import PreparedRequest, Response
from requests.adapters import HTTPAdapter
from requests.utils import select_proxy
from urllib3 import HTTPConnectionPool, HTTPResponse, Timeout
from urllib3.exceptions import NewConnectionError

from routing.proxy.quick_http import QuickHTTPConnection, QuickHTTPSConnection

USER_AGENT = "kilo-gateway/0.1"
# As many idle connections as streams may run in a process; more are opened when needed and dropped afterwards.
POOL_SIZE = 1024
# What Django can answer with; anything else is no final answer of HTTP.
_LOWEST_STATUS, _HIGHEST_STATUS = 200, 599


class UpstreamUnreachable(Exception):
    """No connection could be made: nothing was sent, so another try or another upstream does no harm."""


class UpstreamBroke(Exception):
    """The upstream was reached and then ended the connection before it answered."""


class UpstreamTimedOut(Exception):
    """The upstream was reached and did not start to answer in time."""


class _TlsConnection(QuickHTTPSConnection):
    """A connection whose handshake fails in a way of its own.

    An error of TLS can also come later, when the request is already sent; urllib3 gives both the same name, and only
    one of them may be tried again.
    """

    def connect(self) -> None:
        try:
            super().connect()
        except OSError as error:
            raise NewConnectionError(self, f"TLS handshake: {type(error).__name__}") from error


class _Adapter(HTTPAdapter):
    """The adapter of one origin. What requests works out anew for each request is the same for all of them here.

    A proxy and a certificate bundle that the environment names are taken from it once.
    """

    def __init__(self, origin: str) -> None:
        super().__init__(pool_connections=1, pool_maxsize=POOL_SIZE, pool_block=False, max_retries=0)
        with requests.Session() as session:
            environment = session.merge_environment_settings(origin, {}, True, None, None)
        self._verify, self._proxies = environment["verify"], dict(environment["proxies"])
        self._proxied = select_proxy(origin, self._proxies) is not None
        first = _prepared(origin, {}, b"")
        pool = super().get_connection_with_tls_context(first, self._verify, self._proxies)
        self._pool = cast("HTTPConnectionPool", pool)
        self._pool.ConnectionCls = _TlsConnection if pool.scheme == "https" else QuickHTTPConnection
        super().cert_verify(self._pool, origin, self._verify, None)  # type: ignore[no-untyped-call]  # untyped there

    def get_connection_with_tls_context(self, *args: Any, **kwargs: Any) -> HTTPConnectionPool:
        return self._pool

    def cert_verify(self, *args: Any) -> None:
        """Done once, when the pool was made."""

    def request_url(self, request: PreparedRequest, proxies: Any) -> str:
        return super().request_url(request, self._proxies) if self._proxied else _target(request.url or "")

    def build_response(self, req: PreparedRequest, resp: Any) -> Response:
        """The answer as urllib3 has it: nobody reads the cookies, history and encoding that requests adds."""
        return cast("Response", resp)


@lru_cache(maxsize=1024)
def _target(url: str) -> str:
    """The part of a URL that stands in the request line."""
    parts = urlsplit(url)
    return f"{parts.path or '/'}{f'?{parts.query}' if parts.query else ''}"


@lru_cache(maxsize=1024)
def _origin(url: str) -> str:
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc}"


_adapters: dict[str, _Adapter] = {}
_lock = threading.Lock()


def _adapter(url: str) -> _Adapter:
    origin = _origin(url)
    found = _adapters.get(origin)
    if found is None:
        with _lock:
            found = _adapters.get(origin) or _Adapter(origin)
            _adapters[origin] = found
    return found


def send(url: str, headers: Mapping[str, str], body: bytes) -> HTTPResponse:
    """POST a body and wait for the head of the answer; the answer's own body is left unread.

    Retries once when no connection could be made (nothing was sent), never otherwise. Does not follow redirects.

    Raises:
        UpstreamUnreachable: no connection, twice.
        UpstreamTimedOut: connected, and no answer within `UPSTREAM_FIRST_BYTE_TIMEOUT`.
        UpstreamBroke: connected, and the connection ended before an answer.
    """
    request = _prepared(url, headers, body)
    try:
        return _send(request)
    except UpstreamUnreachable:
        return _send(request)


def _prepared(url: str, headers: Mapping[str, str], body: bytes) -> PreparedRequest:
    request = PreparedRequest()
    request.method = "POST"
    request.url = url
    # A plain dict does: these headers are ours, each spelled in one way.
    request.headers = {**headers, "Content-Length": str(len(body))}  # type: ignore[assignment]
    request.body = body
    return request


def _send(request: PreparedRequest) -> HTTPResponse:
    timeout = Timeout(connect=settings.UPSTREAM_CONNECT_TIMEOUT, read=settings.UPSTREAM_FIRST_BYTE_TIMEOUT)
    try:
        answer = _adapter(request.url or "").send(
            request,
            stream=True,
            timeout=timeout,  # type: ignore[arg-type]  # it takes urllib3's own as well, and its stubs do not say so
        )
    except requests.ConnectTimeout as error:
        raise UpstreamUnreachable(_name(error)) from None
    except requests.Timeout as error:
        raise UpstreamTimedOut(_name(error)) from None
    except requests.ConnectionError as error:
        raise (UpstreamUnreachable if _before_connection(error) else UpstreamBroke)(_name(error)) from None
    except (requests.RequestException, urllib3.exceptions.HTTPError) as error:
        raise UpstreamBroke(_name(error)) from None
    return _checked(cast("HTTPResponse", answer))


def _checked(answer: HTTPResponse) -> HTTPResponse:
    """An answer that can be passed on, its connection from now on with the patience for the time between bytes.

    `http.client` takes an interim answer (103) for the last one. The connection must not be used again then: the next
    request on it would be answered with what belongs to this one.
    """
    if not _LOWEST_STATUS <= answer.status <= _HIGHEST_STATUS:
        answer.close()
        raise UpstreamBroke(f"status {answer.status}")
    if settings.UPSTREAM_IDLE_TIMEOUT != settings.UPSTREAM_FIRST_BYTE_TIMEOUT and (sock := socket_of(answer)):
        sock.settimeout(settings.UPSTREAM_IDLE_TIMEOUT)
    return answer


def socket_of(answer: HTTPResponse) -> socket.socket | None:
    """The socket under an answer, also when the connection object has let go of it (`Connection: close`)."""
    sock = getattr(answer.connection, "sock", None)
    if sock is None:
        # There is no public way to it.
        reader = getattr(answer._fp, "fp", None)  # noqa: SLF001
        sock = getattr(getattr(reader, "raw", None), "_sock", None)
    return cast("socket.socket | None", sock)


def _before_connection(error: requests.ConnectionError) -> bool:
    """Whether the connection itself failed: refused, unknown name, TLS handshake, proxy."""
    if isinstance(error, requests.exceptions.ProxyError):
        return True
    cause: Any = error.args[0] if error.args else None
    reason = getattr(cause, "reason", cause)
    # A name that does not resolve is one of these too.
    return isinstance(reason, NewConnectionError)


def _name(error: Exception) -> str:
    """The kind of the failure; its text may hold the address and what was sent, and goes nowhere."""
    return type(error).__name__
