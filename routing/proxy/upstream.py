"""Speaking to upstreams: one pool of kept-alive connections for each, driven by prepared requests.

`requests` is used below its `Session`, whose convenience (cookies, netrc, the environment read anew for each call)
costs more than the rest of the request path.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import requests
import urllib3
from django.conf import settings
from requests import PreparedRequest, Response
from requests.adapters import HTTPAdapter
from requests.cookies import RequestsCookieJar
from requests.structures import CaseInsensitiveDict

USER_AGENT = "kilo-gateway/0.1"
# As many idle connections as streams may run in a process; more are opened when needed and dropped afterwards.
POOL_SIZE = 1024


class UpstreamUnreachable(Exception):
    """No connection could be made: nothing was sent, so another try or another upstream does no harm."""


class UpstreamBroke(Exception):
    """The upstream was reached and then ended the connection before it answered."""


class UpstreamTimedOut(Exception):
    """The upstream was reached and did not start to answer in time."""


@dataclass(frozen=True, slots=True)
class _Origin:
    """The way to one upstream: its pool, and what the environment says about proxies and certificates."""

    adapter: HTTPAdapter
    proxies: Mapping[str, str]
    verify: bool | str


_origins: dict[str, _Origin] = {}
_lock = threading.Lock()


def _origin(url: str) -> _Origin:
    parts = urlsplit(url)
    key = f"{parts.scheme}://{parts.netloc}"
    found = _origins.get(key)
    if found is None:
        with _lock:
            found = _origins.get(key) or _open(key)
            _origins[key] = found
    return found


def _open(key: str) -> _Origin:
    adapter = HTTPAdapter(pool_connections=1, pool_maxsize=POOL_SIZE, pool_block=False, max_retries=0)
    with requests.Session() as session:
        merged = session.merge_environment_settings(key, {}, True, None, None)
    return _Origin(adapter, merged["proxies"], merged["verify"])


def send(url: str, headers: Mapping[str, str], body: bytes) -> Response:
    """POST a body and wait for the head of the answer; the answer's own body is left unread in `raw`.

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
    request.headers = CaseInsensitiveDict(headers)
    request.headers["Content-Length"] = str(len(body))
    request.body = body
    request.hooks = {"response": []}
    request._cookies = RequestsCookieJar()  # type: ignore[attr-defined]  # noqa: SLF001 - read by `build_response`
    return request


def _send(request: PreparedRequest) -> Response:
    origin = _origin(request.url or "")
    timeout = (settings.UPSTREAM_CONNECT_TIMEOUT, settings.UPSTREAM_FIRST_BYTE_TIMEOUT)
    try:
        return origin.adapter.send(
            request, stream=True, timeout=timeout, verify=origin.verify, proxies=dict(origin.proxies)
        )
    except requests.ConnectTimeout as error:
        raise UpstreamUnreachable(_name(error)) from None
    except requests.Timeout as error:
        raise UpstreamTimedOut(_name(error)) from None
    except requests.ConnectionError as error:
        raise (UpstreamUnreachable if _before_connection(error) else UpstreamBroke)(_name(error)) from None
    except (requests.RequestException, urllib3.exceptions.HTTPError) as error:
        raise UpstreamBroke(_name(error)) from None


def _before_connection(error: requests.ConnectionError) -> bool:
    """Whether the connection itself failed: refused, unknown name, TLS handshake, proxy."""
    if isinstance(error, (requests.exceptions.SSLError, requests.exceptions.ProxyError)):
        return True
    cause: Any = error.args[0] if error.args else None
    reason = getattr(cause, "reason", cause)
    return isinstance(reason, (urllib3.exceptions.NewConnectionError, urllib3.exceptions.NameResolutionError))


def _name(error: Exception) -> str:
    """The kind of the failure; its text may hold the address and what was sent, and goes nowhere."""
    return type(error).__name__
