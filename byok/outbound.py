"""Asking a provider something outside of the request path: one request, bounded in time and in size."""

from __future__ import annotations

import socket
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from functools import partial
from typing import Any, Final, cast

import requests
from django.conf import settings
from django.db import connection
from requests.adapters import HTTPAdapter
from requests.utils import get_environ_proxies
from urllib3 import HTTPConnectionPool, HTTPResponse
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.exceptions import ConnectTimeoutError, HTTPError, NewConnectionError
from urllib3.exceptions import TimeoutError as SilenceError

from byok.addresses import ForbiddenAddress, connect_checked
from byok.providers import Headers, KeyStyle, Provider
from kilo_gateway.open_sockets import OpenSockets
from kilo_gateway.secret import Secret
from kilo_gateway.version import USER_AGENT

_PIECE_BYTES: Final = 64 * 1024


class Failure(StrEnum):
    """Why there is no answer."""

    TIMED_OUT = "timed_out"
    UNREACHABLE = "unreachable"
    FORBIDDEN_ADDRESS = "forbidden_address"
    TOO_LARGE = "too_large"
    BROKEN = "broken"


_WORDS: Final[Mapping[Failure, str]] = {
    Failure.TIMED_OUT: "the provider did not answer in time",
    Failure.UNREACHABLE: "the provider cannot be reached",
    Failure.FORBIDDEN_ADDRESS: "the provider is at an address that custom providers may not use",
    Failure.TOO_LARGE: "the provider's answer is too large",
    Failure.BROKEN: "the provider's answer broke off or is no HTTP",
}


class OutboundFailed(Exception):
    """There is no answer. The text is of ours, and names neither an address nor anything that was sent."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(_WORDS[failure])
        self.failure = failure


@dataclass(frozen=True, slots=True)
class Fetched:
    """An answer, whatever its status."""

    status: int
    body: bytes = field(repr=False)


def fetch(
    provider: Provider,
    method: str,
    url: str,
    secret: Secret,
    *,
    key_style: KeyStyle = KeyStyle.BEARER,
    headers: Headers = (),
    json: Any = None,
    limit_bytes: int,
    deadline_seconds: float,
) -> Fetched:
    """One request with the owner's key; redirects are not followed, and no cookies or netrc are used.

    The deadline holds for all of it together, names that do not resolve and answers that come byte by byte included.
    The thread's database connection goes back to the pool meanwhile.

    Raises:
        OutboundFailed: there is no whole answer in time.
        UnsendableSecretError: the key cannot stand in a header.
    """
    name, value = key_style.header(secret)
    sent = {
        "Accept": "application/json",
        "Accept-Encoding": "identity",
        "User-Agent": USER_AGENT,
        "Connection": "close",
    }
    request = requests.Request(method, url, headers={**sent, **dict(headers), name: value}, json=json).prepare()
    if connection.connection is not None and not connection.in_atomic_block:
        connection.close()
    call = _Call(request, limit_bytes, deadline_seconds, guarded=provider.is_custom)
    return call.result()


class _Call:
    """A request in a thread of its own, so that nothing it waits for can outlast the deadline."""

    def __init__(
        self, request: requests.PreparedRequest, limit_bytes: int, deadline_seconds: float, *, guarded: bool
    ) -> None:
        self._request, self._limit_bytes, self._seconds = request, limit_bytes, deadline_seconds
        self._guarded = guarded
        self._handles = OpenSockets()
        self._outcome: Fetched | Failure = Failure.TIMED_OUT
        self._thread = threading.Thread(target=self._run, name="outbound", daemon=True)

    def result(self) -> Fetched:
        self._thread.start()
        self._thread.join(self._seconds)
        outcome = Failure.TIMED_OUT if self._thread.is_alive() else self._outcome
        if isinstance(outcome, Failure):
            self._handles.shut_down()
            raise OutboundFailed(outcome)
        return outcome

    def _run(self) -> None:
        try:
            self._outcome = self._fetch()
        except (requests.Timeout, SilenceError):
            self._outcome = Failure.TIMED_OUT
        except requests.ConnectionError as error:
            self._outcome = _failure_of(error)
        except (requests.RequestException, HTTPError, OSError, ValueError):
            self._outcome = Failure.BROKEN

    def _fetch(self) -> Fetched | Failure:
        url = self._request.url or ""
        adapter = _Adapter(self._handles, guarded=self._guarded)
        connect = min(settings.UPSTREAM_CONNECT_TIMEOUT, self._seconds)
        try:
            response = adapter.send(
                self._request,
                stream=True,
                timeout=(connect, self._seconds),
                verify=_certificates(),
                proxies={} if self._guarded else get_environ_proxies(url),
            )
            return self._read(response.status_code, cast("HTTPResponse", response.raw))
        finally:
            adapter.close()
            self._handles.shut_down()

    def _read(self, status: int, raw: HTTPResponse) -> Fetched | Failure:
        body = bytearray()
        for piece in raw.stream(_PIECE_BYTES, decode_content=False):
            body += piece
            if len(body) > self._limit_bytes:
                raw.close()
                return Failure.TOO_LARGE
        return Failure.BROKEN if raw.length_remaining else Fetched(status, bytes(body))


class _Handled:
    """Lets its socket be ended, and if guarded connects to a checked address only; mixed into urllib3's connections."""

    def __init__(self, *args: Any, handles: OpenSockets, guarded: bool, **options: Any) -> None:
        super().__init__(*args, **options)
        self._handles, self._guarded = handles, guarded

    def _new_conn(self) -> socket.socket:
        made: socket.socket = _connected(cast("HTTPConnection", self)) if self._guarded else super()._new_conn()  # type: ignore[misc]  # of the connection
        self._handles.watch(made)
        return made


class _Plain(_Handled, HTTPConnection):
    pass


class _Tls(_Handled, HTTPSConnection):
    pass


def _connected(made_for: HTTPConnection) -> socket.socket:
    timeout = made_for.timeout if isinstance(made_for.timeout, (int, float)) else settings.UPSTREAM_CONNECT_TIMEOUT
    try:
        return connect_checked(made_for.host, made_for.port, timeout)
    except ForbiddenAddress:
        raise
    except TimeoutError:
        raise ConnectTimeoutError from None
    except OSError as error:
        # By this name urllib3 and requests know that nothing was sent.
        raise NewConnectionError(made_for, type(error).__name__) from None


class _Adapter(HTTPAdapter):
    """An adapter for one request, which remembers the sockets that it opened."""

    def __init__(self, handles: OpenSockets, *, guarded: bool) -> None:
        super().__init__(max_retries=0)
        self._handles, self._guarded = handles, guarded

    def get_connection_with_tls_context(self, *args: Any, **kwargs: Any) -> HTTPConnectionPool:
        pool = cast("HTTPConnectionPool", super().get_connection_with_tls_context(*args, **kwargs))
        kind = _Tls if pool.scheme == "https" else _Plain
        pool.ConnectionCls = cast("Any", partial(kind, handles=self._handles, guarded=self._guarded))
        return pool


def _certificates() -> bool | str:
    """The bundle that the environment names, as for every upstream."""
    with requests.Session() as session:
        verify = session.merge_environment_settings("https://localhost", {}, True, None, None)["verify"]
    return cast("bool | str", verify)


def _failure_of(error: requests.ConnectionError) -> Failure:
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, ForbiddenAddress):
            return Failure.FORBIDDEN_ADDRESS
        cause = cause.__context__
    # What urllib3 says when the connection stood and then ended.
    return Failure.BROKEN if "Connection aborted" in str(error) else Failure.UNREACHABLE
