"""Which request gets which answer from the demo upstream."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from routing.demo.answers import Answer, Api, Event, Usage, error_body, in_pieces, routing_in_words, streamed, whole
from routing.demo.behaviour import Behaviour, BehaviourError, BehaviourKind
from routing.demo.connection import BadBodyError, ClientLeftError, Connection
from routing.demo.records import RecordedRequest, credential_of, last_four, masked_headers

if TYPE_CHECKING:
    from routing.demo.upstream import UpstreamServer

_ENDPOINTS_PATH = re.compile(r"/models/([^/]+/[^/]+)/endpoints$")
_NOT_JSON = b'{"id": "demo", "choices": [{"index": 0,'


class UpstreamHandler(Connection):
    """One client's connection to the demo upstream."""

    server: UpstreamServer

    def setup(self) -> None:
        super().setup()
        self.connection_number = self.server.recorder.next_number()

    def _serve(self) -> None:
        try:
            raw = self.read_body()
            path, _, query = self.path.partition("?")
            if path.startswith("/__"):
                self._control(path, raw)
                return
            with self.server.recorder.answering():
                try:
                    self._answer(self._record(path, query, raw), raw)
                except ClientLeftError:
                    if not self.server.stopping:
                        self.server.recorder.client_left()
                    raise
        except BadBodyError as error:
            self.close_connection = True
            self.send_json(error.status, error_body(None, error.status, str(error)))
        except ClientLeftError:
            self.close_connection = True

    # The names that the base class looks for.
    do_GET = do_POST = do_PUT = do_DELETE = _serve  # noqa: N815

    # --- what was asked

    def _record(self, path: str, query: str, raw: bytes) -> RecordedRequest:
        headers: dict[str, str] = {}
        for name, value in self.headers.items():
            known = headers.get(name.lower())
            headers[name.lower()] = value if known is None else f"{known}, {value}"
        body = _parsed(raw)
        endpoints_of = _ENDPOINTS_PATH.search(path)
        model = unquote(endpoints_of[1]) if endpoints_of else body.get("model") if isinstance(body, dict) else None
        key = credential_of(headers)
        request = RecordedRequest(
            number=self.server.recorder.next_number(),
            connection=self.connection_number,
            method=self.command,
            path=path,
            query=query,
            api_kind=Api.of_path(path) if self.command == "POST" else None,
            model=model if isinstance(model, str) else None,
            key_last_four=last_four(key) if key else None,
            headers=masked_headers(headers),
            body=body,
        )
        self.server.recorder.add(request, len(raw))
        if self.server.on_request:
            self.server.on_request(request.as_json())
        return request

    # --- answers

    def _answer(self, request: RecordedRequest, raw: bytes) -> None:
        behaviour = self.server.behaviours.take(request.model)
        headers = {"x-request-id": f"demo-{request.number}", "request-id": f"demo-{request.number}"}
        headers |= behaviour.headers
        if behaviour.kind is BehaviourKind.BREAK_BEFORE_HEADERS:
            self.close_connection = True
            return
        if behaviour.kind is BehaviourKind.STALL_BEFORE_HEADERS:
            self.wait(behaviour.seconds)
        if behaviour.kind is BehaviourKind.STATUS:
            self._answer_with_status(request, behaviour, headers)
        elif request.api_kind:
            self._answer_with_text(request, raw, behaviour, headers)
        else:
            self._answer_from_listing(request, behaviour, headers)

    def _answer_with_status(self, request: RecordedRequest, behaviour: Behaviour, headers: dict[str, str]) -> None:
        api = Api(request.api_kind) if request.api_kind else None
        body = behaviour.body
        if body is None:
            body = error_body(api, behaviour.status, f"demo upstream: told to answer {behaviour.status}")
        if isinstance(body, str):
            self.send_whole(behaviour.status, "text/plain; charset=utf-8", body.encode(), headers)
        else:
            self.send_json(behaviour.status, body, headers)

    def _answer_with_text(
        self, request: RecordedRequest, raw: bytes, behaviour: Behaviour, headers: dict[str, str]
    ) -> None:
        api, body = Api(request.api_kind or ""), request.body
        if not isinstance(body, dict):
            self.send_json(400, error_body(api, 400, "the body is not a JSON object"), headers)
            return
        if request.model is None:
            self.send_json(400, error_body(api, 400, "model is missing"), headers)
            return
        answer = _compose(request, api, request.model, len(raw), behaviour)
        garbage = behaviour.kind is BehaviourKind.GARBAGE_JSON
        if body.get("stream") is True:
            events = [Event(b"data: " + _NOT_JSON + b"\n\n")] if garbage else streamed(answer)
            self.send_events(events, headers, behaviour)
        else:
            data = _NOT_JSON if garbage else json.dumps(whole(answer)).encode()
            self.send_whole(200, "application/json", data, headers, behaviour)

    def _answer_from_listing(self, request: RecordedRequest, behaviour: Behaviour, headers: dict[str, str]) -> None:
        listing = self.server.listing
        body: bytes | None = None
        if request.method == "GET" and request.path.endswith("/models"):
            body = listing.models_body(request.path)
        elif request.method == "GET" and request.path.endswith("/providers"):
            body = json.dumps(listing.providers()).encode()
        elif request.method == "GET" and _ENDPOINTS_PATH.search(request.path):
            endpoints = listing.endpoints(request.model or "")
            body = json.dumps(endpoints).encode() if endpoints else None
        if body is None:
            message = f"demo upstream: nothing at {request.method} {request.path}"
            self.send_json(404, error_body(None, 404, message), headers)
            return
        if behaviour.kind is BehaviourKind.GARBAGE_JSON:
            body = _NOT_JSON
        elif behaviour.kind is BehaviourKind.HUGE:
            body = b'{"data": [], "padding": "%b"}' % (b"x" * behaviour.bytes)
        self.send_whole(200, "application/json", body, headers, behaviour)

    # --- control, for tests

    def _control(self, path: str, raw: bytes) -> None:
        recorder, behaviours = self.server.recorder, self.server.behaviours
        match self.command, path:
            case "GET", "/__requests__":
                self.send_json(200, [request.as_json() for request in recorder.requests()])
            case "DELETE", "/__requests__":
                recorder.clear()
                self.send_json(200, [])
            case "GET", "/__stats__":
                self.send_json(200, recorder.stats())
            case "GET", "/__behaviour__":
                self.send_json(200, behaviours.as_json())
            case "PUT", "/__behaviour__":
                try:
                    behaviours.put(Behaviour.from_json(_parsed(raw)))
                except BehaviourError as error:
                    self.send_json(400, error_body(None, 400, str(error)))
                else:
                    self.send_json(200, behaviours.as_json())
            case "DELETE", "/__behaviour__":
                behaviours.reset()
                self.send_json(200, [])
            case _:
                self.send_json(404, error_body(None, 404, f"demo upstream: nothing at {self.command} {path}"))


def _parsed(raw: bytes) -> Any:
    """A body as JSON, as text where it is not JSON, or None where there is none."""
    if not raw:
        return None
    try:
        return json.loads(raw)
    except (ValueError, RecursionError):
        return raw.decode("utf-8", "replace")


def _compose(request: RecordedRequest, api: Api, model: str, input_bytes: int, behaviour: Behaviour) -> Answer:
    text = behaviour.text
    if text is None:
        text = routing_in_words(model, request.path, request.key_last_four)
    events = behaviour.events
    if behaviour.kind is BehaviourKind.HUGE:
        text, events = "x" * behaviour.bytes, events or 1
    usage = Usage.estimate(input_bytes, text, behaviour.usage)
    return Answer(
        api=api, number=request.number, model=model, pieces=in_pieces(text, events), usage=usage, request=request.body
    )
