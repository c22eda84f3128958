"""Whose headers go where: nothing of the client's goes upstream, nothing of the upstream's account comes back."""

from __future__ import annotations

import json
from collections.abc import Sequence

import pytest

from tests.e2e.lab import HOSTED_KEY, KINDS, PATHS, Lab, answers_status, answers_stream, answers_whole, body_of
from tests.e2e.scripted import Line
from tests.e2e.wire import send

CANARY = "mark-of-a-header"
OF_THE_CLIENT = {
    "Cookie": f"sessionid={CANARY}",
    "X-Forwarded-For": f"203.0.113.9, {CANARY}",
    "X-Forwarded-Proto": "https",
    "X-Forwarded-Host": CANARY,
    "Forwarded": f"for={CANARY}",
    "X-Real-IP": "203.0.113.9",
    "Via": f"1.1 {CANARY}",
    "Origin": f"https://{CANARY}.example.com",
    "Referer": f"https://{CANARY}.example.com/",
    "User-Agent": CANARY,
    "Accept": f"application/{CANARY}",
    "Accept-Encoding": "gzip, br",
    "X-Title": CANARY,
    "HTTP-Referer": CANARY,
    "X-KiloCode-TaskId": CANARY,
    "X-KiloCode-EditorName": CANARY,
    "X-KiloCode-MachineId": CANARY,
    "X-KiloCode-Feature": CANARY,
    "X-KiloCode-ProjectId": CANARY,
    "X-Kilo-Request": CANARY,
    "X-Kilo-Session": CANARY,
    "X-Custom": CANARY,
    "OpenAI-Organization": CANARY,
    "OpenAI-Beta": CANARY,
    "X-Stainless-Lang": CANARY,
    "traceparent": f"00-{CANARY}",
    "Connection": "keep-alive, X-Custom",
    "TE": "trailers",
    "anthropic-dangerous-direct-browser-access": "true",
}
ALWAYS = {"host", "content-type", "content-length", "accept", "accept-encoding", "user-agent"}
HOSTED = ALWAYS | {"authorization", "http-referer", "x-title"}
OF_MESSAGES = {"anthropic-version", "anthropic-beta"}


class TestUpstream:
    @pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
    @pytest.mark.parametrize("kind", KINDS)
    def test_a_hosted_upstream_gets_our_headers_only(self, lab: Lab, kind: str, stream: bool) -> None:
        lab.openrouter.script = answers_whole(kind)
        versions = {"anthropic-version": "2099-01-01", "anthropic-beta": "one-2025-01-01,two"}
        lab.ask(kind, stream=stream, headers={**OF_THE_CLIENT, **versions})
        (seen,) = lab.openrouter.requests
        assert seen.names() == HOSTED | (OF_MESSAGES if kind == "messages" else set())
        assert len(seen.headers) == len(seen.names()), "a header was sent twice"
        assert CANARY not in str(seen.headers)
        assert lab.tenants["acme"].key not in str(seen.headers)
        assert seen.line == f"POST /api/v1/{kind.replace('_', '/')} HTTP/1.1"
        assert seen.header("authorization") == f"Bearer {HOSTED_KEY}"
        assert seen.header("content-type") == "application/json"
        assert seen.header("accept") == ("text/event-stream" if stream else "application/json")
        assert seen.header("user-agent") == "kilo-gateway/0.1"
        if kind == "messages":
            assert seen.header("anthropic-version") == "2099-01-01"
            assert seen.header("anthropic-beta") == "one-2025-01-01,two"

    def test_the_key_in_x_api_key_stays_here_too(self, lab: Lab) -> None:
        lab.openrouter.script = answers_whole("messages")
        key = lab.tenants["acme"].key
        headers = {"x-api-key": key, "x-kilocode-mode": "code"}
        reply = send(lab.gateway.base_url, PATHS["messages"], body_of("messages"), "", headers).reply()
        assert reply.status == 200
        assert key not in str(lab.openrouter.requests[0])

    def test_a_direct_provider_gets_no_word_of_this_installation(self, lab: Lab) -> None:
        lab.provider.script = answers_whole("chat_completions")
        lab.ask(mode="neuralwatt", headers=OF_THE_CLIENT)
        (seen,) = lab.provider.requests
        assert seen.names() == ALWAYS | {"authorization"}
        assert CANARY not in str(seen.headers)

    def test_the_body_arrives_as_it_was_sent_but_for_the_model(self, lab: Lab) -> None:
        lab.openrouter.script = answers_whole("responses")
        sent = (
            b'{ "odd" : [1.50, 1e2, -0, "\\u00e9\\/", {"deep": null}],\n\t"model":"kilo-auto/org",'
            b'"input":"Gr\xc3\xbc\xc3\x9fe", "metadata":{"model":"kilo-auto/org"} , "store":false }'
        )
        assert lab.ask("responses", body=sent).status == 200
        expected = sent.replace(b'"model":"kilo-auto/org",', b'"model":"anthropic/claude-sonnet-5",', 1)
        assert lab.openrouter.requests[0].body == expected

    @pytest.mark.parametrize(
        "value", [b"caf\xc3\xa9 \xe2\x82\xac", b"\xff\xfe", b"a\tb", b"x" * 2000], ids=lambda value: repr(value[:20])
    )
    def test_odd_bytes_in_a_header_that_is_passed_on(self, lab: Lab, value: bytes) -> None:
        lab.openrouter.script = answers_whole("messages")
        reply = lab.ask("messages", headers={"anthropic-beta": value, "anthropic-version": value})
        assert reply.status in {200, 400}
        if reply.status == 400:
            assert reply.error_type == "invalid_request"
            assert not lab.openrouter.requests
        else:
            assert len(str(lab.openrouter.requests[0].header("anthropic-beta"))) <= 500


OF_THE_UPSTREAM = {
    "set_cookie": "__cf_bm=1; Path=/",
    "server": "cloudflare",
    "x_powered_by": "Express",
    "x_ratelimit_remaining_requests": "1",
    "x_ratelimit_limit_tokens": "1000",
    "anthropic_ratelimit_tokens_remaining": "1",
    "openai_organization": "acct-1",
    "anthropic_organization_id": "acct-1",
    "openai_processing_ms": "12",
    "x_request_id": "forged",
    "request_id": "req_1",
    "x_kilo_mode": "forged",
    "x_kilo_route": "forged",
    "x_kilo_target": "forged",
    "x_kilo_model": "forged",
    "x_kilo_provider": "forged",
    "x_kilo_byok": "forged",
    "x_kilo_routing_version": "forged",
    "cf_ray": "1",
    "via": "1.1 google",
    "alt_svc": 'h3=":443"',
    "www_authenticate": "Bearer realm=upstream",
    "location": "https://example.com/",
    "access_control_allow_origin": "*",
    "strict_transport_security": "max-age=1",
    "x_generation_id": "gen-1",
    "x_odd_header": "odd",
}
OF_THE_RECEIPT = {
    "x-request-id",
    "x-kilo-mode",
    "x-kilo-route",
    "x-kilo-target",
    "x-kilo-model",
    "x-kilo-provider",
    "x-kilo-byok",
    "x-kilo-routing-version",
}
# Ours, by the name under which Anthropic's SDK looks for it.
OF_THE_RECEIPT_OF_MESSAGES = OF_THE_RECEIPT | {"request-id"}
OF_HTTP = {"content-type", "content-length", "transfer-encoding", "date", "server", "retry-after"}


class TestClient:
    @pytest.mark.parametrize("status", ["200 OK", "400 Bad Request", "429 Slow down", "500 Oops"])
    @pytest.mark.parametrize("mode", ["code", "neuralwatt"], ids=["hosted", "direct"])
    def test_of_the_upstream_s_headers_only_what_a_reader_needs_comes_back(
        self, lab: Lab, mode: str, status: str
    ) -> None:
        lab.openrouter.script = lab.provider.script = answers_status(status, {}, retry_after="3", **OF_THE_UPSTREAM)
        reply = lab.ask(mode=mode)
        names = [name for name, _ in reply.headers]
        assert len(names) == len(set(names))
        assert set(names) <= OF_THE_RECEIPT | OF_HTTP
        assert set(names) >= OF_THE_RECEIPT
        assert "forged" not in str(reply.headers)
        assert reply["server"] != "cloudflare"
        assert reply["retry-after"] == "3"
        assert reply["x-kilo-byok"] == ("true" if mode == "neuralwatt" else "false")

    def test_nor_of_a_stream_s(self, lab: Lab) -> None:
        def script(line: Line) -> None:
            line.event_stream(**OF_THE_UPSTREAM)
            line.chunk(b"data: [DONE]\n\n")
            line.end(b"set-cookie: a=b\r\nx-kilo-route: forged\r\n")

        lab.openrouter.script = script
        reply = lab.ask(stream=True)
        assert {name for name, _ in reply.headers} <= OF_THE_RECEIPT | OF_HTTP
        assert "forged" not in str(reply.headers)

    @pytest.mark.parametrize(
        "head",
        [
            b"Content-Type: application/json\r\n x-kilo-route: forged\r\n",
            b"Content-Type: application/json\rx-kilo-route: forged\r\n",
            b"Content-Type: application/json\x0b\x00\x7f\r\n",
            b"Content-Type: application/json\r\nRetry-After: 3\r\n\tSet-Cookie: a=b\r\n",
            b"Content-Type: text/caf\xe9; x=\xe2\x82\xac\r\n",
            b"Content-Type:\r\n",
            b"Content-Type: \r\n",
            b"Content-Encoding: \x01\r\n",
        ],
        ids=repr,
    )
    @pytest.mark.parametrize("status", [b"200 OK", b"503 Busy"])
    def test_no_header_of_the_upstream_becomes_two(self, lab: Lab, head: bytes, status: bytes) -> None:
        script = lambda line: line.write(b"HTTP/1.1 " + status + b"\r\nContent-Length: 2\r\n" + head + b"\r\n{}")  # noqa: E731
        lab.provider.script = script
        reply = lab.ask(mode="neuralwatt")
        assert reply.status == int(status[:3])
        assert reply.content == b"{}"
        assert reply["x-kilo-route"] == "exact:neuralwatt"
        assert {name for name, _ in reply.headers} <= OF_THE_RECEIPT | OF_HTTP | {"content-encoding"}
        assert all(value.isascii() and value.isprintable() for _, value in reply.headers)


MODES = [
    "x\r\nx-kilo-byok: true",
    "x\nset-cookie: a=b",
    "x\r\n\r\n<script>",
    "nul\x00 del\x7f esc\x1b tab\t",
    "line\u2028separator\u0085",
    "größe 世界 🌍",
    "\u202eright-to-left",
    '"quoted\\"',
    "m" * 600,
    "ß" * 500,
    "İ" * 499,
]


class TestModesAreData:
    """A mode is the client's free text, and it comes back in the receipt."""

    @pytest.mark.parametrize("mode", MODES, ids=lambda mode: ascii(mode[:20]))
    def test_as_a_suffix_of_the_model(self, lab: Lab, mode: str) -> None:
        lab.openrouter.script = answers_stream("responses")
        body = body_of("responses", stream=True, model=f"kilo-auto/org:{mode}")
        reply = lab.ask("responses", mode="", body=body)
        assert reply.status == 200
        self._assert_harmless(reply.headers)
        assert lab.usage(reply)["route_kind"] == "fallback"
        assert lab.usage(reply)["mode"].isprintable()

    @pytest.mark.parametrize("mode", MODES, ids=lambda mode: ascii(mode[:20]))
    def test_as_a_header(self, lab: Lab, mode: str) -> None:
        """What HTTP forbids in a header is refused by the server before it reaches us."""
        lab.openrouter.script = answers_whole("messages")
        raw = mode.encode().replace(b"\r", b"").replace(b"\n", b"")
        reply = lab.ask("messages", mode=raw)
        if reply.status == 400 and "x-request-id" not in reply:
            return
        assert reply.status == 200
        self._assert_harmless(reply.headers)
        assert lab.usage(reply)["mode"].isprintable()

    @staticmethod
    def _assert_harmless(headers: Sequence[tuple[str, str]]) -> None:
        names = [name for name, _ in headers]
        assert len(names) == len(set(names))
        assert OF_THE_RECEIPT <= set(names) <= OF_THE_RECEIPT_OF_MESSAGES | OF_HTTP
        for _, value in headers:
            assert value.isascii()
            assert value.isprintable()

    def test_what_was_said_can_be_read_back(self, lab: Lab) -> None:
        lab.openrouter.script = answers_whole("responses")
        reply = lab.ask("responses", mode="", model="kilo-auto/org:größe 🌍\r\n")
        assert json.loads(f'"{reply["x-kilo-mode"]}"') == "größe 🌍"


@pytest.mark.parametrize("name", ["x-kilocode-taskid", "x-kilocode-editorname", "x-kilocode-feature"])
def test_what_is_recorded_of_the_client_s_headers_is_cut_and_cleaned(lab: Lab, name: str) -> None:
    lab.openrouter.script = answers_whole("messages")
    reply = lab.ask("messages", headers={name: b"a\tb" + b"x" * 2000})
    assert reply.status == 200
    column = {"x-kilocode-taskid": "task_id", "x-kilocode-editorname": "editor", "x-kilocode-feature": "feature"}[name]
    recorded = lab.usage(reply)[column]
    assert len(recorded) <= 500
    assert recorded.startswith("ab")
    assert recorded.isprintable()


def test_nothing_of_the_above_was_unexpected(lab: Lab) -> None:
    assert "Traceback" not in lab.gateway.log()
    assert "Unexpected error" not in lab.gateway.log()
