"""What goes upstream: the body with its few changes, and headers of ours alone."""

from __future__ import annotations

import json
from typing import Any
from uuid import UUID, uuid4

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pytest_django import Settings

from byok.encryption import SecretOwner, UndecryptableSecret
from byok.keys import keyring
from byok.providers import PROVIDERS
from byok.selectors import StoredCredential
from kilo_gateway.api_errors import ErrorType, GatewayError
from kilo_gateway.api_kinds import ApiKind
from kilo_gateway.secret import Secret
from routing.catalog.parse import provider_slug
from routing.domain.targets import ModelChoice, ValidTarget
from routing.domain.types import TargetKind
from routing.proxy.answer import byok_error
from routing.proxy.body import JsonBody
from routing.proxy.hosted import HostedUpstream
from routing.proxy.identity import Stamp
from routing.proxy.outgoing import Outgoing, client_text, direct_request, hosted_request, is_confined, rewrite
from routing.resolution import Settled
from tests.routing.domain.worlds import KIMI, SONNET, decide

CHAT, RESPONSES, MESSAGES = ApiKind.CHAT_COMPLETIONS, ApiKind.RESPONSES, ApiKind.MESSAGES
KINDS = pytest.mark.parametrize("api_kind", list(ApiKind))

# A busy machine is no reason to fail.
thorough = settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def hosted(*only: str) -> ValidTarget:
    return ValidTarget(SONNET, TargetKind.HOSTED, (ModelChoice(SONNET, SONNET, only or None),))


def tier(effort: str = "", verbosity: str = "", only: tuple[str, ...] | None = None) -> ValidTarget:
    return ValidTarget(
        "kilo-auto/frontier",
        TargetKind.TIER,
        (ModelChoice(SONNET, SONNET, only),),
        reasoning_effort=effort,
        verbosity=verbosity,
    )


DIRECT = ValidTarget(
    "neuralwatt/kimi-k3",
    TargetKind.DIRECT,
    (ModelChoice("neuralwatt/kimi-k3", "Kimi-K3"),),
    provider_id="neuralwatt",
    credential_id="credential",
)


def sent_text(
    raw: bytes | str, target: ValidTarget, api_kind: ApiKind = CHAT, *, data_collection: str | None = None
) -> bytes:
    """The body as it goes upstream."""
    body = JsonBody(raw.encode() if isinstance(raw, str) else raw)
    settled = Settled(decide(None, model=KIMI), Stamp(1, 1, 1), data_collection=data_collection)
    return rewrite(body, api_kind, settled, target, target.models[0])


def sent(
    client: dict[str, Any], target: ValidTarget, api_kind: ApiKind = CHAT, *, data_collection: str | None = None
) -> dict[str, Any]:
    """What the upstream reads, without the model."""
    raw = json.dumps({"model": "kilo-auto/org", **client})
    found: dict[str, Any] = json.loads(sent_text(raw, target, api_kind, data_collection=data_collection))
    assert found.pop("model") == target.models[0].upstream_id
    return found


def test_it_works() -> None:
    raw = '{ "model":"kilo-auto/org",\n "messages":[{"role":"user","content":"\\u00e9 é"}], "temperature":1.0 }'
    assert sent_text(raw, hosted()) == raw.replace("kilo-auto/org", SONNET).encode()


# ---------------------------------------------------------------- the model


@KINDS
@pytest.mark.parametrize("target", [hosted(), tier(), DIRECT])
@pytest.mark.parametrize("asked", ["kilo-auto/org", " Kilo-Auto/ORG:plan ", "ANTHROPIC/Claude-Sonnet-5"])
def test_the_model_is_what_the_upstream_calls_it(asked: str, target: ValidTarget, api_kind: ApiKind) -> None:
    raw = json.dumps({"before": 1.10, "model": asked, "after": {"model": asked}})
    expected = raw.replace(json.dumps(asked), json.dumps(target.models[0].upstream_id), 1)
    assert sent_text(raw, target, api_kind) == expected.encode()


@KINDS
@pytest.mark.parametrize("target", [hosted(), tier(), DIRECT])
def test_a_body_that_already_names_it_goes_through_as_it_is(target: ValidTarget, api_kind: ApiKind) -> None:
    raw = f'{{"\\u006dodel"  : "{target.models[0].upstream_id}" }}'
    assert sent_text(raw, target, api_kind) == raw.encode()


def test_a_model_that_is_only_spelled_otherwise_is_left_alone() -> None:
    raw = f'{{"model":"\\u0061{SONNET[1:]}"}}'
    assert json.loads(raw) == {"model": SONNET}
    assert sent_text(raw, hosted()) == raw.encode()


def test_of_a_tier_the_chosen_model_is_sent() -> None:
    choices = (ModelChoice("a/one:free", "a/one:free"), ModelChoice("a/two:free", "a/two:free"))
    target = ValidTarget("kilo-auto/free", TargetKind.TIER, choices)
    settled = Settled(decide(None, model=KIMI), Stamp(1, 1, 1))
    for choice in choices:
        body = rewrite(JsonBody(b'{"model":"kilo-auto/free"}'), CHAT, settled, target, choice)
        assert body == b'{"model":"%s"}' % choice.id.encode()


# ---------------------------------------------------------------- a concrete target is left alone

OWN_TUNING: dict[str, Any] = {
    "reasoning": {"effort": "low", "max_tokens": 5},
    "reasoning_effort": "high",
    "verbosity": "high",
    "text": {"verbosity": "high"},
    "thinking": {"type": "enabled", "budget_tokens": 2048},
    "output_config": {"effort": "max"},
    "provider": {"only": ["x"], "order": ["y"], "data_collection": "allow"},
    "unknown": {"future": [1, None, {"x": 1.0}]},
}


@KINDS
@pytest.mark.parametrize("target", [hosted(), DIRECT], ids=["hosted", "direct"])
@pytest.mark.parametrize("data_collection", [None, "allow", ""])
def test_a_concrete_target_changes_nothing_but_the_model(
    target: ValidTarget, api_kind: ApiKind, data_collection: str | None
) -> None:
    raw = json.dumps({**OWN_TUNING, "model": "kilo-auto/org", "stream": False})
    expected = raw.replace('"kilo-auto/org"', json.dumps(target.models[0].upstream_id))
    assert sent_text(raw, target, api_kind, data_collection=data_collection) == expected.encode()


@KINDS
def test_the_model_policy_does_not_reach_a_direct_target(api_kind: ApiKind) -> None:
    raw = json.dumps({**OWN_TUNING, "model": "Kimi-K3"})
    assert sent_text(raw, DIRECT, api_kind, data_collection="deny") == raw.encode()


scalars = (
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=5)
)
shallow = scalars | st.lists(scalars, max_size=3) | st.dictionaries(st.text(max_size=5), scalars, max_size=3)
json_values = shallow | st.lists(shallow, max_size=3) | st.dictionaries(st.text(max_size=5), shallow, max_size=3)
members = st.dictionaries(
    st.sampled_from([*OWN_TUNING, "stream_options", "messages", "tools", "metadata"]), json_values, max_size=6
)


@thorough
@given(members, st.sampled_from([hosted(), DIRECT]), st.sampled_from(ApiKind), st.booleans(), st.booleans())
def test_whatever_else_the_client_sends_arrives_as_it_was_sent(
    client: dict[str, Any], target: ValidTarget, api_kind: ApiKind, ascii_only: bool, model_first: bool
) -> None:
    model = {"model": "kilo-auto/org"}
    raw = json.dumps({**model, **client} if model_first else {**client, **model}, ensure_ascii=ascii_only)
    place = raw.index('"model": "kilo-auto/org"') if model_first else raw.rindex('"model": "kilo-auto/org"')
    name = json.dumps(target.models[0].upstream_id)
    expected = raw[:place] + f'"model": {name}' + raw[place + len('"model": "kilo-auto/org"') :]
    assert sent_text(raw, target, api_kind) == expected.encode()


# ---------------------------------------------------------------- usage of a stream


@pytest.mark.parametrize("target", [hosted(), tier(), DIRECT])
@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, {"include_usage": True}),
        ({"stream_options": None}, {"include_usage": True}),
        ({"stream_options": {}}, {"include_usage": True}),
        ({"stream_options": {"include_usage": False}}, {"include_usage": True}),
        ({"stream_options": {"include_usage": None}}, {"include_usage": True}),
        ({"stream_options": {"include_usage": 1}}, {"include_usage": True}),
        ({"stream_options": {"x": 1, "include_usage": False}}, {"x": 1, "include_usage": True}),
        ({"stream_options": {"x": [1.5]}}, {"x": [1.5], "include_usage": True}),
    ],
)
def test_a_chat_stream_is_asked_for_its_usage(
    options: dict[str, Any], expected: dict[str, Any], target: ValidTarget
) -> None:
    found = sent({"stream": True, **options}, target)
    assert found == {"stream": True, "stream_options": expected}
    assert found["stream_options"]["include_usage"] is True


def test_a_stream_that_asks_for_its_usage_itself_is_left_alone() -> None:
    raw = f'{{"model":"{SONNET}","stream":true,"stream_options":{{ "include_usage" : true,"x":1.0 }}}}'
    assert sent_text(raw, hosted()) == raw.encode()


@pytest.mark.parametrize("options", [[], "include_usage", True, 1])
def test_stream_options_of_another_shape_are_refused(options: Any) -> None:
    with pytest.raises(GatewayError, match="stream_options") as caught:
        sent({"stream": True, "stream_options": options}, hosted())
    assert (caught.value.error_type, caught.value.status) == (ErrorType.INVALID_REQUEST, 400)


@pytest.mark.parametrize(
    ("client", "api_kind"),
    [
        ({}, CHAT),
        ({"stream": False}, CHAT),
        ({"stream": None}, CHAT),
        ({"stream": False, "stream_options": {"include_usage": False}}, CHAT),
        ({"stream": True}, RESPONSES),
        ({"stream": True, "stream_options": {"include_obfuscation": False}}, RESPONSES),
        ({"stream": True}, MESSAGES),
    ],
)
def test_other_requests_get_no_stream_options(client: dict[str, Any], api_kind: ApiKind) -> None:
    assert sent(client, hosted(), api_kind) == client


# ---------------------------------------------------------------- the policy, upstream


@KINDS
@pytest.mark.parametrize("target", [hosted("anthropic", "google-vertex"), tier(only=("anthropic", "google-vertex"))])
@pytest.mark.parametrize(
    ("provider", "expected"),
    [
        (None, ["anthropic", "google-vertex"]),
        ({}, ["anthropic", "google-vertex"]),
        ({"only": None}, ["anthropic", "google-vertex"]),
        ({"only": ["anthropic"]}, ["anthropic"]),
        ({"only": []}, ["anthropic", "google-vertex"]),
        ({"only": ["google-vertex", "anthropic"]}, ["google-vertex", "anthropic"]),
        ({"only": ["openai", "google-vertex"]}, ["google-vertex"]),
        ({"only": ["Anthropic ", "anthropic", "openai/eu"]}, ["anthropic"]),
        ({"only": ["anthropic/us", "Google Vertex"]}, ["anthropic/us", "google-vertex"]),
        ({"only": ["google-vertex/europe-west1"]}, ["google-vertex/europe-west1"]),
    ],
)
def test_the_allowed_providers_are_merged_with_the_clients(
    provider: dict[str, Any] | None, expected: list[str], target: ValidTarget, api_kind: ApiKind
) -> None:
    assert sent({"provider": provider}, target, api_kind) == {"provider": {"only": expected}}
    if not provider:
        assert sent({}, target, api_kind) == {"provider": {"only": expected}}


@KINDS
@pytest.mark.parametrize("wanted", [["openai"], ["anthropic/*"], ["anthropic/ us"], ["*"], ["x/anthropic"], [""]])
def test_a_client_that_wants_none_of_the_allowed_providers_is_refused(wanted: list[Any], api_kind: ApiKind) -> None:
    """Not sent with the policy's own list: that would be a provider that the client did not want."""
    with pytest.raises(GatewayError) as caught:
        sent({"provider": {"only": wanted}}, hosted("anthropic"), api_kind)
    assert (caught.value.error_type, caught.value.status) == (ErrorType.MODEL_NOT_ALLOWED, 404)


@pytest.mark.parametrize(
    "wanted", ["anthropic", {"anthropic": True}, True, 1, [1], ["anthropic", None], [["anthropic"]]]
)
def test_only_of_another_shape_is_refused(wanted: Any) -> None:
    with pytest.raises(GatewayError, match=r"provider\.only") as caught:
        sent({"provider": {"only": wanted}}, hosted("anthropic"))
    assert (caught.value.error_type, caught.value.status) == (ErrorType.INVALID_REQUEST, 400)


@pytest.mark.parametrize("provider", ["anthropic", ["anthropic"], True, 1])
@pytest.mark.parametrize(("target", "data_collection"), [(hosted("anthropic"), None), (hosted(), "deny")])
def test_provider_of_another_shape_is_refused_where_the_policy_needs_it(
    provider: Any, target: ValidTarget, data_collection: str | None
) -> None:
    with pytest.raises(GatewayError, match='"provider" must be an object'):
        sent({"provider": provider}, target, data_collection=data_collection)


def test_the_rest_of_provider_stays_the_clients() -> None:
    client = {"order": ["anthropic", "openai"], "ignore": ["google-vertex"], "sort": "price", "zdr": True}
    found = sent({"provider": {**client, "only": ["anthropic"]}}, hosted("anthropic"), data_collection="deny")
    assert found == {"provider": {**client, "only": ["anthropic"], "data_collection": "deny"}}


@thorough
@given(
    st.lists(st.sampled_from("abcd"), min_size=1, unique=True),
    st.none() | st.lists(st.sampled_from([*"abcdef", "A", "a ", "a/x", "e/a", "*"])),
)
def test_the_client_never_widens_the_policy(allowed: list[str], wanted: list[Any] | None) -> None:
    client = {} if wanted is None else {"provider": {"only": wanted}}
    try:
        only = sent(client, hosted(*allowed))["provider"]["only"]
    except GatewayError:
        assert wanted
        assert not {provider_slug(entry) for entry in wanted} & set(allowed)
        return
    assert only
    assert {provider_slug(entry) for entry in only} <= set(allowed)
    kept = {entry.strip().lower() for entry in wanted or () if provider_slug(entry) in allowed}
    assert set(only) == (kept if wanted else set(allowed))


@KINDS
@pytest.mark.parametrize("target", [hosted(), tier(), hosted("anthropic")])
@pytest.mark.parametrize("client", [{}, {"data_collection": "allow"}, {"data_collection": "deny"}, {"x": 1}])
def test_data_collection_is_denied_whatever_the_client_says(
    client: dict[str, Any], target: ValidTarget, api_kind: ApiKind
) -> None:
    found = sent({"provider": client}, target, api_kind, data_collection="deny")["provider"]
    only = target.models[0].only_providers
    assert found == {**client, "data_collection": "deny", **({"only": list(only)} if only else {})}


@pytest.mark.parametrize("data_collection", [None, "allow", ""])
@pytest.mark.parametrize("asked", ["allow", "deny"])
def test_an_organization_that_does_not_deny_it_leaves_it_to_the_client(asked: str, data_collection: str | None) -> None:
    for target, only in ((hosted(), {}), (hosted("anthropic"), {"only": ["anthropic"]})):
        found = sent({"provider": {"data_collection": asked}}, target, data_collection=data_collection)
        assert found == {"provider": {"data_collection": asked, **only}}


@pytest.mark.parametrize(
    ("provider", "confined"),
    [
        (None, False),
        ({}, False),
        ({"only": None}, False),
        ({"only": ["anthropic"]}, True),
        ({"only": []}, False),
        ({"data_collection": "deny"}, True),
        ({"data_collection": "allow"}, False),
        ({"allow_fallbacks": False}, True),
        ({"allow_fallbacks": True}, False),
        ({"allow_fallbacks": None}, False),
        ({"ignore": ["openai"]}, True),
        ({"ignore": []}, False),
        ({"zdr": True}, True),
        ({"zdr": False}, False),
        ({"order": ["anthropic"], "sort": "price"}, False),
        ({"order": ["anthropic"], "allow_fallbacks": False}, True),
        ([], True),
        ("anthropic", True),
    ],
)
def test_what_confines_a_request_to_certain_providers(provider: Any, confined: bool) -> None:
    assert is_confined(JsonBody(json.dumps({"provider": provider}).encode())) is confined
    assert not is_confined(JsonBody(b"{}"))


@pytest.mark.parametrize(
    ("target", "data_collection"), [(hosted("anthropic"), None), (hosted(), "deny"), (tier(only=("anthropic",)), None)]
)
def test_a_request_under_a_policy_is_confined(target: ValidTarget, data_collection: str | None) -> None:
    raw = sent_text('{"model":"kilo-auto/org"}', target, data_collection=data_collection)
    assert is_confined(JsonBody(raw))


# ---------------------------------------------------------------- a tier's tuning


@pytest.mark.parametrize(
    ("api_kind", "expected"),
    [
        (CHAT, {"reasoning": {"effort": "medium"}, "verbosity": "low"}),
        (RESPONSES, {"reasoning": {"effort": "medium"}, "text": {"verbosity": "low"}}),
        (MESSAGES, {"thinking": {"type": "adaptive"}, "output_config": {"effort": "medium"}}),
    ],
)
def test_effort_and_verbosity_in_the_shape_of_the_api(api_kind: ApiKind, expected: dict[str, Any]) -> None:
    assert sent({}, tier("medium", "low"), api_kind) == expected


@pytest.mark.parametrize(
    ("api_kind", "effort", "verbosity"),
    [
        (CHAT, {"reasoning": {"effort": "high"}}, {"verbosity": "high"}),
        (RESPONSES, {"reasoning": {"effort": "high"}}, {"text": {"verbosity": "high"}}),
        (
            MESSAGES,
            {"thinking": {"type": "adaptive"}, "output_config": {"effort": "high"}},
            {"output_config": {"effort": "high"}},
        ),
    ],
)
def test_one_without_the_other(api_kind: ApiKind, effort: dict[str, Any], verbosity: dict[str, Any]) -> None:
    assert sent({}, tier("high", ""), api_kind) == effort
    assert sent({}, tier("", "high"), api_kind) == verbosity


def test_an_effort_that_anthropic_does_not_know() -> None:
    assert sent({}, tier("minimal"), MESSAGES)["output_config"] == {"effort": "low"}


@KINDS
def test_a_tier_without_tuning_leaves_the_clients_own(api_kind: ApiKind) -> None:
    raw = json.dumps({**OWN_TUNING, "model": SONNET})
    assert sent_text(raw, tier(), api_kind) == raw.encode()


@pytest.mark.parametrize(
    ("api_kind", "client", "expected"),
    [
        (
            CHAT,
            {"reasoning": {"effort": "low", "exclude": True}, "verbosity": "high"},
            {"reasoning": {"exclude": True, "effort": "medium"}, "verbosity": "low"},
        ),
        (CHAT, {"reasoning": None}, {"reasoning": {"effort": "medium"}, "verbosity": "low"}),
        (
            RESPONSES,
            {
                "reasoning": {"effort": "high", "summary": "auto"},
                "text": {"verbosity": "high", "format": {"type": "text"}},
            },
            {
                "reasoning": {"summary": "auto", "effort": "medium"},
                "text": {"verbosity": "low", "format": {"type": "text"}},
            },
        ),
        (RESPONSES, {"text": None}, {"reasoning": {"effort": "medium"}, "text": {"verbosity": "low"}}),
        (
            MESSAGES,
            {
                "thinking": {"type": "enabled", "budget_tokens": 2048},
                "output_config": {"effort": "max", "format": {"type": "json_schema"}},
            },
            {
                "thinking": {"type": "adaptive"},
                "output_config": {"effort": "medium", "format": {"type": "json_schema"}},
            },
        ),
    ],
)
def test_the_tiers_tuning_replaces_the_clients_and_no_more(
    api_kind: ApiKind, client: dict[str, Any], expected: dict[str, Any]
) -> None:
    assert sent(client, tier("medium", "low"), api_kind) == expected


@pytest.mark.parametrize("api_kind", [CHAT, RESPONSES])
@pytest.mark.parametrize("other", [{"max_tokens": 2000}, {"enabled": False}, {"enabled": True, "max_tokens": 1}])
def test_effort_does_not_stand_beside_another_way_to_say_it(other: dict[str, Any], api_kind: ApiKind) -> None:
    """OpenRouter answers 400 to an effort together with a budget of tokens."""
    found = sent({"reasoning": {**other, "exclude": True}}, tier("high"), api_kind)
    assert found == {"reasoning": {"exclude": True, "effort": "high"}}


@pytest.mark.parametrize("client", [{"reasoning_effort": "low"}, {"reasoning_effort": None}])
def test_a_chat_client_that_says_it_as_openai_does_is_answered_in_its_words(client: dict[str, Any]) -> None:
    """OpenRouter answers 400 to `reasoning` beside `reasoning_effort`."""
    assert sent(client, tier("high")) == {"reasoning_effort": "high"}
    assert sent({**client, "reasoning": None}, tier("high")) == {"reasoning_effort": "high", "reasoning": None}


def test_openais_word_counts_only_where_it_is_one_and_alone() -> None:
    both = {"reasoning": {"effort": "low"}, "reasoning_effort": "low"}
    assert sent(both, tier("high")) == {"reasoning": {"effort": "high"}, "reasoning_effort": "low"}
    of_chat = {"reasoning_effort": "low"}
    assert sent(of_chat, tier("high"), RESPONSES) == {**of_chat, "reasoning": {"effort": "high"}}


@pytest.mark.parametrize(
    ("api_kind", "expected"),
    [
        (CHAT, {"reasoning": {"effort": "none"}}),
        (RESPONSES, {"reasoning": {"effort": "none"}}),
        (MESSAGES, {"thinking": {"type": "disabled"}}),
    ],
)
def test_a_tier_may_switch_reasoning_off(api_kind: ApiKind, expected: dict[str, Any]) -> None:
    assert sent({}, tier("none"), api_kind) == expected


def test_reasoning_that_is_off_has_no_effort() -> None:
    client = {"thinking": {"type": "adaptive"}, "output_config": {"effort": "max"}}
    assert sent(client, tier("none"), MESSAGES)["thinking"] == {"type": "disabled"}
    quiet = sent(client, tier("none", "low"), MESSAGES)
    assert quiet == {"thinking": {"type": "disabled"}, "output_config": {"effort": "low"}}


@pytest.mark.parametrize(
    ("api_kind", "key"),
    [(CHAT, "reasoning"), (RESPONSES, "reasoning"), (RESPONSES, "text"), (MESSAGES, "output_config")],
)
@pytest.mark.parametrize("value", ["medium", [], 1, True])
def test_what_a_tier_has_to_change_must_be_an_object(api_kind: ApiKind, key: str, value: Any) -> None:
    with pytest.raises(GatewayError, match=f'"{key}" must be an object') as caught:
        sent({key: value}, tier("medium", "low"), api_kind)
    assert caught.value.status == 400


def test_everything_at_once() -> None:
    raw = '{"stream":true, "model":"kilo-auto/org","provider":{"only":["b","c"]},"x":1.0}'
    text = sent_text(raw, tier("medium", "low", only=("a", "b")), data_collection="deny").decode()
    assert json.loads(text) == {
        "stream": True,
        "model": SONNET,
        "provider": {"only": ["b"], "data_collection": "deny"},
        "x": 1.0,
        "stream_options": {"include_usage": True},
        "reasoning": {"effort": "medium"},
        "verbosity": "low",
    }
    assert text.endswith(',"x":1.0}')


# ---------------------------------------------------------------- headers

CANARY = "sk-canary-7f3a9c51d2e8"
ENVIRON = {
    "HTTP_AUTHORIZATION": f"Bearer {CANARY}",
    "HTTP_X_API_KEY": CANARY,
    "HTTP_COOKIE": f"sessionid={CANARY}",
    "HTTP_X_KILOCODE_MODE": CANARY,
    "HTTP_X_KILOCODE_ORGANIZATIONID": CANARY,
    "HTTP_X_FORWARDED_FOR": CANARY,
    "HTTP_HOST": CANARY,
    "HTTP_USER_AGENT": CANARY,
    "HTTP_ACCEPT": CANARY,
    "HTTP_ACCEPT_ENCODING": CANARY,
    "HTTP_HTTP_REFERER": CANARY,
    "HTTP_X_TITLE": CANARY,
    "HTTP_ANTHROPIC_VERSION": "2024-01-01",
    "HTTP_ANTHROPIC_BETA": "one-beta,another-beta",
}
ORGANIZATION = UUID("6ec0bd7f-11c0-43da-975e-2a8ad9ebae0b")


def to_hosted(api_kind: ApiKind, environ: dict[str, str], *, streamed: bool = False) -> Outgoing:
    upstream = HostedUpstream("openrouter", "https://openrouter.test/api/v1", Secret("hosted-key"))
    return hosted_request(upstream, api_kind, environ, b"{}", streamed=streamed)


def to_direct(
    provider_id: str, api_kind: ApiKind, environ: dict[str, str], *, organization_id: UUID = ORGANIZATION
) -> Outgoing:
    owner = SecretOwner.organization(ORGANIZATION)
    sealed = keyring().encrypt(Secret("own-key"), owner=owner, provider_id=provider_id)
    stored = StoredCredential(uuid4(), SecretOwner.organization(organization_id), provider_id, sealed, None)
    provider = PROVIDERS[provider_id]
    return direct_request(stored, api_kind, environ, b"{}", provider=provider, streamed=False)


@KINDS
@pytest.mark.parametrize("streamed", [True, False])
def test_a_hosted_request(api_kind: ApiKind, streamed: bool, settings: Settings) -> None:
    settings.BASE_URL = "https://gateway.test"
    outgoing = to_hosted(api_kind, {}, streamed=streamed)
    paths = {CHAT: "chat/completions", RESPONSES: "responses", MESSAGES: "messages"}
    assert outgoing.url == f"https://openrouter.test/api/v1/{paths[api_kind]}"
    assert (outgoing.provider_id, outgoing.body) == ("openrouter", b"{}")
    expected = {
        "Content-Type": "application/json",
        "Accept": "text/event-stream" if streamed else "application/json",
        "Accept-Encoding": "identity",
        "User-Agent": outgoing.headers["User-Agent"],
        "Authorization": "Bearer hosted-key",
        "HTTP-Referer": "https://gateway.test",
        "X-Title": "Kilo Gateway",
    }
    if api_kind is MESSAGES:
        expected["anthropic-version"] = "2023-06-01"
    assert outgoing.headers == expected


@KINDS
def test_nothing_of_the_clients_headers_leaves_but_the_two_of_the_messages_api(api_kind: ApiKind) -> None:
    for outgoing in (to_hosted(api_kind, ENVIRON), to_direct("openrouter-byok", api_kind, ENVIRON)):
        assert CANARY not in repr(outgoing)
        passed = {
            name.lower(): value for name, value in outgoing.headers.items() if name.lower().startswith("anthropic")
        }
        versions = {"anthropic-version": "2024-01-01", "anthropic-beta": "one-beta,another-beta"}
        assert passed == (versions if api_kind is MESSAGES else {})


def test_a_direct_request_goes_to_the_provider_with_the_organizations_key(settings: Settings) -> None:
    settings.PROVIDER_BASE_URLS = {}
    outgoing = to_direct("neuralwatt", CHAT, ENVIRON)
    assert (outgoing.provider_id, outgoing.url) == ("neuralwatt", "https://api.neuralwatt.com/v1/chat/completions")
    assert outgoing.headers["Authorization"] == "Bearer own-key"
    assert not {"HTTP-Referer", "X-Title"} & set(outgoing.headers)
    settings.PROVIDER_BASE_URLS = {"neuralwatt": "http://127.0.0.1:9/v1"}
    assert to_direct("neuralwatt", CHAT, {}).url == "http://127.0.0.1:9/v1/chat/completions"


def test_the_key_is_sent_as_the_provider_takes_it(settings: Settings) -> None:
    settings.PROVIDER_BASE_URLS = {}
    outgoing = to_direct("anthropic-byok", MESSAGES, {})
    assert outgoing.headers["x-api-key"] == "own-key"
    assert outgoing.headers["anthropic-version"] == "2023-06-01"
    assert "Authorization" not in outgoing.headers
    assert to_direct("anthropic-byok", MESSAGES, ENVIRON).headers["anthropic-version"] == "2024-01-01"
    assert to_direct("anthropic-byok", CHAT, {}).headers["Authorization"] == "Bearer own-key"


def test_a_session_header_for_the_provider_that_demands_one() -> None:
    with_task = to_direct("opencode-go", CHAT, {"HTTP_X_KILOCODE_TASKID": "task\r\n-1"})
    assert with_task.headers["x-opencode-session"] == "task-1"
    assert to_direct("opencode-go", CHAT, {}).headers["x-opencode-session"] == str(ORGANIZATION)
    assert "x-opencode-session" not in to_direct("neuralwatt", CHAT, {"HTTP_X_KILOCODE_TASKID": "task-1"}).headers


def test_whose_account_it_is() -> None:
    """As an error says it, should the provider refuse: a person's own key is not the organization's."""
    assert to_direct("neuralwatt", CHAT, {}).account == "The organization's own account at Neuralwatt"
    owner = SecretOwner.user(uuid4())
    sealed = keyring().encrypt(Secret("own-key"), owner=owner, provider_id="neuralwatt")
    stored = StoredCredential(uuid4(), owner, "neuralwatt", sealed, None)
    outgoing = direct_request(stored, CHAT, {}, b"{}", provider=PROVIDERS["neuralwatt"], streamed=False)
    assert outgoing.account == "Your own account at Neuralwatt"
    told = byok_error(402, b'{"error": {"message": "No credit"}}', outgoing.account, {})
    assert told.message == "Your own account at Neuralwatt was refused by the provider (402): No credit"


def test_a_credential_of_another_organization_does_not_open() -> None:
    with pytest.raises(UndecryptableSecret):
        to_direct("neuralwatt", CHAT, {}, organization_id=uuid4())


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("plain", "plain"),
        ("", ""),
        ("one\r\nx-injected: two", "onex-injected: two"),
        ("\x00a\x1b[31mb\x7fc\u2028d", "a[31mbcd"),
        ("é 😀", "é 😀"),
        ("x" * 501, "x" * 500),
        ("\n" * 500 + "x", ""),
    ],
)
def test_a_clients_header_is_cut_and_has_no_control_characters(value: str, text: str) -> None:
    assert client_text({"HTTP_X": value}, "HTTP_X") == text


def test_a_header_that_was_not_sent_is_blank() -> None:
    assert client_text({}, "HTTP_X") == ""
