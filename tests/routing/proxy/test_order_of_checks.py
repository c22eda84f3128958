"""A request with two things wrong with it is told about the one that is checked first."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest

from routing.demo import DemoUpstream
from routing.models import HostedBalance
from routing.proxy.usage_writer import Usage, writer
from tests.support.errors import check_error
from tests.support.inprocess import CHAT, MESSAGES, RESPONSES, Answer, call
from tests.support.tenants import Tenant, auto_settings, make_tenant

PATHS = (CHAT, RESPONSES, MESSAGES)
LIMIT_BYTES = 8192
HOSTED_MODEL = "anthropic/claude-sonnet-5"
DIRECT_MODEL = "neuralwatt/kimi-k2"


@dataclass
class Attempt:
    """A request that would work, and what is done to spoil it."""

    path: str
    tenant: Tenant
    settings: Any
    upstream: DemoUpstream
    method: str = "POST"
    key: str = ""
    body: dict[str, Any] = field(default_factory=dict)
    padding: str = ""
    requests_before: int = 0

    def send(self) -> Answer:
        raw = (json.dumps(self.body) + self.padding).encode()
        for _ in range(self.requests_before):
            call(self.path, b"", self.tenant.key)
        return call(self.path, raw, self.key, method=self.method)


Spoil = Callable[[Attempt], None]


@dataclass(frozen=True)
class Check:
    """One check in its place, how to fail it, and the answer then."""

    name: str
    status: int
    error_type: str
    spoil: Spoil

    def __str__(self) -> str:
        return self.name


def wrong_method(attempt: Attempt) -> None:
    attempt.method = "PUT"


def too_large(attempt: Attempt) -> None:
    attempt.padding = " " * LIMIT_BYTES


def unknown_key(attempt: Attempt) -> None:
    attempt.key = "kilo_nobodys"


def no_key(attempt: Attempt) -> None:
    attempt.key = ""


def too_often(attempt: Attempt) -> None:
    attempt.settings.RATE_LIMIT_PER_KEY = attempt.requests_before = 1


def not_json(attempt: Attempt) -> None:
    attempt.body["temperature"] = float("nan")


def provider_options(attempt: Attempt) -> None:
    attempt.body["providerOptions"] = None


def no_model(attempt: Attempt) -> None:
    attempt.body.pop("model")


def wrong_shape(attempt: Attempt) -> None:
    attempt.body["input" if attempt.path == RESPONSES else "messages"] = {"role": "user", "content": "hello"}


def unknown_model(attempt: Attempt) -> None:
    attempt.body["model"] = "nobody/nothing"


def no_credential(attempt: Attempt) -> None:
    attempt.body["model"] = DIRECT_MODEL
    attempt.tenant.organization.credentials.all().delete()


def other_api_kind(attempt: Attempt) -> None:
    attempt.body["model"] = DIRECT_MODEL
    attempt.tenant.store_credential("neuralwatt")


def denied_model(attempt: Attempt) -> None:
    attempt.tenant.change(model_deny_list=[HOSTED_MODEL, DIRECT_MODEL])


def no_balance(attempt: Attempt) -> None:
    HostedBalance.objects.create(organization=attempt.tenant.organization, balance_microdollars=0)


def upstream_away(attempt: Attempt) -> None:
    attempt.upstream.stop()


METHOD = Check("method", 405, "method_not_allowed", wrong_method)
SIZE = Check("size", 413, "request_too_large", too_large)
UNKNOWN_KEY = Check("unknown key", 401, "invalid_token", unknown_key)
NO_KEY = Check("no key", 401, "authentication_required", no_key)
RATE = Check("rate", 429, "rate_limited", too_often)
JSON = Check("json", 400, "invalid_request", not_json)
PROVIDER_OPTIONS = Check("providerOptions", 400, "unsupported_field", provider_options)
MODEL = Check("model", 404, "model_not_found", no_model)
SHAPE = Check("shape", 400, "invalid_request", wrong_shape)
RESOLUTION = Check("resolution", 404, "model_not_found", unknown_model)
CREDENTIAL = Check("credential", 400, "byok_key_required", no_credential)
API_KIND = Check("api kind", 400, "api_kind_not_supported", other_api_kind)
POLICY = Check("policy", 404, "model_not_allowed", denied_model)
BALANCE = Check("balance", 402, "usage_limit_exceeded", no_balance)
UPSTREAM = Check("upstream", 503, "temporarily_unavailable", upstream_away)

# What can go wrong with any request, in the order in which it is looked at.
ORDER = [METHOD, SIZE, UNKNOWN_KEY, RATE, JSON, PROVIDER_OPTIONS, MODEL, SHAPE, RESOLUTION, BALANCE, UPSTREAM]
# Of these the earlier one says which model is asked for, so they are compared pair by pair.
AROUND_THE_MODEL = [(CREDENTIAL, API_KIND), (API_KIND, POLICY), (POLICY, BALANCE), (POLICY, UPSTREAM)]
RESOLVED = {RESOLUTION, CREDENTIAL, API_KIND, POLICY, BALANCE, UPSTREAM}


@pytest.fixture
def written(monkeypatch: pytest.MonkeyPatch) -> list[Usage]:
    """The usage records that were handed over; they stay out of the database, whose changes are rolled back here."""
    records: list[Usage] = []
    monkeypatch.setattr(writer, "put", records.append)
    return records


@pytest.fixture
def attempt(
    request: pytest.FixtureRequest, db: None, written: list[Usage], hosted_upstream: DemoUpstream, settings: Any
) -> Attempt:
    settings.MAX_REQUEST_BYTES = LIMIT_BYTES
    tenant = make_tenant(settings=auto_settings())
    messages = [{"role": "user", "content": "hello"}]
    content = {"input": "hello"} if request.param == RESPONSES else {"messages": messages}
    return Attempt(
        request.param,
        tenant,
        settings,
        hosted_upstream,
        key=tenant.key,
        body={"model": HOSTED_MODEL, "max_tokens": 10, **content},
    )


def expect(answer: Answer, check: Check, path: str) -> None:
    assert (answer.status, answer.error_type) == (check.status, check.error_type)
    assert check_error(answer.status, answer.headers, answer.json(), path) == check.error_type


@pytest.mark.parametrize("attempt", PATHS, indirect=True)
def test_it_works(attempt: Attempt) -> None:
    answer = attempt.send()
    assert answer.status == 200
    assert answer.headers["x-kilo-model"] == HOSTED_MODEL


@pytest.mark.parametrize("attempt", PATHS, indirect=True)
@pytest.mark.parametrize("check", [*ORDER, NO_KEY, CREDENTIAL, POLICY], ids=str)
def test_each_check_alone(attempt: Attempt, written: list[Usage], check: Check) -> None:
    check.spoil(attempt)
    answer = attempt.send()
    expect(answer, check, attempt.path)
    told = [(str(usage.request_id), usage.status, usage.error_type) for usage in written]
    assert told == ([(answer.headers["x-request-id"], check.status, check.error_type)] if check in RESOLVED else [])


@pytest.mark.parametrize("attempt", [RESPONSES, MESSAGES], indirect=True)
def test_the_api_kind_alone(attempt: Attempt) -> None:
    API_KIND.spoil(attempt)
    expect(attempt.send(), API_KIND, attempt.path)


@pytest.mark.parametrize("attempt", PATHS, indirect=True)
@pytest.mark.parametrize(("first", "second"), list(itertools.combinations(ORDER, 2)), ids=str)
def test_the_earlier_check_answers(attempt: Attempt, first: Check, second: Check) -> None:
    second.spoil(attempt)
    first.spoil(attempt)
    expect(attempt.send(), first, attempt.path)


@pytest.mark.parametrize("attempt", PATHS, indirect=True)
@pytest.mark.parametrize(("first", "second"), [(SIZE, NO_KEY), (NO_KEY, RATE), (NO_KEY, JSON)], ids=str)
def test_the_earlier_check_answers_without_a_key_too(attempt: Attempt, first: Check, second: Check) -> None:
    second.spoil(attempt)
    first.spoil(attempt)
    expect(attempt.send(), first, attempt.path)


@pytest.mark.parametrize("attempt", [RESPONSES, MESSAGES], indirect=True)
@pytest.mark.parametrize(("first", "second"), AROUND_THE_MODEL, ids=str)
def test_the_earlier_check_of_the_model_answers(attempt: Attempt, first: Check, second: Check) -> None:
    second.spoil(attempt)
    first.spoil(attempt)
    expect(attempt.send(), first, attempt.path)


@pytest.mark.parametrize("attempt", PATHS, indirect=True)
def test_an_unknown_address_is_told_before_everything_else(attempt: Attempt) -> None:
    for check in (METHOD, SIZE, NO_KEY):
        check.spoil(attempt)
    attempt.path += "/"
    answer = attempt.send()
    assert answer.status == 404
    assert check_error(404, answer.headers, answer.json(), attempt.path) == "not_found"


@pytest.mark.parametrize("attempt", PATHS, indirect=True)
def test_free_models_and_own_keys_pass_without_a_balance(attempt: Attempt, settings: Any) -> None:
    no_balance(attempt)
    attempt.body["model"] = "kilo-auto/free"
    free = attempt.send()
    assert free.status == 200
    if attempt.path == CHAT:
        settings.PROVIDER_BASE_URLS = {"neuralwatt": f"{attempt.upstream.base_url}/v1"}
        attempt.tenant.store_credential("neuralwatt")
        attempt.tenant.change()
        attempt.body["model"] = DIRECT_MODEL
        assert attempt.send().status == 200
