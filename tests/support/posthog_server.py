"""A server on loopback that answers as PostHog does for feature flags, and remembers everything it was asked."""

from __future__ import annotations

import json
import threading
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

from tests.support.canaries import Kind, canaries

Json = Any
# Its own keys, which settings and tests mark as secrets.
OF_POSTHOG = frozenset({Kind.SETTING, Kind.MARKED})


@dataclass(frozen=True, slots=True)
class Recorded:
    """One request as it came in."""

    method: str
    path: str
    query: dict[str, list[str]]
    authorization: str
    body: Json


@dataclass(frozen=True, slots=True)
class Answer:
    """What the server does with a request; `pieces` are sent with `pause_seconds` before each."""

    status: int = 200
    pieces: tuple[bytes, ...] = ()
    pause_seconds: float = 0.0
    hang_up: bool = False


def as_json(content: Json, *, status: int = 200, pause_seconds: float = 0.0) -> Answer:
    return Answer(status, (json.dumps(content).encode(),), pause_seconds)


def byte_by_byte(content: Json, *, pause_seconds: float) -> Answer:
    """A whole answer, but so slowly that each byte is within any limit for a single step."""
    return Answer(pieces=tuple(bytes([byte]) for byte in json.dumps(content).encode()), pause_seconds=pause_seconds)


def flags_answer(values: dict[str, bool | str], *, typed: bool = True, errors: bool = False) -> dict[str, Json]:
    """The body of `/flags/`: with typed values as since version 4, or as older servers answer whatever is asked."""

    def record(key: str, value: bool | str) -> dict[str, Json]:
        reason = {"code": "condition_match", "condition_index": 0, "description": "Matched condition set 1"}
        common = {"key": key, "reason": reason, "metadata": {"id": 17, "version": 3, "description": "Routing"}}
        if typed:
            return {**common, "value": value, "failed": False}
        return {**common, "enabled": bool(value), "variant": value if isinstance(value, str) else None}

    return {
        "flags": {key: record(key, value) for key, value in values.items()},
        "errorsWhileComputingFlags": errors,
        "requestId": str(uuid.uuid4()),
        "evaluatedAt": 1_760_000_000_000,
    }


def definition(key: str, *conditions: dict[str, Json], **fields: Json) -> dict[str, Json]:
    """A flag as `/flags/definitions` describes it: on for whom one of the conditions holds."""
    return {
        "id": 17,
        "team_id": 1,
        "key": key,
        "name": "",
        "active": True,
        "deleted": False,
        "version": 3,
        "filters": {
            "groups": list(conditions) or [{"properties": [], "rollout_percentage": 100}],
            "payloads": {},
            "multivariate": None,
        },
        **fields,
    }


def definitions_answer(*flags: dict[str, Json]) -> dict[str, Json]:
    return {"flags": list(flags), "group_type_mapping": {"0": "organization"}, "cohorts": {}}


@dataclass
class PostHogServer:
    """The running server; `on_flags` and `on_definitions` decide its answers and may be replaced at any time."""

    base_url: str = ""
    on_flags: Callable[[Recorded], Answer] = lambda _: as_json(flags_answer({}))
    on_definitions: Callable[[Recorded], Answer] = lambda _: as_json(definitions_answer())
    requests: list[Recorded] = field(default_factory=list)
    stopping: threading.Event = field(default_factory=threading.Event)
    lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def paths(self) -> list[str]:
        with self.lock:
            return [request.path for request in self.requests]

    def answer(self, request: Recorded) -> Answer:
        with self.lock:
            self.requests.append(request)
        match request.method, request.path:
            case "POST", "/flags/":
                return self.on_flags(request)
            case "GET", "/flags/definitions":
                return self.on_definitions(request)
        return as_json({"detail": "Not found."}, status=404)


@contextmanager
def posthog_server() -> Iterator[PostHogServer]:
    """A server for the length of the block; answers that are still going out are broken off at its end."""
    state = PostHogServer()
    server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(state))
    server.daemon_threads = True
    state.base_url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield state
    finally:
        state.stopping.set()
        server.shutdown()
        thread.join()
        server.server_close()


def _handler(state: PostHogServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        # One request a connection: no connection is left over from one test to the next.
        protocol_version = "HTTP/1.0"

        def handle_request(self) -> None:
            address = urlsplit(self.path)
            raw = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            query = parse_qs(address.query, keep_blank_values=True)
            authorization = self.headers.get("Authorization", "")
            canaries.search(f"what PostHog is sent at {self.path}", raw, but=OF_POSTHOG)
            request = Recorded(self.command, address.path, query, authorization, json.loads(raw) if raw else None)
            answer = state.answer(request)
            if not answer.hang_up:
                self.send(answer)

        do_GET = do_POST = handle_request  # noqa: N815 - the names that the library calls

        def send(self, answer: Answer) -> None:
            try:
                for number, piece in enumerate(answer.pieces):
                    if answer.pause_seconds and state.stopping.wait(answer.pause_seconds):
                        return
                    if number == 0:
                        self.send_response(answer.status)
                        self.send_header("Content-Type", "application/json")
                        self.send_header("Content-Length", str(sum(map(len, answer.pieces))))
                        self.end_headers()
                    self.wfile.write(piece)
                    self.wfile.flush()
            except ConnectionError:
                self.close_connection = True  # the client had enough, which is what some tests are about

        def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the parent's name for it
            """Say nothing."""

    return Handler
