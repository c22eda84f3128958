"""The demo upstream as a server: in the process of a test, or in the foreground of a command."""

from __future__ import annotations

import signal
import socket
import socketserver
import sys
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from http.server import ThreadingHTTPServer
from types import FrameType
from typing import Any, Self

from routing.demo.behaviour import Behaviour, BehaviourBook
from routing.demo.connection import ClientLeftError
from routing.demo.handler import UpstreamHandler
from routing.demo.listing import Listing
from routing.demo.records import Recorder

OnRequest = Callable[[dict[str, Any]], None]

_STOP_SECONDS = 5.0


class UpstreamServer(ThreadingHTTPServer):
    """A thread for each connection, and a list of the connections so that stopping ends them all."""

    daemon_threads = True
    request_queue_size = 4096

    def __init__(
        self,
        address: tuple[str, int],
        *,
        listing: Listing,
        recorder: Recorder,
        behaviours: BehaviourBook,
        on_request: OnRequest | None,
    ) -> None:
        self.listing = listing
        self.recorder = recorder
        self.behaviours = behaviours
        self.on_request = on_request
        self.stopping = False
        self._connections: set[socket.socket] = set()
        self._changed = threading.Condition()
        super().__init__(address, UpstreamHandler)

    def server_bind(self) -> None:
        # Past the parent, which asks the resolver for the host's full name; that can take seconds.
        socketserver.TCPServer.server_bind(self)
        host, port = self.server_address[:2]
        self.server_name, self.server_port = str(host), int(port)

    def process_request(self, request: Any, client_address: Any) -> None:
        """Remember a new connection and serve it in a thread."""
        with self._changed:
            self._connections.add(request)
        self.recorder.connection_opened()
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        """Close a connection and forget it."""
        super().shutdown_request(request)
        self.recorder.connection_closed()
        with self._changed:
            self._connections.discard(request)
            self._changed.notify_all()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that goes away between two requests is nobody's error; all else is printed."""
        if not isinstance(sys.exception(), (ConnectionError, ClientLeftError)):
            super().handle_error(request, client_address)

    def end_connections(self) -> None:
        """Wake every thread that waits for its client, and wait until they have closed their sockets."""
        with self._changed:
            for connection in self._connections:
                try:
                    connection.shutdown(socket.SHUT_RDWR)
                except OSError:
                    continue
            self._changed.wait_for(lambda: not self._connections, timeout=_STOP_SECONDS)


class DemoUpstream:
    """A real HTTP server that speaks the upstream side of the three APIs and remembers what it was asked.

    With port 0 the system chooses one; it is kept, so that a stopped upstream comes back at the same address.
    `own_models` are the ids that it lists below `/v1` instead of `models`, as a provider lists its own.
    """

    def __init__(
        self,
        models: Iterable[Mapping[str, Any]] = (),
        *,
        own_models: Iterable[str] = (),
        host: str = "127.0.0.1",
        port: int = 0,
        on_request: OnRequest | None = None,
    ) -> None:
        self.host = host
        self.port = port
        self._listing = Listing(models, own_models)
        self._recorder = Recorder()
        self._behaviours = BehaviourBook()
        self._on_request = on_request
        self._server: UpstreamServer | None = None
        self._thread: threading.Thread | None = None

    # --- life

    def start(self) -> Self:
        """Listen; an OSError says that the address is taken."""
        if self._server is not None:
            raise RuntimeError("the demo upstream is already running")
        self._server = UpstreamServer(
            (self.host, self.port),
            listing=self._listing,
            recorder=self._recorder,
            behaviours=self._behaviours,
            on_request=self._on_request,
        )
        self.port = self._server.server_port
        self._thread = threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, name="demo-upstream", daemon=True
        )
        self._thread.start()
        return self

    def stop(self) -> None:
        """Stop listening and end every open connection, streams included; nothing happens when not running."""
        server, thread = self._server, self._thread
        if server is None or thread is None:
            return
        self._server = self._thread = None
        server.stopping = True
        server.shutdown()
        thread.join()
        server.server_close()
        server.end_connections()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *exception: object) -> None:
        self.stop()

    @property
    def base_url(self) -> str:
        """Scheme, host and port; every API is served below it, below /v1 and below /api/v1."""
        return f"http://{self.host}:{self.port}"

    # --- what it saw

    def requests(self) -> list[dict[str, Any]]:
        """The last thousand requests of every kind, oldest first."""
        return [request.as_json() for request in self._recorder.requests()]

    def completions(self) -> list[dict[str, Any]]:
        """Those of the requests that asked a model for an answer: no catalog reads, no unknown paths."""
        return [request for request in self.requests() if request["api_kind"]]

    def stats(self) -> dict[str, int]:
        """The counters that /__stats__ shows."""
        return self._recorder.stats()

    def clear(self) -> None:
        """Forget the requests and start the counters again; behaviours stay."""
        self._recorder.clear()

    # --- what it does

    @property
    def behaviour(self) -> Behaviour:
        """What happens to requests for which nothing else was said; assign another to change it."""
        return self._behaviours.get(None)

    @behaviour.setter
    def behaviour(self, behaviour: Behaviour) -> None:
        self._behaviours.put(behaviour)

    def behave(self, kind: str = "ok", **options: Any) -> None:
        """The same as a PUT to /__behaviour__: `behave("status", status=429, model="openai/gpt-5-mini")`."""
        self._behaviours.put(Behaviour.from_json({"kind": kind, **options}))

    def reset_behaviour(self) -> None:
        """Answer everything plainly again."""
        self._behaviours.reset()


def run_upstream(
    host: str = "127.0.0.1",
    port: int = 8001,
    *,
    models: Iterable[Mapping[str, Any]] = (),
    own_models: Iterable[str] = (),
    on_ready: Callable[[DemoUpstream], None] | None = None,
    on_request: OnRequest | None = None,
) -> None:
    """Run a demo upstream in the foreground of the main thread until SIGINT or SIGTERM."""

    def interrupt(_number: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    signals = (signal.SIGINT, signal.SIGTERM)
    previous = {number: signal.signal(number, interrupt) for number in signals}
    try:
        with DemoUpstream(models, own_models=own_models, host=host, port=port, on_request=on_request) as upstream:
            if on_ready:
                on_ready(upstream)
            while True:
                time.sleep(3600)
    except KeyboardInterrupt:
        return
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)
