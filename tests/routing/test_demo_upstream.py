"""The demo upstream over real HTTP: what it answers, what it remembers, how it misbehaves when told to."""

from __future__ import annotations

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import anthropic
import openai
import pytest
import requests

from routing.demo import Behaviour, BehaviourKind, DemoUpstream

ROOT = Path(__file__).parents[2]
KEY = "sk-demo-0123456789abcd"
MODELS = [
    {
        "id": "anthropic/claude-sonnet-5",
        "name": "Anthropic: Claude Sonnet 5",
        "context_length": 1_000_000,
        "pricing": {"prompt": "0.000003", "completion": "0.000015"},
        "top_provider": {"max_completion_tokens": 64_000},
    },
    {"id": "moonshotai/kimi-k3:free", "name": "Kimi K3", "context_length": 262_144, "pricing": {"prompt": "0"}},
]
TOOLS = [{"type": "function", "function": {"name": "read", "parameters": {"type": "object"}}}]
LAST_CHUNK = b"\r\n0\r\n\r\n"
PATHS = ["/v1/chat/completions", "/v1/responses", "/v1/messages"]


@pytest.fixture
def upstream() -> Iterator[DemoUpstream]:
    with DemoUpstream(MODELS) as running:
        yield running


@pytest.fixture
def chat(upstream: DemoUpstream) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{upstream.base_url}/v1", api_key=KEY, max_retries=0) as client:
        yield client


@pytest.fixture
def claude(upstream: DemoUpstream) -> Iterator[anthropic.Anthropic]:
    with anthropic.Anthropic(base_url=upstream.base_url, api_key=KEY, max_retries=0) as client:
        yield client


def ask(upstream: DemoUpstream, path: str = "/v1/chat/completions", **body: Any) -> requests.Response:
    payload = {"model": "openai/gpt-5-mini", "messages": [{"role": "user", "content": "hello"}], **body}
    with requests.post(
        upstream.base_url + path, json=payload, headers={"Authorization": f"Bearer {KEY}"}, timeout=10
    ) as response:
        assert response.content is not None
        return response


def eventually(condition: Callable[[], bool], within_seconds: float = 2.0) -> bool:
    deadline = time.monotonic() + within_seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.005)
    return True


def open_stream(upstream: DemoUpstream, path: str = "/v1/chat/completions") -> socket.socket:
    """A client that sends a streaming request over a bare socket and has read the first bytes of the answer."""
    body = json.dumps({"model": "m", "messages": [], "stream": True}).encode()
    client = socket.create_connection((upstream.host, upstream.port), timeout=5)
    client.sendall(b"POST %b HTTP/1.1\r\nHost: demo\r\nContent-Length: %d\r\n\r\n%b" % (path.encode(), len(body), body))
    assert client.recv(12) == b"HTTP/1.1 200"
    return client


class TestWithTheOpenAISdk:
    def test_chat_completion(self, chat: openai.OpenAI) -> None:
        answer = chat.chat.completions.create(
            model="anthropic/claude-sonnet-5", messages=[{"role": "user", "content": "hello"}]
        )
        assert answer.choices[0].message.content == (
            "demo upstream: model anthropic/claude-sonnet-5, path /v1/chat/completions, key ...abcd"
        )
        assert answer.choices[0].finish_reason == "stop"
        assert answer.usage is not None
        assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens
        assert answer.usage.prompt_tokens_details is not None
        assert answer.usage.prompt_tokens_details.cached_tokens
        assert answer.usage.completion_tokens_details is not None
        assert answer.usage.completion_tokens_details.reasoning_tokens == 3
        openai.types.chat.ChatCompletion.model_validate(answer.model_dump())

    def test_chat_stream_with_usage(self, chat: openai.OpenAI) -> None:
        with chat.chat.completions.create(
            model="a/b", messages=[], stream=True, stream_options={"include_usage": True}
        ) as stream:
            chunks = list(stream)
        text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices)
        assert text == "demo upstream: model a/b, path /v1/chat/completions, key ...abcd"
        assert chunks[0].choices[0].delta.role == "assistant"
        assert [chunk.choices[0].finish_reason for chunk in chunks if chunk.choices][-1] == "stop"
        assert [chunk.usage is not None for chunk in chunks] == [False] * (len(chunks) - 1) + [True]
        assert chunks[-1].choices == []

    def test_chat_stream_without_usage_has_none(self, chat: openai.OpenAI) -> None:
        with chat.chat.completions.create(model="a/b", messages=[], stream=True) as stream:
            assert all(chunk.usage is None and chunk.choices for chunk in stream)

    def test_chat_stream_through_the_accumulator(self, chat: openai.OpenAI) -> None:
        with chat.chat.completions.stream(model="a/b", messages=[]) as stream:
            assert "model a/b" in (stream.get_final_completion().choices[0].message.content or "")

    def test_tools_are_answered_with_text(self, chat: openai.OpenAI) -> None:
        answer = chat.chat.completions.create(model="a/b", messages=[], tools=TOOLS)  # type: ignore[arg-type] # a literal
        assert answer.choices[0].message.tool_calls is None
        assert answer.choices[0].message.content

    def test_response(self, chat: openai.OpenAI) -> None:
        answer = chat.responses.create(model="openai/gpt-5.4", input="hello")
        assert answer.output_text == "demo upstream: model openai/gpt-5.4, path /v1/responses, key ...abcd"
        assert answer.status == "completed"
        assert answer.usage is not None
        assert answer.usage.input_tokens_details.cached_tokens
        assert answer.usage.output_tokens_details.reasoning_tokens == 3
        openai.types.responses.Response.model_validate(answer.model_dump())

    def test_response_stream(self, chat: openai.OpenAI) -> None:
        with chat.responses.create(model="a/b", input="hello", stream=True) as stream:
            events = list(stream)
        assert [event.sequence_number for event in events] == list(range(len(events)))
        kinds = [event.type for event in events]
        assert kinds[0] == "response.created"
        assert "response.output_text.delta" in kinds
        last = events[-1]
        assert last.type == "response.completed"
        assert last.response.usage is not None
        deltas = "".join(event.delta for event in events if event.type == "response.output_text.delta")
        assert last.response.output_text == deltas
        for event in events:
            type(event).model_validate(event.model_dump(mode="json", warnings=False))

    def test_response_stream_through_the_accumulator(self, chat: openai.OpenAI) -> None:
        with chat.responses.stream(model="a/b", input="hello") as stream:
            assert "model a/b" in stream.get_final_response().output_text

    def test_model_list(self, chat: openai.OpenAI) -> None:
        assert [model.id for model in chat.models.list()] == [model["id"] for model in MODELS]

    def test_an_error_has_the_shape_that_the_sdk_knows(self, chat: openai.OpenAI, upstream: DemoUpstream) -> None:
        upstream.behave("status", status=429, headers={"Retry-After": "7"})
        with pytest.raises(openai.RateLimitError, match="told to answer 429") as refused:
            chat.chat.completions.create(model="a/b", messages=[])
        assert refused.value.response.headers["retry-after"] == "7"


class TestWithTheAnthropicSdk:
    def test_message(self, claude: anthropic.Anthropic) -> None:
        answer = claude.messages.create(
            model="claude-opus-5", max_tokens=100, messages=[{"role": "user", "content": "hello"}]
        )
        block = answer.content[0]
        assert block.type == "text"
        assert block.text == "demo upstream: model claude-opus-5, path /v1/messages, key ...abcd"
        assert answer.stop_reason == "end_turn"
        assert answer.usage.cache_read_input_tokens
        assert answer.usage.cache_creation_input_tokens
        anthropic.types.Message.model_validate(answer.model_dump())

    def test_message_stream(self, claude: anthropic.Anthropic) -> None:
        with claude.messages.stream(
            model="claude-opus-5", max_tokens=100, messages=[{"role": "user", "content": "hello"}]
        ) as stream:
            text = "".join(stream.text_stream)
            message = stream.get_final_message()
        assert text == "demo upstream: model claude-opus-5, path /v1/messages, key ...abcd"
        assert message.stop_reason == "end_turn"
        assert message.usage.output_tokens > 3
        assert message.usage.cache_read_input_tokens
        assert message.usage.output_tokens_details is not None
        assert message.usage.output_tokens_details.thinking_tokens == 3

    def test_raw_events_come_in_the_documented_order(self, claude: anthropic.Anthropic) -> None:
        with claude.messages.create(model="m", max_tokens=9, messages=[], stream=True) as stream:
            kinds = [event.type for event in stream]
        assert kinds[:2] == ["message_start", "content_block_start"]
        assert kinds[-3:] == ["content_block_stop", "message_delta", "message_stop"]
        assert set(kinds[2:-3]) == {"content_block_delta"}

    def test_an_error_has_the_shape_that_the_sdk_knows(
        self, claude: anthropic.Anthropic, upstream: DemoUpstream
    ) -> None:
        upstream.behave("status", status=529)
        with pytest.raises(anthropic.APIStatusError) as refused:
            claude.messages.create(model="m", max_tokens=9, messages=[])
        assert refused.value.status_code == 529
        assert refused.value.body == {
            "type": "error",
            "error": {"type": "overloaded_error", "message": "demo upstream: told to answer 529"},
        }


class TestHttp:
    @pytest.mark.parametrize("prefix", ["", "/v1", "/api/v1", "/openai/v1"])
    @pytest.mark.parametrize("end", ["/chat/completions", "/responses", "/messages"])
    def test_the_end_of_the_path_decides(self, upstream: DemoUpstream, prefix: str, end: str) -> None:
        assert f"path {prefix}{end}, key ...abcd" in ask(upstream, prefix + end).text

    @pytest.mark.parametrize(("path", "events"), list(zip(PATHS, [1 + 4 + 2, 4 + 4 + 4, 3 + 4 + 3], strict=True)))
    def test_each_event_is_one_chunk(self, upstream: DemoUpstream, path: str, events: int) -> None:
        upstream.behave(events=4, interval_ms=5)
        chunks: list[bytes] = []
        with requests.post(
            upstream.base_url + path, json={"model": "m", "stream": True}, stream=True, timeout=5
        ) as response:
            assert response.headers["content-type"] == "text/event-stream; charset=utf-8"
            assert response.headers["transfer-encoding"] == "chunked"
            chunks.extend(response.raw.stream(decode_content=False))
        assert len(chunks) == events
        assert all(chunk.endswith(b"\n\n") and chunk.count(b"\n\n") == 1 for chunk in chunks)

    def test_events_leave_when_they_are_due(self, upstream: DemoUpstream) -> None:
        upstream.behave(events=3, interval_ms=300)
        arrivals: list[float] = []
        started = time.monotonic()
        with requests.post(
            f"{upstream.base_url}/chat/completions", json={"model": "m", "stream": True}, stream=True, timeout=5
        ) as response:
            arrivals.extend(time.monotonic() - started for _ in response.raw.stream(decode_content=False))
        role, *deltas = arrivals[:4]
        assert role < 0.3
        assert all(delta >= 0.3 * count for count, delta in enumerate(deltas, 1))
        assert deltas[0] < 0.6

    def test_connections_are_kept_alive(self, upstream: DemoUpstream) -> None:
        with requests.Session() as session:
            for stream in (True, False, True):
                session.post(f"{upstream.base_url}/responses", json={"model": "m", "stream": stream}, timeout=5)
            session.post(f"{upstream.base_url}/nowhere", data=b"x", timeout=5)
            assert upstream.stats()["connections"] == upstream.stats()["open_connections"] == 1
            assert len({request["connection"] for request in upstream.requests()}) == 1
        assert eventually(lambda: upstream.stats()["open_connections"] == 0)

    def test_an_http_1_0_client_gets_a_stream_without_chunks(self, upstream: DemoUpstream) -> None:
        body = b'{"model": "m", "stream": true}'
        with socket.create_connection((upstream.host, upstream.port), timeout=5) as client:
            client.sendall(b"POST /messages HTTP/1.0\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))
            answer = b"".join(iter(lambda: client.recv(65536), b""))
        head, _, stream = answer.partition(b"\r\n\r\n")
        assert b"chunked" not in head
        assert stream.startswith(b"event: message_start\ndata: ")
        assert stream.endswith(b"\n\n")

    def test_a_chunked_request_body_is_read(self, upstream: DemoUpstream) -> None:
        parts = iter([b'{"model": "pie', b'ces", "messages": []}'])
        response = requests.post(f"{upstream.base_url}/chat/completions", data=parts, timeout=5)
        assert "model pieces" in response.text

    @pytest.mark.parametrize("path", PATHS)
    @pytest.mark.parametrize("body", [b"{", b"", b"[1]", b"\xff", b"[" * 100_000, b'{"model": 3}', b"{}"])
    def test_a_body_that_makes_no_sense(self, upstream: DemoUpstream, path: str, body: bytes) -> None:
        response = requests.post(upstream.base_url + path, data=body, timeout=5)
        assert response.status_code == 400
        assert response.json()["error"]["message"]

    @pytest.mark.parametrize(
        ("method", "path"), [("GET", "/"), ("POST", "/v1/embeddings"), ("GET", "/v1/messages"), ("GET", "/__nothing__")]
    )
    def test_an_unknown_path(self, upstream: DemoUpstream, method: str, path: str) -> None:
        response = requests.request(method, upstream.base_url + path, timeout=5)
        assert response.status_code == 404
        assert "nothing at" in response.json()["error"]["message"]

    @pytest.mark.parametrize(
        ("head", "status"),
        [
            (b"BREW /coffee HTTP/1.1\r\n\r\n", 501),
            (b"POST /messages HTTP/1.1\r\nContent-Length: many\r\n\r\n", 400),
            (b"POST /messages HTTP/1.1\r\nContent-Length: 99999999999\r\n\r\n", 413),
            (b"POST /messages HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n-5\r\n", 400),
        ],
    )
    def test_malformed_http_is_refused_in_json(self, upstream: DemoUpstream, head: bytes, status: int) -> None:
        with socket.create_connection((upstream.host, upstream.port), timeout=5) as client:
            client.sendall(head)
            response = http.client.HTTPResponse(client)
            response.begin()
            assert response.status == status
            assert json.loads(response.read())["error"]


class TestListing:
    def test_models_in_the_openrouter_shape(self, upstream: DemoUpstream) -> None:
        assert requests.get(f"{upstream.base_url}/api/v1/models", timeout=5).json() == {"data": MODELS}

    def test_models_of_its_own_as_a_provider_lists_them(self) -> None:
        with DemoUpstream(MODELS, own_models=["demo-model", "Kimi-K2.6"]) as upstream:
            own = requests.get(f"{upstream.base_url}/v1/models", timeout=5).json()
            catalog = requests.get(f"{upstream.base_url}/api/v1/models", timeout=5).json()
        assert [model["id"] for model in own["data"]] == ["demo-model", "Kimi-K2.6"]
        assert catalog == {"data": MODELS}

    def test_endpoints_of_a_model(self, upstream: DemoUpstream) -> None:
        url = f"{upstream.base_url}/v1/models/anthropic/claude-sonnet-5/endpoints"
        data = requests.get(url, timeout=5).json()["data"]
        (endpoint,) = data["endpoints"]
        assert data["id"] == "anthropic/claude-sonnet-5"
        assert (endpoint["provider_name"], endpoint["tag"]) == ("Anthropic", "anthropic")
        assert endpoint["pricing"] == MODELS[0]["pricing"]
        assert endpoint["context_length"] == 1_000_000

    @pytest.mark.parametrize("model", ["moonshotai/kimi-k3:free", "moonshotai/kimi-k3%3Afree"])
    def test_a_variant_is_a_model_of_its_own(self, upstream: DemoUpstream, model: str) -> None:
        data = requests.get(f"{upstream.base_url}/models/{model}/endpoints", timeout=5).json()["data"]
        assert data["endpoints"][0]["provider_name"] == "moonshotai"

    def test_endpoints_of_an_unknown_model(self, upstream: DemoUpstream) -> None:
        response = requests.get(f"{upstream.base_url}/v1/models/nobody/nothing/endpoints", timeout=5)
        assert response.status_code == 404
        assert response.json()["error"]["code"] == 404

    def test_providers(self, upstream: DemoUpstream) -> None:
        data = requests.get(f"{upstream.base_url}/v1/providers", timeout=5).json()["data"]
        assert [(each["slug"], each["name"]) for each in data] == [
            ("anthropic", "Anthropic"),
            ("moonshotai", "moonshotai"),
        ]


class TestMemory:
    def test_a_request_is_remembered_with_its_credential_masked(self, upstream: DemoUpstream) -> None:
        ask(upstream, "/v1/chat/completions?beta=1", temperature=0.5)
        (request,) = requests.get(f"{upstream.base_url}/__requests__", timeout=5).json()
        assert request == upstream.requests()[0]
        assert (request["method"], request["path"], request["query"]) == ("POST", "/v1/chat/completions", "beta=1")
        assert (request["api_kind"], request["model"]) == ("chat_completions", "openai/gpt-5-mini")
        assert request["key_last_four"] == "abcd"
        assert request["headers"]["authorization"] == "Bearer ...abcd"
        assert request["headers"]["content-type"] == "application/json"
        assert request["body"]["temperature"] == 0.5
        assert KEY not in json.dumps(request)

    @pytest.mark.parametrize("header", ["x-api-key", "X-Api-Key", "api-key", "Authorization"])
    def test_other_ways_to_send_a_key(self, upstream: DemoUpstream, header: str) -> None:
        value = f"bearer {KEY}" if header == "Authorization" else KEY
        requests.post(f"{upstream.base_url}/messages", json={"model": "m"}, headers={header: value}, timeout=5)
        (request,) = upstream.requests()
        assert request["key_last_four"] == "abcd"
        assert KEY not in json.dumps(request)

    @pytest.mark.parametrize(("headers", "last_four"), [({}, None), ({"x-api-key": "short"}, "****")])
    def test_no_key_and_a_key_too_short_to_show(
        self, upstream: DemoUpstream, headers: dict[str, str], last_four: str | None
    ) -> None:
        response = requests.post(f"{upstream.base_url}/messages", json={"model": "m"}, headers=headers, timeout=5)
        assert ("no key" if last_four is None else "key ...****") in response.text
        assert upstream.requests()[0]["key_last_four"] == last_four
        assert "short" not in json.dumps(upstream.requests())

    def test_a_deeply_nested_body_is_remembered(self, upstream: DemoUpstream) -> None:
        nested = json.loads("[" * 500 + "]" * 500)
        assert ask(upstream, nested=nested).status_code == 200
        assert requests.get(f"{upstream.base_url}/__requests__", timeout=5).json()[0]["body"]["nested"] == nested

    def test_completions_leave_out_what_asked_no_model(self, upstream: DemoUpstream) -> None:
        requests.get(f"{upstream.base_url}/models", timeout=5)
        ask(upstream, "/responses")
        assert len(upstream.requests()) == 2
        assert [request["path"] for request in upstream.completions()] == ["/responses"]

    def test_the_last_thousand_are_kept(self, upstream: DemoUpstream) -> None:
        with requests.Session() as session:
            for _ in range(1005):
                session.get(f"{upstream.base_url}/nothing", timeout=5)
        assert len(upstream.requests()) == 1000

    def test_clearing(self, upstream: DemoUpstream) -> None:
        ask(upstream)
        assert upstream.stats()["total"] == 1
        requests.delete(f"{upstream.base_url}/__requests__", timeout=5)
        assert upstream.requests() == []
        assert upstream.stats()["total"] == upstream.stats()["disconnects"] == 0

    def test_control_requests_are_not_counted(self, upstream: DemoUpstream) -> None:
        for path in ("/__stats__", "/__requests__", "/__behaviour__"):
            assert requests.get(upstream.base_url + path, timeout=5).status_code == 200
        assert upstream.requests() == []
        assert upstream.stats()["total"] == 0

    @pytest.mark.parametrize("path", PATHS)
    def test_a_client_that_leaves_is_noticed_while_the_upstream_sleeps(self, upstream: DemoUpstream, path: str) -> None:
        upstream.behave(events=3, interval_ms=60_000)
        client = open_stream(upstream, path)
        stats = requests.get(f"{upstream.base_url}/__stats__", timeout=5).json()
        assert (stats["open"], stats["disconnects"], stats["total"]) == (1, 0, 1)
        client.close()
        assert eventually(lambda: upstream.stats()["disconnects"] == 1, within_seconds=0.5)
        assert eventually(lambda: upstream.stats()["open"] == 0, within_seconds=0.5)

    def test_a_client_that_leaves_a_fast_stream(self, upstream: DemoUpstream) -> None:
        upstream.behave(text="word " * 50_000)
        open_stream(upstream).close()
        assert eventually(lambda: upstream.stats()["disconnects"] == 1)

    def test_a_client_that_closes_after_the_last_event_has_not_left(self, upstream: DemoUpstream) -> None:
        with closing(open_stream(upstream)) as client:
            received = b""
            while b"[DONE]" not in received:
                received += client.recv(65536)
        assert eventually(lambda: upstream.stats()["open_connections"] == 0)
        assert upstream.stats()["disconnects"] == 0

    def test_three_hundred_streams_at_once(self, upstream: DemoUpstream) -> None:
        upstream.behave(events=3, interval_ms=300)
        clients = [open_stream(upstream) for _ in range(300)]
        assert upstream.stats()["open"] > 1
        for client in clients:
            received = b""
            while not received.endswith(LAST_CHUNK):
                received += client.recv(65536)
            client.close()
        assert eventually(lambda: upstream.stats()["open"] == 0)
        assert upstream.stats()["disconnects"] == 0


class TestBehaviour:
    def test_set_over_http_and_reset(self, upstream: DemoUpstream) -> None:
        url = f"{upstream.base_url}/__behaviour__"
        put = requests.put(url, json={"kind": "status", "status": 402, "body": {"error": "pay"}}, timeout=5)
        assert put.status_code == 200
        assert requests.get(url, timeout=5).json()[0]["status"] == 402
        refused = ask(upstream)
        assert (refused.status_code, refused.json()) == (402, {"error": "pay"})
        requests.delete(url, timeout=5)
        assert ask(upstream).status_code == 200

    @pytest.mark.parametrize(
        "data",
        [
            {"kind": "explode"},
            {"kind": "ok", "sparkle": 1},
            {"events": "3"},
            {"events": 0},
            {"times": 0},
            {"seconds": -1},
            {"status": 99},
            {"bytes": True},
            [],
        ],
    )
    def test_a_behaviour_that_makes_no_sense(self, upstream: DemoUpstream, data: object) -> None:
        response = requests.put(f"{upstream.base_url}/__behaviour__", json=data, timeout=5)
        assert response.status_code == 400
        assert ask(upstream).status_code == 200

    def test_for_one_model_only(self, upstream: DemoUpstream) -> None:
        upstream.behave("status", model="a/bad", status=401)
        assert ask(upstream, model="a/good").status_code == 200
        assert ask(upstream, model="a/bad").status_code == 401

    def test_a_models_own_behaviour_comes_before_the_common_one(self, upstream: DemoUpstream) -> None:
        upstream.behaviour = Behaviour(kind=BehaviourKind.STATUS, status=503)
        upstream.behave("ok", model="a/good")
        assert upstream.behaviour.status == 503
        assert ask(upstream, model="a/good").status_code == 200
        assert ask(upstream, model="a/other").status_code == 503

    def test_for_so_many_requests_only(self, upstream: DemoUpstream) -> None:
        upstream.behave("status", status=503, times=2)
        assert [ask(upstream).status_code for _ in range(3)] == [503, 503, 200]

    def test_a_scripted_answer(self, upstream: DemoUpstream) -> None:
        upstream.behave(text="abcdef", events=3, usage={"input": 100, "cached": 40}, headers={"Set-Cookie": "a=b"})
        answer = ask(upstream)
        assert answer.json()["choices"][0]["message"]["content"] == "abcdef"
        assert answer.json()["usage"]["prompt_tokens"] == 100
        assert answer.json()["usage"]["prompt_tokens_details"]["cached_tokens"] == 40
        assert answer.headers["set-cookie"] == "a=b"
        assert ask(upstream, stream=True).text.count('"delta": {"content": "') == 3

    def test_a_status_with_text_and_headers(self, upstream: DemoUpstream) -> None:
        upstream.behave("status", status=302, body="moved", headers={"Location": "http://127.0.0.1:1/", "server": "x"})
        response = requests.post(upstream.base_url + PATHS[0], json={}, timeout=5, allow_redirects=False)
        assert (response.status_code, response.text) == (302, "moved")
        assert (response.headers["location"], response.headers["server"]) == ("http://127.0.0.1:1/", "x")

    def test_stall_before_headers(self, upstream: DemoUpstream) -> None:
        upstream.behave("stall_before_headers", seconds=0.3)
        started = time.monotonic()
        assert ask(upstream).status_code == 200
        assert time.monotonic() - started >= 0.3

    def test_a_client_that_gives_up_on_a_stall_is_noticed(self, upstream: DemoUpstream) -> None:
        upstream.behave("stall_before_headers", seconds=60)
        with pytest.raises(requests.ReadTimeout):
            requests.post(upstream.base_url + PATHS[0], json={"model": "m"}, timeout=0.1)
        assert eventually(lambda: upstream.stats()["disconnects"] == 1)

    @pytest.mark.parametrize("stream", [True, False])
    @pytest.mark.parametrize("after", [0, 2, 10_000])
    def test_stall_mid_stream(self, upstream: DemoUpstream, after: int, stream: bool) -> None:
        upstream.behave("stall_mid_stream", after_events=after, seconds=0.3)
        started = time.monotonic()
        answer = ask(upstream, stream=stream)
        assert time.monotonic() - started >= 0.3
        assert "key ...abcd" in answer.text or answer.text.endswith("data: [DONE]\n\n")

    @pytest.mark.parametrize("path", PATHS)
    def test_break_before_headers(self, upstream: DemoUpstream, path: str) -> None:
        upstream.behave("break_before_headers")
        with pytest.raises(requests.ConnectionError):
            ask(upstream, path)
        assert upstream.stats()["disconnects"] == 0

    @pytest.mark.parametrize("path", PATHS)
    @pytest.mark.parametrize("after", [0, 2, 10_000])
    def test_break_mid_stream(self, upstream: DemoUpstream, path: str, after: int) -> None:
        upstream.behave("break_mid_stream", after_events=after)
        with closing(open_stream(upstream, path)) as client:
            answer = b"".join(iter(lambda: client.recv(65536), b""))
        assert not answer.endswith(LAST_CHUNK)
        assert answer.count(b"\n\n") == after or after > 100
        assert upstream.stats()["disconnects"] == 0

    def test_break_in_the_middle_of_a_whole_answer(self, upstream: DemoUpstream) -> None:
        upstream.behave("break_mid_stream")
        with pytest.raises(requests.exceptions.ChunkedEncodingError, match="IncompleteRead"):
            ask(upstream)

    @pytest.mark.parametrize("stream", [True, False])
    def test_garbage_json(self, upstream: DemoUpstream, stream: bool) -> None:
        upstream.behave("garbage_json")
        answer = ask(upstream, stream=stream)
        assert answer.status_code == 200
        with pytest.raises(ValueError, match="Expecting"):
            json.loads(answer.text.removeprefix("data: "))

    @pytest.mark.parametrize("stream", [True, False])
    def test_huge(self, upstream: DemoUpstream, stream: bool) -> None:
        upstream.behave("huge", bytes=3_000_000)
        assert ask(upstream, stream=stream).text.count("x") >= 3_000_000

    def test_catalog_reads_misbehave_too(self, upstream: DemoUpstream) -> None:
        url = f"{upstream.base_url}/models"
        upstream.behave("garbage_json")
        with pytest.raises(ValueError, match="Expecting"):
            requests.get(url, timeout=5).json()
        upstream.behave("huge", bytes=2_000_000)
        assert len(requests.get(url, timeout=5).content) > 2_000_000
        upstream.behave("break_mid_stream")
        with pytest.raises(requests.exceptions.ChunkedEncodingError):
            requests.get(url, timeout=5)


class TestLife:
    def test_stopping_ends_streams_and_frees_the_address(self) -> None:
        upstream = DemoUpstream(MODELS).start()
        upstream.behave(events=3, interval_ms=60_000)
        with closing(open_stream(upstream)) as client:
            upstream.stop()
            assert not b"".join(iter(lambda: client.recv(65536), b"")).endswith(LAST_CHUNK)
        assert upstream.stats()["open_connections"] == upstream.stats()["disconnects"] == 0
        with pytest.raises(requests.ConnectionError):
            requests.get(upstream.base_url, timeout=5)

    def test_it_comes_back_at_the_same_address(self, upstream: DemoUpstream) -> None:
        address = upstream.base_url
        upstream.stop()
        upstream.stop()
        upstream.start()
        assert upstream.base_url == address
        assert ask(upstream).status_code == 200

    def test_it_starts_only_once(self, upstream: DemoUpstream) -> None:
        with pytest.raises(RuntimeError, match="already running"):
            upstream.start()

    def test_an_address_in_use_is_said(self, upstream: DemoUpstream) -> None:
        with pytest.raises(OSError, match="in use"):
            DemoUpstream(port=upstream.port).start()

    @pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
    def test_in_the_foreground_without_django_until_a_signal(self, number: signal.Signals) -> None:
        program = (
            "import sys; from routing.demo import run_upstream;"
            "run_upstream(port=0, on_ready=lambda up: print(up.base_url, 'django' in sys.modules, flush=True))"
        )
        with subprocess.Popen(
            [sys.executable, "-W", "error", "-c", program], stdout=subprocess.PIPE, text=True, cwd=ROOT
        ) as process:
            assert process.stdout is not None
            base_url, django = process.stdout.readline().split()
            assert django == "False"
            assert requests.get(f"{base_url}/__stats__", timeout=5).status_code == 200
            os.kill(process.pid, number)
            assert process.wait(timeout=10) == 0

    def test_the_command_serves_the_bundled_catalog_and_shows_requests(self) -> None:
        command = [sys.executable, "manage.py", "demo_upstream", "--port", "0", "--verbosity", "2"]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT) as process:
            assert process.stdout is not None
            announced = process.stdout.readline()
            base_url = announced.split()[3]
            assert announced == f"Demo upstream at {base_url} (Ctrl-C stops it)\n"
            assert requests.get(f"{base_url}/v1/models", timeout=5).json()["data"]
            requests.post(f"{base_url}/messages", json={"model": "m"}, headers={"x-api-key": KEY}, timeout=5)
            assert process.stdout.readline() == "GET /v1/models model=- key=none\n"
            assert process.stdout.readline() == "POST /messages model=m key=...abcd\n"
            os.kill(process.pid, signal.SIGTERM)
            assert process.wait(timeout=10) == 0

    def test_the_command_says_that_its_port_is_taken(self, upstream: DemoUpstream) -> None:
        command = [sys.executable, "manage.py", "demo_upstream", "--port", str(upstream.port)]
        ended = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False, timeout=60)
        assert ended.returncode == 1
        assert f"Port {upstream.port} is in use: choose another with --port." in ended.stderr
        assert "Traceback" not in ended.stderr

    def test_requests_are_announced(self) -> None:
        seen: list[dict[str, Any]] = []
        with DemoUpstream(on_request=seen.append) as upstream:
            threads = [threading.Thread(target=ask, args=(upstream,)) for _ in range(8)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
        assert [request["model"] for request in seen] == ["openai/gpt-5-mini"] * 8
