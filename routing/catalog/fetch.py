"""Reading JSON documents of the hosted upstream: bounded in size and in time, whatever the server does."""

from __future__ import annotations

import json
import socket
import threading
import time
from decimal import Decimal
from types import TracebackType
from typing import Any, Final, Self

import requests
from requests.adapters import HTTPAdapter
from requests.auth import AuthBase
from requests.structures import CaseInsensitiveDict
from urllib3 import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.exceptions import HTTPError, MaxRetryError
from urllib3.exceptions import TimeoutError as SilenceError

from kilo_gateway.open_sockets import OpenSockets
from kilo_gateway.secret import Secret

MIB: Final = 1024 * 1024
CHUNK_BYTES: Final = 64 * 1024
MOST_BYTES_IN_ALL: Final = 128 * MIB
# Between two bytes of an answer. The deadline bounds the whole; this one gives up on a dead connection sooner.
SILENCE_SECONDS: Final = 30.0
USER_AGENT: Final = "kilo-gateway-catalog/1"


class CatalogFault(Exception):
    """The upstream's catalog cannot be used; the message says why, for a person, without its address or our key."""


class NotFoundFault(CatalogFault):
    """The upstream answers 404: it has no such document."""


class Deadline:
    """A point in time by which reading ends, enforced from outside: its sockets are shut down when it comes.

    A timeout for each read would not do: a server that sends a byte now and then resets it forever.
    """

    def __init__(self, seconds: float) -> None:
        self._ends_at = time.monotonic() + seconds
        self._interrupted = False
        self._sockets = OpenSockets()
        self._timer = threading.Timer(seconds, self.expire)
        self._timer.daemon = True
        self._timer.name = "catalog-deadline"

    def __enter__(self) -> Self:
        self._timer.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._timer.cancel()
        self.expire()

    @property
    def remaining_seconds(self) -> float:
        """How long there is still; 0 when it is over."""
        return 0.0 if self._sockets.is_over else max(self._ends_at - time.monotonic(), 0.0)

    @property
    def was_interrupted(self) -> bool:
        """Whether we ended the reading ourselves before its time."""
        return self._interrupted

    def interrupt(self) -> None:
        """End all reading before its time, because the process stops."""
        self._interrupted = True
        self.expire()

    def expire(self) -> None:
        """End all reading now, in whichever thread it happens."""
        self._sockets.shut_down()

    def watch(self, new_socket: socket.socket) -> None:
        """Have a connection shut down at the deadline. Raises TimeoutError when that has passed."""
        self._sockets.watch(new_socket)


class _Adapter(HTTPAdapter):
    """Connections that the deadline knows, through a proxy or not."""

    def __init__(self, deadline: Deadline, connections: int) -> None:
        class Plain(HTTPConnection):
            def _new_conn(self) -> socket.socket:
                new_socket = super()._new_conn()
                deadline.watch(new_socket)
                return new_socket

        class Encrypted(HTTPSConnection):
            def _new_conn(self) -> socket.socket:
                new_socket = super()._new_conn()
                deadline.watch(new_socket)
                return new_socket

        class PlainPool(HTTPConnectionPool):
            ConnectionCls = Plain

        class EncryptedPool(HTTPSConnectionPool):
            ConnectionCls = Encrypted

        self._pool_classes = {"http": PlainPool, "https": EncryptedPool}
        super().__init__(pool_connections=1, pool_maxsize=connections, max_retries=0)

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        super().init_poolmanager(*args, **kwargs)
        self.poolmanager.pool_classes_by_scheme = self._pool_classes

    def proxy_manager_for(self, proxy: str, **kwargs: Any) -> Any:
        manager = super().proxy_manager_for(proxy, **kwargs)
        manager.pool_classes_by_scheme = self._pool_classes
        return manager


class _Key(AuthBase):
    """Our key if there is one, and nothing else: without this, requests would look for one in a .netrc file."""

    def __init__(self, key: Secret) -> None:
        self._key = key

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        if self._key:
            request.headers["Authorization"] = f"Bearer {self._key.reveal()}"
        return request


class UpstreamReader:
    """Reads documents below one address, from several threads. Follows no redirect: the key stays with its host."""

    def __init__(
        self, base_url: str, key: Secret, deadline: Deadline, *, connect_seconds: float, connections: int
    ) -> None:
        self._base_url = base_url.rstrip("/")
        self._bytes_read = 0
        self._deadline = deadline
        self._connect_seconds = connect_seconds
        self._session = requests.Session()
        self._session.headers = CaseInsensitiveDict(
            {"Accept": "application/json", "Accept-Encoding": "gzip", "User-Agent": USER_AGENT}
        )
        self._session.auth = _Key(key)
        for scheme in ("http://", "https://"):
            self._session.mount(scheme, _Adapter(deadline, connections))

    def close(self) -> None:
        self._session.close()

    def get(self, path: str, *, most_bytes: int) -> Any:
        """The JSON document at a path; its numbers with a fraction are `Decimal`.

        Raises:
            NotFoundFault: there is none.
            CatalogFault: it cannot be had, or is no JSON, or too large.
        """
        try:
            with self._open(path) as response:
                _check_status(response)
                body = self._read(response, most_bytes)
        except (requests.RequestException, HTTPError, OSError, ValueError) as error:
            # ValueError: urllib3 and http.client raise it for some malformed headers and addresses.
            # Without its cause: http.client quotes a header that it cannot send, and that may be our key.
            raise CatalogFault(self._reason(error)) from None
        return _parse(body)

    def _open(self, path: str) -> requests.Response:
        remaining = self._deadline.remaining_seconds
        if not remaining:
            raise TimeoutError
        return self._session.get(
            self._base_url + path,
            stream=True,
            allow_redirects=False,
            timeout=(min(self._connect_seconds, remaining), min(SILENCE_SECONDS, remaining)),
        )

    def _read(self, response: requests.Response, most_bytes: int) -> bytes:
        body = bytearray()
        # `read1` gives what has arrived; it also unpacks no more than asked for of a small answer that swells.
        while chunk := response.raw.read1(CHUNK_BYTES, decode_content=True):
            body += chunk
            if len(body) > most_bytes:
                raise CatalogFault(f"The upstream's answer is larger than {most_bytes // MIB} MiB.")
        self._bytes_read += len(body)
        if self._bytes_read > MOST_BYTES_IN_ALL:
            raise CatalogFault(f"The upstream's answers are larger than {MOST_BYTES_IN_ALL // MIB} MiB together.")
        if not self._deadline.remaining_seconds:
            raise TimeoutError
        return bytes(body)

    def _reason(self, error: Exception) -> str:
        if not self._deadline.remaining_seconds:
            return "The upstream did not answer in full within the time for a sync."
        if isinstance(error, requests.Timeout | SilenceError | TimeoutError):
            return "The upstream did not answer in time."
        if isinstance(error, requests.exceptions.SSLError):
            return "The upstream's TLS certificate or handshake was refused."
        if isinstance(error, requests.exceptions.ProxyError):
            return "The proxy to the upstream refused or did not answer."
        if isinstance(error, requests.ConnectionError) and isinstance(error.args[0], MaxRetryError):
            return "The upstream could not be reached."
        return f"The upstream's answer broke off or was malformed ({type(error).__name__})."


def _check_status(response: requests.Response) -> None:
    status = response.status_code
    if status == requests.codes.not_found:
        raise NotFoundFault("The upstream answered 404: it has no such document.")
    if status in {401, 403}:
        raise CatalogFault(f"The upstream answered {status}: it refused the key.")
    if response.is_redirect or response.is_permanent_redirect:
        raise CatalogFault(f"The upstream answered {status}: it redirects elsewhere, which is not followed.")
    if status != requests.codes.ok:
        raise CatalogFault(f"The upstream answered {status}.")


def _parse(body: bytes) -> Any:
    try:
        return json.loads(body, parse_float=Decimal, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise CatalogFault("The upstream's answer is not JSON.") from error


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")
