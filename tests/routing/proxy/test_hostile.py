"""Requests made to do harm, as far as the socket plays no part: `tests/e2e_input` has those where it does."""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Iterable
from typing import Any

import pytest

from kilo_gateway.api_errors import ErrorType, GatewayError
from kilo_gateway.api_kinds import ApiKind
from routing import resolution
from routing.demo import DemoUpstream
from routing.proxy.body import JsonBody
from routing.proxy.request import MAX_MODEL_LENGTH, READ_BYTES, read_body, stated_length, validate
from routing.proxy.usage_writer import Usage, writer
from tests.support.errors import check_error
from tests.support.inprocess import CHAT, MESSAGES, RESPONSES, Answer, call
from tests.support.tenants import Tenant, auto_settings, make_tenant

PATHS = (CHAT, RESPONSES, MESSAGES)
TIER = "kilo-auto/balanced"
HELLO = [{"role": "user", "content": "hello"}]
NOT_OBJECTS: list[Any] = ["text", 5, 0.5, True, False, [], [{}], ""]


@pytest.fixture
def written(db: None, hosted_upstream: DemoUpstream, monkeypatch: pytest.MonkeyPatch) -> list[Usage]:
    records: list[Usage] = []
    monkeypatch.setattr(writer, "put", records.append)
    return records


@pytest.fixture
def tenant(written: list[Usage]) -> Tenant:
    return make_tenant()


@pytest.fixture
def confined(written: list[Usage]) -> Tenant:
    """An organization that lets two providers serve it."""
    return make_tenant(settings={**auto_settings(), "provider_allow_list": ["anthropic", "openai"]})


def body_of(path: str, model: Any = TIER, **fields: Any) -> dict[str, Any]:
    return {"model": model, **({"input": "hello"} if path == RESPONSES else {"messages": HELLO}), **fields}


def refused(answer: Answer, status: int, error_type: str, path: str) -> str:
    """The message of an error that is this one."""
    assert (answer.status, answer.error_type) == (status, error_type), answer.content[:300]
    check_error(answer.status, answer.headers, answer.json(), path)
    return str(answer.json()["message"])


class TestWrongTypes:
    @pytest.mark.parametrize("model", [None, 5, 0.5, True, [], ["kilo-auto/org"], {"id": "kilo-auto/org"}, "", " \n\t"])
    def test_model(self, tenant: Tenant, model: Any) -> None:
        for path in PATHS:
            refused(call(path, body_of(path, model), tenant.key), 404, "model_not_found", path)

    @pytest.mark.parametrize(
        "messages", [None, 5, "hello", True, {}, {"role": "user"}, [], [[]], ["hello"], [None], [*HELLO, 5]]
    )
    def test_messages(self, tenant: Tenant, messages: Any) -> None:
        for path in (CHAT, MESSAGES):
            answer = call(path, {**body_of(path), "messages": messages}, tenant.key)
            assert "messages" in refused(answer, 400, "invalid_request", path)

    @pytest.mark.parametrize(
        "content", [None, 5, True, {}, {"role": "user"}, "", [], [[]], ["hello"], [None], [*HELLO, 5]]
    )
    def test_input(self, tenant: Tenant, content: Any) -> None:
        body = {**body_of(RESPONSES), "input": content}
        assert "input" in refused(call(RESPONSES, body, tenant.key), 400, "invalid_request", RESPONSES)

    @pytest.mark.parametrize("stream", ["true", 1, 0, [], {}, "", [True]])
    def test_stream(self, tenant: Tenant, stream: Any) -> None:
        for path in PATHS:
            refused(call(path, body_of(path, stream=stream), tenant.key), 400, "invalid_request", path)

    @pytest.mark.parametrize("value", NOT_OBJECTS)
    def test_stream_options(self, tenant: Tenant, value: Any) -> None:
        body = body_of(CHAT, stream=True, stream_options=value)
        refused(call(CHAT, body, tenant.key), 400, "invalid_request", CHAT)

    @pytest.mark.parametrize("value", NOT_OBJECTS)
    def test_provider_under_a_policy(self, confined: Tenant, value: Any) -> None:
        for path in PATHS:
            body = body_of(path, "openai/gpt-5-mini", provider=value)
            refused(call(path, body, confined.key), 400, "invalid_request", path)

    @pytest.mark.parametrize(
        "only", ["openai", 5, True, {}, {"openai": 1}, "", [None], [5], ["openai", 1], [["openai"]], [{"a": 1}]]
    )
    def test_provider_only_under_a_policy(self, confined: Tenant, only: Any) -> None:
        body = body_of(CHAT, "openai/gpt-5-mini", provider={"only": only})
        refused(call(CHAT, body, confined.key), 400, "invalid_request", CHAT)

    @pytest.mark.parametrize("only", [["evil"], [""], ["openai-2"], ["evil/openai"], ["openai/*"], ["/openai"]])
    def test_no_provider_of_the_policy(self, confined: Tenant, only: Any) -> None:
        body = body_of(CHAT, "openai/gpt-5-mini", provider={"only": only})
        refused(call(CHAT, body, confined.key), 404, "model_not_allowed", CHAT)

    @pytest.mark.parametrize(
        ("path", "field"), [(CHAT, "reasoning"), (RESPONSES, "reasoning"), (MESSAGES, "output_config")]
    )
    @pytest.mark.parametrize("value", NOT_OBJECTS)
    def test_what_a_tier_sets(self, tenant: Tenant, path: str, field: str, value: Any) -> None:
        """Whether the tier's rule touches the field or not: an answer, and never a failure."""
        for mode in ("code", "architect", "debug", ""):
            answer = call(path, body_of(path, **{field: value}), tenant.key, headers={"x-kilocode-mode": mode})
            if answer.status != 200:
                assert field in refused(answer, 400, "invalid_request", path)

    @pytest.mark.parametrize("store", [True, 1, "true", "false", [], {}, 0.5])
    def test_store_that_an_upstream_may_take_for_true(self, tenant: Tenant, store: Any) -> None:
        refused(call(RESPONSES, body_of(RESPONSES, store=store), tenant.key), 400, "unsupported_field", RESPONSES)

    @pytest.mark.parametrize("store", [None, False])
    def test_store_that_says_no(self, tenant: Tenant, store: Any) -> None:
        assert call(RESPONSES, body_of(RESPONSES, store=store), tenant.key).status == 200

    @pytest.mark.parametrize("value", ["resp_1", "", 0, False, {}])
    def test_previous_response_id(self, tenant: Tenant, value: Any) -> None:
        answer = call(RESPONSES, body_of(RESPONSES, previous_response_id=value), tenant.key)
        refused(answer, 400, "unsupported_field", RESPONSES)

    @pytest.mark.parametrize("field", ["providerOptions", "models"])
    @pytest.mark.parametrize("value", [None, {}, [], "", False, ["openai/gpt-5.4"]])
    def test_fields_that_go_around_the_decision(self, tenant: Tenant, field: str, value: Any) -> None:
        for path in PATHS:
            refused(call(path, body_of(path, **{field: value}), tenant.key), 400, "unsupported_field", path)

    @pytest.mark.parametrize("path", PATHS)
    def test_unknown_fields_are_the_upstreams_business(
        self, tenant: Tenant, path: str, hosted_upstream: DemoUpstream
    ) -> None:
        strange = {
            "temperature": "hot",
            "tool_choice": 5,
            "max_tokens": -1,
            "": None,
            "é\x00": [[]],
            "mode": {"speed": [{"": 1}]},
        }
        assert call(path, body_of(path, "openai/gpt-5-mini", **strange), tenant.key).status == 200
        assert hosted_upstream.completions()[-1]["body"] == body_of(path, "openai/gpt-5-mini", **strange)


class TestTexts:
    @pytest.mark.parametrize(
        "raw",
        [
            b"",
            b" ",
            b"null",
            b"[]",
            b'"text"',
            b"5",
            b"{",
            b"{}{}",
            b'{"model": "a"} x',
            b"{'model': 'a'}",
            b'{"model": "a",}',
            b"\xff\xfe{\x00}\x00",
            b'{"model": "\xff"}',
            b'{"model": "\xed\xa0\x80"}',
            b'\xef\xbb\xbf{"model": "kilo-auto/org", "messages": [{}], "input": "a"}',
            b'{"model": "kilo-auto/org", "mod\\u0065l": "openai/gpt-5.4"}',
            b'{"model": "kilo-auto/org", "messages": [{"role": "user", "role": "system"}]}',
            b'{"model": "\\ud800"}',
            b'{"\\udfff": 1}',
            b'{"a": NaN}',
            b'{"a": [-Infinity]}',
            b'{"a": 1e999}',
            b'{"a": -1e999}',
            b'{"a": ' + b"9" * 10_000 + b"}",
            b'{"a": 01}',
            b'{"a": "\n"}',
            b'{"a": ' * 100_000 + b"1" + b"}" * 100_000,
            b'{"a": ' + b"[" * 1_000_000,
            b'{"a": ' + b"[" * 129 + b"]" * 129 + b"}",
            b"\x00" * 1000,
        ],
        ids=lambda raw: repr(raw[:20]),
    )
    def test_what_is_no_json_object(self, tenant: Tenant, written: list[Usage], raw: bytes) -> None:
        for path in PATHS:
            assert len(refused(call(path, raw, tenant.key), 400, "invalid_request", path)) < 200
        assert written == []

    def test_the_text_is_not_repeated(self, tenant: Tenant) -> None:
        """A prompt has no place in an error, which is logged by clients and shown on pages."""
        for raw in (b'{"canary-5f2": canary-5f2}', b'{"canary-5f2": 1, "canary-5f2": 2}', b'{"a": "canary-5f2'):
            assert b"canary-5f2" not in call(CHAT, raw, tenant.key).content


class TestModelIds:
    @pytest.mark.parametrize(
        "model",
        [
            "nobody/\r\nx-evil: 1",
            "nobody/\x00\x1b[31m\x7f\x85\u2028",
            "nobody/é\U0001f600",
            "nobody/<script>alert(1)</script>{{7*7}}{% load x %}",
            "nobody/'; DROP TABLE organizations_apikey; --",
            "../../etc/passwd",
            "neuralwatt/../../../v1/other",
            "neuralwatt/",
            "/neuralwatt",
            "kilo-internal/secret",
            "kilo-auto/",
            "kilo-auto/org/",
            "*",
            "anthropic/*",
            "~openai/latest",
            "%00%0d%0a",
            "x" * MAX_MODEL_LENGTH,
        ],
        ids=lambda model: repr(model)[:20],
    )
    def test_odd_ones_are_not_found(self, tenant: Tenant, written: list[Usage], model: str) -> None:
        for path in PATHS:
            answer = call(path, body_of(path, model), tenant.key)
            assert answer.status in {400, 404}
            check_error(answer.status, answer.headers, answer.json(), path)
            clean(answer.headers.values())
        for usage in written:
            clean([usage.requested_model, usage.target, usage.route, usage.mode])
            assert len(usage.requested_model) <= 200

    @pytest.mark.parametrize("length", [MAX_MODEL_LENGTH + 1, 1_000_000])
    def test_a_long_one_is_refused_and_not_remembered(self, tenant: Tenant, written: list[Usage], length: int) -> None:
        answer = call(CHAT, body_of(CHAT, "x" * length), tenant.key)
        assert len(refused(answer, 404, "model_not_found", CHAT)) < 100
        assert written == []

    def test_inventing_ids_and_modes_does_not_fill_the_memory(self, tenant: Tenant) -> None:
        long = "é" * (MAX_MODEL_LENGTH - 20)
        for number in range(resolution.MAX_DECISIONS_PER_ORGANIZATION + 40):
            call(CHAT, body_of(CHAT, f"{long}{number}"), tenant.key, headers={"x-kilocode-mode": f"m{number}" * 100})
        memory = resolution._memories[tenant.organization.pk].decisions
        assert len(memory) <= resolution.MAX_DECISIONS_PER_ORGANIZATION
        assert max(sum(sys.getsizeof(part) for part in key) for key in memory) < 10_000


class TestModes:
    @pytest.mark.parametrize(
        "mode",
        [
            "a\r\nx-evil: 1",
            "a\nSet-Cookie: x=1",
            "\x00\x01\x1f\x7f\x80\x9f\xa0\xad",
            "é\xff",
            "a" * 10_000,
            "code" + "a" * 496 + "\r\n",
            "%(mode)s{0}{mode!r}",
            '"\\',
            "kilo-auto/org:code",
        ],
        ids=lambda mode: repr(mode)[:20],
    )
    def test_odd_ones_get_the_fallback(self, tenant: Tenant, written: list[Usage], mode: str) -> None:
        answer = call(CHAT, body_of(CHAT, "kilo-auto/org"), tenant.key, headers={"x-kilocode-mode": mode})
        assert (answer.status, answer.headers["x-kilo-route"]) == (200, "fallback")
        assert "x-evil" not in answer.headers
        clean(answer.headers.values())
        clean([written[0].mode])
        assert len(written[0].mode) <= 500
        assert len(answer.headers["x-kilo-mode"]) <= 6000

    @pytest.mark.parametrize("suffix", ["a\r\nx-evil: 1", "\x00\u2028\U0001f600", "é" * 900, "İ" * 500])
    def test_odd_suffixes_too(self, tenant: Tenant, written: list[Usage], suffix: str) -> None:
        answer = call(CHAT, body_of(CHAT, f"kilo-auto/org:{suffix}"), tenant.key)
        assert (answer.status, answer.headers["x-kilo-route"]) == (200, "fallback")
        clean(answer.headers.values())
        clean([written[0].mode, written[0].requested_model])
        assert len(written[0].mode) <= 500

    def test_only_the_first_500_characters_count(self, tenant: Tenant) -> None:
        padded = call(CHAT, body_of(CHAT, "kilo-auto/org"), tenant.key, headers={"x-kilocode-mode": " " * 496 + "code"})
        assert padded.headers["x-kilo-route"] == "exact:code"
        cut = call(CHAT, body_of(CHAT, "kilo-auto/org"), tenant.key, headers={"x-kilocode-mode": " " * 497 + "code"})
        assert cut.headers["x-kilo-mode"] == "cod"

    @pytest.mark.parametrize("name", ["taskid", "editorname", "feature", "machineid", "projectid", "organizationid"])
    @pytest.mark.parametrize("value", ["a\r\nx-evil: 1\x00", "é" * 10_000, "%s%n{}", "\x1b[2J"])
    def test_other_headers(self, tenant: Tenant, written: list[Usage], name: str, value: str) -> None:
        headers = {f"x-kilocode-{name}": value, "anthropic-beta": value, "anthropic-version": value}
        for path in (CHAT, MESSAGES):
            answer = call(path, body_of(path), tenant.key, headers=headers)
            assert answer.status == 200
            clean(answer.headers.values())
        for usage in written:
            clean([usage.task_id, usage.editor, usage.feature])
            assert max(len(usage.task_id), len(usage.editor), len(usage.feature)) <= 500

    def test_nothing_of_the_clients_headers_goes_upstream(self, tenant: Tenant, hosted_upstream: DemoUpstream) -> None:
        sent = {
            "cookie": "canary-1", "x-forwarded-for": "canary-2", "host": "canary-3", "user-agent": "canary-4",
            "x-api-key": "canary-5", "proxy-authorization": "canary-6", "x-kilocode-organizationid": "canary-7",
            "http-referer": "canary-8", "accept": "canary-9", "anthropic-version": "v\r\nx-evil: 1",
        }  # fmt: skip
        for path in PATHS:
            assert call(path, body_of(path, "openai/gpt-5-mini"), tenant.key, headers=sent).status == 200
        seen = json.dumps([request["headers"] for request in hosted_upstream.completions()])
        assert "canary" not in seen
        assert tenant.key not in seen
        assert "x-evil" not in {name for request in hosted_upstream.completions() for name in request["headers"]}


def clean(texts: Iterable[str]) -> None:
    """No line break, no control character."""
    for text in texts:
        assert text.isprintable(), text


class CountingStream(io.BytesIO):
    """A request body that notes how much of it was read, and gives at most so much at once."""

    def __init__(self, content: bytes, at_once: int = sys.maxsize) -> None:
        super().__init__(content)
        self._at_once = at_once

    def read(self, size: int | None = -1, /) -> bytes:
        wanted = self._at_once if size is None or size < 0 else min(size, self._at_once)
        return super().read(wanted)


class TestReading:
    """The size of a body is bounded before it is read."""

    LIMIT = 1_000_000

    @pytest.fixture(autouse=True)
    def _limit(self, settings: Any) -> None:
        settings.MAX_REQUEST_BYTES = self.LIMIT

    def read(self, stream: CountingStream, stated: str = "", *, terminated: bool = True) -> bytes:
        environ = {"CONTENT_LENGTH": stated, "wsgi.input": stream, "wsgi.input_terminated": terminated}
        return read_body(environ, stated_length(environ))

    def refusal(self, stream: CountingStream, stated: str = "") -> tuple[ErrorType, int]:
        with pytest.raises(GatewayError) as caught:
            self.read(stream, stated)
        return caught.value.error_type, caught.value.status

    @pytest.mark.parametrize("at_once", [1, 7, sys.maxsize])
    @pytest.mark.parametrize("stated", ["2000", "0002000", ""])
    def test_it_works(self, stated: str, at_once: int) -> None:
        content = bytes(range(250)) * 8
        assert self.read(CountingStream(content, at_once), stated) == content

    def test_what_follows_is_the_next_requests(self) -> None:
        assert self.read(CountingStream(b"12345GET / HTTP/1.1"), "5") == b"12345"

    def test_up_to_the_limit(self) -> None:
        assert len(self.read(CountingStream(b"x" * self.LIMIT), str(self.LIMIT))) == self.LIMIT
        assert len(self.read(CountingStream(b"x" * self.LIMIT))) == self.LIMIT

    @pytest.mark.parametrize(
        "stated",
        [
            "1000001",
            "0" * 30 + "1000001",
            "9" * 20,
            "9" * 5000,
            "0" * 20 + "9" * 5000,
            "1" + "0" * 20,
            "18446744073709551616",
        ],
        ids=lambda stated: stated[:10],
    )
    def test_a_stated_length_beyond_it_is_not_read_at_all(self, stated: str) -> None:
        stream = CountingStream(b"x" * 5000)
        assert self.refusal(stream, stated) == (ErrorType.REQUEST_TOO_LARGE, 413)
        assert stream.tell() == 0

    def test_an_unstated_length_beyond_it_is_read_no_further(self) -> None:
        stream = CountingStream(b"x" * (self.LIMIT * 5))
        assert self.refusal(stream) == (ErrorType.REQUEST_TOO_LARGE, 413)
        assert stream.tell() <= self.LIMIT + READ_BYTES

    @pytest.mark.parametrize(
        "stated", ["-1", "+1", "1.0", "0x10", "1e3", "1 1", "1,1", "abc", "\xb2", "\u0663", " 5", "5 "]
    )
    def test_what_is_no_length(self, stated: str) -> None:
        stream = CountingStream(b"x" * 50)
        assert self.refusal(stream, stated) == (ErrorType.INVALID_REQUEST, 400)
        assert stream.tell() == 0

    def test_a_body_that_ends_early(self) -> None:
        assert self.refusal(CountingStream(b"x" * 50), "51") == (ErrorType.INVALID_REQUEST, 400)

    @pytest.mark.parametrize("stated", ["", "0", "000"])
    def test_no_body(self, stated: str) -> None:
        assert self.read(CountingStream(b""), stated) == b""

    def test_a_server_that_marks_no_end(self) -> None:
        assert self.read(CountingStream(b"of the next request"), terminated=False) == b""


@pytest.mark.parametrize("key", ["Model", "MODEL", "mOdel"])
def test_a_second_model_in_another_case(key: str) -> None:
    """A parser that does not look at the case would take it for the decided one."""
    body = JsonBody(json.dumps({"model": "kilo-auto/org", key: "other/model", "messages": [{}]}).encode())
    with pytest.raises(GatewayError) as caught:
        validate(body, ApiKind.CHAT_COMPLETIONS)
    assert (caught.value.status, caught.value.error_type) == (400, "unsupported_field")
