"""Whatever a client sends, it gets an answer that it can read, and the books stay right.

Everything is real but the client's socket: the WSGI application, PostgreSQL, an upstream on loopback.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kilo_gateway.api_errors import ErrorType
from organizations.api_keys import api_key_create
from organizations.audit import COMMAND
from organizations.models import Plan, Scope
from routing.demo import DemoUpstream
from routing.models import HostedBalance, UsageRecord
from routing.proxy.urls import PROXY_VIEWS
from routing.proxy.usage_writer import writer
from tests.support.errors import check_error
from tests.support.inprocess import CHAT, MESSAGES, RESPONSES, Answer, call
from tests.support.tenants import PROVIDER_SECRET, auto_settings, make_tenant

SEEN = ("x-kilo-mode", "x-kilo-route", "x-kilo-target")
SERVED = (*SEEN, "x-kilo-model", "x-kilo-provider", "x-kilo-byok")
# All that may ever go upstream, by the name of the header.
SENT_UPSTREAM = {
    "host", "content-length", "content-type", "accept", "accept-encoding", "user-agent", "authorization", "x-api-key",
    "http-referer", "x-title", "anthropic-version", "anthropic-beta", "x-opencode-session", "connection",
}  # fmt: skip


@dataclass
class World:
    keys: list[str]
    organizations: list[str]
    allowed: set[tuple[UUID, UUID | None]]
    """Which key may act for which organization."""
    upstream: DemoUpstream


@pytest.fixture
def world(committed_db: None, hosted_upstream: DemoUpstream, settings: Any) -> World:
    """Organizations of every kind: routed to tiers and to an own key, under a policy, broke, and misconfigured."""
    settings.PROVIDER_BASE_URLS = dict.fromkeys(("neuralwatt", "opencode-go"), f"{hosted_upstream.base_url}/v1")
    routes = {"code": "neuralwatt/kimi-k2", "ask": "opencode-go/glm", "docs": "openai/gpt-5-mini", "plan": "gone/model"}
    routed = make_tenant(settings=auto_settings(routes))
    confined = make_tenant(
        settings={
            **auto_settings({"code": "anthropic/claude-sonnet-5"}, fallback="openai/gpt-5-mini"),
            "provider_allow_list": ["anthropic", "openai"],
            "model_deny_list": ["openai/gpt-5.4"],
            "data_collection": "deny",
        }
    )
    broke = make_tenant()
    HostedBalance.objects.create(organization=broke.organization, balance_microdollars=0)
    tenants = [
        routed,
        confined,
        broke,
        make_tenant(plan=Plan.TEAMS),
        make_tenant(settings={}),
        make_tenant(settings={"org_auto_model": ["not", "an", "object"], "default_model": "kilo-auto/org"}),
        make_tenant(settings=auto_settings({}, fallback=None)),
    ]
    for tenant in tenants:
        tenant.store_credential("neuralwatt", offered_models=["Kimi-K2"])
        tenant.store_credential("opencode-go")
    unbound = api_key_create(user=routed.user, name="unbound", scopes=[Scope.INFERENCE], actor=COMMAND)
    manager = api_key_create(user=routed.user, name="manager", scopes=[Scope.MANAGEMENT], actor=COMMAND)
    keys = [tenant.key for tenant in tenants] + [unbound.secret.reveal(), manager.secret.reveal()]
    allowed = {(tenant.user.api_keys.get(name="test").pk, tenant.organization.pk) for tenant in tenants}
    allowed |= {(unbound.row.pk, None), (unbound.row.pk, routed.organization.pk)}
    return World(
        # The first two are asked most: there, most is done with a body.
        keys=[routed.key, confined.key] * 6 + keys,
        organizations=[str(tenant.organization.pk) for tenant in tenants],
        allowed=allowed,
        upstream=hosted_upstream,
    )


# ---------------------------------------------------------------- what is sent

texts = st.text(max_size=8)
numbers = st.integers() | st.integers(-(10**30), 10**30) | st.floats(allow_nan=False, allow_infinity=False)
scalars = st.none() | st.booleans() | numbers | texts
junk = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3), max_leaves=6
)

models = st.sampled_from(
    [
        *["kilo-auto/org"] * 6, " KILO-AUTO/Org ", "kilo-auto/org:code", "kilo-auto/org:ask", "kilo-auto/org:docs",
        "kilo-auto/org:\r\nx: y", "kilo-auto/org:" + "é\U0001f600" * 400, "kilo-auto/free", "kilo-auto/balanced",
        "kilo-auto/frontier", "kilo-auto/small", "kilo-auto/nothing", "kilo-internal/x", "openai/gpt-5-mini",
        "openai/gpt-5.4", "anthropic/claude-sonnet-5", "anthropic/claude-sonnet-5:free", "neuralwatt/kimi-k2",
        "neuralwatt/", "neuralwatt/\x00", "opencode-go/glm", "opencode-go/\r\n", "groq-byok/x", "x" * 1000, "x" * 1001,
        "anthropic/*", "/", "é/ü", "a\u2028b",
    ]
)  # fmt: skip
message = st.fixed_dictionaries(
    {"role": st.sampled_from(["user", "assistant", "system", "tool", "developer", 5, None])},
    optional={"content": texts | st.lists(junk, max_size=2) | junk, "tool_calls": junk, "cache_control": junk},
)
conversation = st.lists(message, min_size=1, max_size=3) | st.lists(junk, max_size=2) | junk
effort = st.sampled_from(["none", "low", "high", "\x00", 3, None])
provider = st.fixed_dictionaries(
    {},
    optional={
        "only": st.lists(st.sampled_from(["anthropic", "openai", "evil", 5, None]), max_size=3) | junk,
        "order": junk,
        "ignore": junk,
        "data_collection": st.sampled_from(["allow", "deny", 5]),
        "allow_fallbacks": junk,
    },
)
known_fields: dict[str, st.SearchStrategy[Any]] = {
    "stream": st.sampled_from([True, True, False, None, 1, "true"]),
    "stream_options": st.fixed_dictionaries({}, optional={"include_usage": st.booleans() | junk}) | junk,
    "provider": provider | junk,
    "reasoning": st.fixed_dictionaries({}, optional={"effort": effort, "max_tokens": junk, "enabled": junk}) | junk,
    "reasoning_effort": effort | junk,
    "verbosity": junk,
    "text": st.fixed_dictionaries({}, optional={"verbosity": junk, "format": junk}) | junk,
    "thinking": st.fixed_dictionaries({"type": st.sampled_from(["enabled", "disabled", "adaptive"])}) | junk,
    "output_config": st.fixed_dictionaries({}, optional={"effort": effort}) | junk,
    "store": st.sampled_from([False, False, True, None, 1, "no"]),
    "previous_response_id": st.none() | junk,
    "max_tokens": st.just(10) | junk,
    "temperature": st.floats() | numbers | junk,
    "tools": st.lists(junk, max_size=2) | junk,
    "metadata": junk,
    "user": junk,
}
rare_fields = {"providerOptions": junk, "models": junk, "plugins": junk, "system": junk, "instructions": junk}


def sometimes(draw: st.DrawFn) -> bool:
    return draw(st.sampled_from([False, False, False, True]))


def rarely(draw: st.DrawFn) -> bool:
    return draw(st.sampled_from([False] * 14 + [True]))


@st.composite
def bodies(draw: st.DrawFn) -> dict[str, Any]:
    """Mostly a request that is nearly right: what is wrong everywhere is refused at the first check."""
    body: dict[str, Any] = {"model": draw(junk if rarely(draw) else models)}
    plain_messages, plain_input = [{"role": "user", "content": "hello"}], "hello"
    body["messages"] = draw(conversation) if sometimes(draw) else plain_messages
    body["input"] = draw(conversation) if sometimes(draw) else plain_input
    for name in draw(st.lists(st.sampled_from(sorted(known_fields)), max_size=4, unique=True)):
        body[name] = draw(known_fields[name])
    if rarely(draw):
        name = draw(st.sampled_from(sorted(rare_fields)))
        body[name] = draw(rare_fields[name])
    body |= draw(st.just({}) | st.just({}) | st.dictionaries(texts, junk, max_size=2))
    if rarely(draw):
        body.pop(draw(st.sampled_from(sorted(body))))
    return body


# What a WSGI server may hand over: characters of Latin-1.
latin = st.text(st.characters(max_codepoint=255), max_size=20)
modes = st.sampled_from(["code", "ask", "docs", "plan", "build", "Code ", "nobody", "", "a" * 10_000]) | latin
headers = st.fixed_dictionaries(
    {},
    optional={
        "x-kilocode-mode": modes,
        "x-kilocode-taskid": latin | st.just("t" * 10_000),
        "x-kilocode-editorname": latin,
        "x-kilocode-feature": latin,
        "x-kilocode-machineid": latin,
        "anthropic-version": latin,
        "anthropic-beta": latin,
        "content-encoding": latin,
        "accept": latin,
        "cookie": latin,
        "x-forwarded-for": latin,
        "http-method-override": latin,
    },
)
paths = st.sampled_from([CHAT, CHAT, RESPONSES, RESPONSES, MESSAGES, MESSAGES, *PROXY_VIEWS])
snippets = [
    b"{", b"}", b"[", b"]", b'"', b",", b":", b"\\", b"\\ud800", b"NaN", b"-", b"1e999", b"\xff", b"\xef\xbb\xbf",
    b"\x00", b"\n", b'"model"', b'"providerOptions":0,', b"9" * 5000, b"[" * 3000,
]  # fmt: skip


@st.composite
def broken_texts(draw: st.DrawFn) -> bytes:
    """The text of a good body with a few places cut out or written over."""
    raw = draw(
        st.sampled_from(
            [
                b'{"model":"kilo-auto/org","messages":[{"role":"user","content":"hi"}],"input":"hi","stream":true}',
                b' {\n"input" : [ {"role":"user"} ] , "messages":[{}],"model" : "openai/gpt-5-mini", "a":[1.5e3,-0]}\n',
                '{"model":"kilo-auto/org:plan","messages":[{"content":"é\\ud83d\\ude00\U0001f600"}],"input":"\\u0000"}'.encode(),
            ]
        )
    )
    for _ in range(draw(st.integers(0, 3))):
        start = draw(st.integers(0, len(raw)))
        end = min(len(raw), start + draw(st.integers(0, 4)))
        raw = raw[:start] + draw(st.just(b"") | st.sampled_from(snippets) | st.binary(max_size=3)) + raw[end:]
    return raw


# ---------------------------------------------------------------- what has to hold


class Books:
    """Which answers there were, to be compared with the usage records."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.resolved: dict[str, int] = {}
        self.statuses: dict[int, int] = {}

    def check(self, path: str, answer: Answer) -> None:
        self.statuses[answer.status] = self.statuses.get(answer.status, 0) + 1
        request_id = answer.headers["x-request-id"]
        UUID(request_id)
        assert request_id not in self.resolved
        for name, value in answer.headers.items():
            assert value.isascii(), name
            assert value.isprintable(), name
            assert len(value) < 8000, name
        # Upstream and database are sound, so nothing may look like a failure; a policy may leave no free model.
        assert answer.status in {200, 400, 401, 402, 403, 404, 503}
        assert answer.status != 503 or answer.error_type == ErrorType.NO_FREE_MODELS_AVAILABLE
        if answer.status >= 400:
            check_error(answer.status, answer.headers, answer.json(), path)
            assert len(answer.content) < 20_000
        else:
            assert all(name in answer.headers for name in SERVED)
        if "x-kilo-mode" in answer.headers:
            self.resolved[request_id] = answer.status
        assert not any(key in str(answer.headers) or key.encode() in answer.content for key in self.world.keys)
        assert PROVIDER_SECRET.encode() not in answer.content

    def balance(self) -> None:
        """One usage record for each request that reached resolution, with its status, and no other."""
        writer.flush()
        written = {
            str(request_id): status for request_id, status in UsageRecord.objects.values_list("request_id", "status")
        }
        assert written == self.resolved
        assert writer.dropped == 0
        sent = self.world.upstream.completions()
        assert {name for request in sent for name in request["headers"]} <= SENT_UPSTREAM
        assert {request["key_last_four"] for request in sent} <= {"0001", "abcd"}


def fuzzing(examples: int) -> Any:
    return settings(
        max_examples=examples,
        deadline=None,
        suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large],
    )


def test_any_json(world: World) -> None:
    books = Books(world)

    @fuzzing(1100)
    @given(path=paths, key=st.sampled_from(world.keys), body=bodies(), sent=headers)
    def ask(path: str, key: str, body: dict[str, Any], sent: dict[str, str]) -> None:
        raw = json.dumps(body, ensure_ascii=len(body) % 2 == 0).encode("utf-8", "surrogatepass")
        books.check(path, call(path, raw, key, headers=sent))

    ask()
    books.balance()
    # Most of what was asked must have got as far as it can, or this test tests only the parser.
    assert books.statuses[200] > 120
    assert len(books.resolved) > 400


def test_any_text(world: World) -> None:
    books = Books(world)

    @fuzzing(400)
    @given(path=paths, key=st.sampled_from(world.keys), raw=broken_texts() | st.binary(max_size=40))
    def ask(path: str, key: str, raw: bytes) -> None:
        answer = call(path, raw, key)
        books.check(path, answer)
        if answer.status == 200:
            json.loads(raw)

    ask()
    books.balance()
    assert books.statuses[200] > 20


def test_any_credential_and_organization(world: World) -> None:
    """The organization that is acted for is always one of the key's person."""
    books = Books(world)
    keys = st.sampled_from(world.keys) | latin
    organizations = st.sampled_from(world.organizations) | st.uuids().map(str) | latin
    schemes = st.sampled_from(["Bearer ", "bearer ", "Basic ", "", " "]) | latin

    @fuzzing(200)
    @given(path=paths, key=keys, organization=organizations, scheme=schemes, also=st.none() | keys)
    def ask(path: str, key: str, organization: str, scheme: str, also: str | None) -> None:
        sent = {"authorization": f"{scheme}{key}", "x-kilocode-organizationid": organization}
        if also is not None:
            sent["x-api-key"] = also
        body = {"model": "kilo-auto/free", "messages": [{"role": "user", "content": "hello"}], "input": "hello"}
        books.check(path, call(path, body, headers=sent))

    ask()
    books.balance()
    assert set(UsageRecord.objects.values_list("api_key_id", "organization_id")) <= world.allowed
