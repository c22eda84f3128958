"""A real HTTP server on loopback that says what a test wants it to say, to the byte if need be."""

from __future__ import annotations

import gzip
import json
import threading
from collections.abc import Callable, Iterable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self

Answer = Callable[[BaseHTTPRequestHandler], None]


def model(model_id: str, **fields: Any) -> dict[str, Any]:
    """A model as OpenRouter lists it, with fields that nobody here knows."""
    return {
        "id": model_id,
        "name": f"Name of {model_id}",
        "created": 1_700_000_000,
        "description": "A model.",
        "context_length": 200_000,
        "architecture": {
            "modality": "text+image->text",
            "input_modalities": ["text", "image"],
            "output_modalities": ["text"],
            "tokenizer": "Claude",
            "instruct_type": None,
        },
        "pricing": {"prompt": "0.000003", "completion": "0.000015", "input_cache_read": "0.0000003"},
        "top_provider": {"context_length": 200_000, "max_completion_tokens": 64_000, "is_moderated": True},
        "supported_parameters": ["tools", "max_tokens"],
        "expiration_date": None,
        "a_field_of_the_future": {"deeply": ["nested"]},
        **fields,
    }


def models(count: int) -> list[dict[str, Any]]:
    return [model(f"author-{number}/model-{number}") for number in range(count)]


def endpoint(tag: str, **fields: Any) -> dict[str, Any]:
    return {
        "name": f"{tag} | model",
        "provider_name": tag.partition("/")[0].title(),
        "tag": tag,
        "pricing": {"prompt": "0.000003", "completion": "0.000015", "discount": 0},
        "context_length": 200_000,
        "max_completion_tokens": None,
        "max_prompt_tokens": None,
        "quantization": "fp8",
        "supported_parameters": ["tools"],
        "status": 0,
        "uptime_last_30m": 99.5,
        **fields,
    }


class FakeUpstream:
    """Answers 404 but for the paths it was given an answer for; counts what it was asked."""

    def __init__(self) -> None:
        self.answers: dict[str, Answer] = {}
        self.requests: list[tuple[str, dict[str, str]]] = []
        fake = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def do_GET(self) -> None:
                fake.requests.append((self.path, {key.lower(): value for key, value in self.headers.items()}))
                fake.answers.get(self.path, status(404))(self)

            def log_message(self, *_arguments: Any) -> None:
                pass

            def handle(self) -> None:
                try:
                    super().handle()
                except (ConnectionError, TimeoutError):
                    self.close_connection = True

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}/api/v1"

    def answer(self, path: str, answer: Answer) -> None:
        self.answers[f"/api/v1{path}"] = answer

    def lists(self, entries: Iterable[Any]) -> None:
        self.answer("/models", document({"data": list(entries)}))

    def serves(self, model_id: str, *endpoints: dict[str, Any]) -> None:
        self.answer(f"/models/{model_id}/endpoints", document({"data": {"id": model_id, "endpoints": list(endpoints)}}))

    def asked(self, path: str) -> int:
        return sum(asked == f"/api/v1{path}" for asked, _ in self.requests)


def status(code: int, body: bytes = b"{}", **headers: str) -> Answer:
    def answer(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(code)
        for name, value in headers.items():
            handler.send_header(name.replace("_", "-"), value)
        handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        handler.wfile.write(body)

    return answer


def document(value: Any) -> Answer:
    return status(200, json.dumps(value).encode(), Content_Type="application/json")


def gzipped(body: bytes) -> Answer:
    return status(200, gzip.compress(body), Content_Encoding="gzip")


def dripping(gap_seconds: float, ended: threading.Event, *, headers: bool = False) -> Answer:
    """One byte now and then, forever: no read ever times out. In the headers, or in the body after them."""

    def answer(handler: BaseHTTPRequestHandler) -> None:
        start = b"HTTP/1.1 200 OK\r\nx-slow: " if headers else b"HTTP/1.1 200 OK\r\nContent-Length: 9999\r\n\r\n"
        handler.wfile.write(start)
        handler.close_connection = True
        try:
            while True:
                handler.wfile.write(b" ")
                handler.wfile.flush()
                if ended.wait(gap_seconds):
                    return
        except OSError:
            ended.set()

    return answer
