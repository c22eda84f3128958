"""Direct providers: the organization's own key at the provider's own address, or nothing at all."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from kilo_gateway.secret import MASK
from tests.e2e.lab import CREDENTIALS, KINDS, TOKENS, Lab, answers_status, answers_whole, body_of, recorded
from tests.e2e.wire import Reply

SECRETS = {provider: str(fields["secret"]) for provider, fields in CREDENTIALS.items()}


@dataclass(frozen=True, slots=True)
class Served:
    """What is asked for, and where and how it arrives."""

    asked_for: str
    """A mode, or with a slash a model."""
    kind: str
    provider: str
    path: str
    model: str
    header: str = "authorization"

    def __str__(self) -> str:
        return f"{self.provider} {self.kind}"


CHAT, RESPONSES, MESSAGES = KINDS
SERVED = [
    Served("neuralwatt", CHAT, "neuralwatt", "/neuralwatt/v1/chat/completions", "Kimi-K2.6"),
    Served("openai", CHAT, "openai-byok", "/openai/v1/chat/completions", "gpt-x"),
    Served("openai", RESPONSES, "openai-byok", "/openai/v1/responses", "gpt-x"),
    Served("anthropic", MESSAGES, "anthropic-byok", "/anthropic/v1/messages", "claude-x", "x-api-key"),
    Served("anthropic", CHAT, "anthropic-byok", "/anthropic/v1/chat/completions", "claude-x"),
    Served("opencode-go/m", CHAT, "opencode-go", "/opencode/v1/chat/completions", "m"),
    Served("opencode-go/m", RESPONSES, "opencode-go", "/opencode/v1/responses", "m"),
    Served("opencode-go/m", MESSAGES, "opencode-go", "/opencode/v1/messages", "m", "x-api-key"),
]


@pytest.mark.parametrize("served", SERVED, ids=str)
@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
def test_the_provider_and_only_it_is_asked_with_the_organization_s_key(lab: Lab, served: Served, stream: bool) -> None:
    lab.provider.script = answers_whole(served.kind)
    fields = {"model": served.asked_for} if "/" in served.asked_for else {}
    reply = lab.ask(served.kind, mode="" if fields else served.asked_for, stream=stream, **fields)
    assert (reply.status, reply.content) == (200, recorded(served.kind).whole)
    assert lab.asked == 1
    (seen,) = lab.provider.requests
    assert (seen.path, seen.json()["model"]) == (served.path, served.model)
    bearer = served.header == "authorization"
    assert seen.header(served.header) == f"{'Bearer ' if bearer else ''}{SECRETS[served.provider]}"
    assert seen.header("x-api-key" if bearer else "authorization") is None
    assert seen.header("anthropic-version") == ("2023-06-01" if served.kind == MESSAGES else None)
    assert (seen.header("x-opencode-session") is not None) == (served.provider == "opencode-go")
    assert reply["x-kilo-byok"] == "true"
    assert (reply["x-kilo-provider"], reply["x-kilo-model"]) == (served.provider, served.model)
    row = lab.usage(reply)
    assert (row["is_byok"], row["hosted_cost_microdollars"], row["provider"]) == (True, 0, served.provider)
    assert str(row["credential_id"]) == lab.tenants["acme"].credentials[served.provider]
    assert {name: row[name] for name in TOKENS} == TOKENS


def test_its_credential_is_marked_as_used(lab: Lab) -> None:
    lab.provider.script = answers_whole("chat_completions")
    lab.usage(lab.ask(mode="neuralwatt"))
    query = "SELECT last_used_at FROM byok_credential WHERE id = %s"
    assert lab.gateway.sql(query, lab.tenants["acme"].credentials["neuralwatt"])[0]["last_used_at"] is not None


def test_the_client_s_version_of_the_messages_api_wins(lab: Lab) -> None:
    lab.provider.script = answers_whole("messages")
    lab.ask("messages", mode="anthropic", headers={"anthropic-version": "2024-10-22", "anthropic-beta": "a,b"})
    (seen,) = lab.provider.requests
    assert (seen.header("anthropic-version"), seen.header("anthropic-beta")) == ("2024-10-22", "a,b")


def test_no_balance_is_needed(lab: Lab) -> None:
    acme = lab.tenants["acme"].organization_id
    lab.set_balance(-5)
    try:
        lab.provider.script = answers_whole("chat_completions")
        reply = lab.ask(mode="neuralwatt")
        assert reply.status == 200
        lab.usage(reply)
        query = "SELECT balance_microdollars AS left FROM routing_hostedbalance WHERE organization_id = %s"
        assert lab.gateway.sql(query, acme)[0]["left"] == -5
        refused = lab.ask()
        assert (refused.status, refused.error_type) == (402, "usage_limit_exceeded")
        assert not lab.openrouter.requests
    finally:
        lab.set_balance(None)


# --- credentials that cannot be used


def assert_refused(reply: Reply, *, inside: bool, code: str) -> None:
    assert reply.status == 400
    assert reply.error_type == ("organization_auto_configuration" if inside else "byok_key_required")
    assert reply.json()["error"]["code"] == code


@pytest.mark.parametrize("inside", [True, False], ids=["Organization Auto", "asked for"])
class TestUnusable:
    """For each: the right refusal, and no upstream of any kind has seen anything."""

    def ask(self, lab: Lab, tenant: str, *, inside: bool, mode: str = "neuralwatt", **fields: Any) -> Reply:
        named = {"neuralwatt": "neuralwatt/kimi-k2.6", "openai": "openai-byok/gpt-x"}[mode]
        model = "kilo-auto/org" if inside else named
        for upstream in lab.upstreams:
            upstream.script = answers_whole("chat_completions")
        reply = lab.ask(tenant=tenant, mode=mode if inside else "", model=model, **fields)
        assert lab.asked == 0
        row = lab.usage(reply)
        assert (row["status"], row["error_type"]) == (reply.status, reply.error_type)
        assert (row["input_tokens"], row["hosted_cost_microdollars"]) == (None, None)
        return reply

    def test_missing(self, lab: Lab, inside: bool) -> None:
        assert_refused(self.ask(lab, "without", inside=inside), inside=inside, code="no_enabled_credential")

    def test_another_organization_s(self, lab: Lab, inside: bool) -> None:
        assert_refused(self.ask(lab, "other", inside=inside), inside=inside, code="no_enabled_credential")

    def test_a_person_s_own(self, lab: Lab, inside: bool) -> None:
        assert_refused(self.ask(lab, "personal", inside=inside), inside=inside, code="no_enabled_credential")

    def test_of_another_provider(self, lab: Lab, inside: bool) -> None:
        """The other organization has a key for OpenAI, and for nobody else."""
        lab.provider.script = answers_whole("chat_completions")
        assert lab.ask(tenant="other", mode="openai").status == 200
        assert lab.provider.requests[0].header("authorization") == "Bearer sk-other-organization-0003"
        lab.provider.reset()
        assert_refused(self.ask(lab, "other", inside=inside), inside=inside, code="no_enabled_credential")

    @pytest.fixture
    def change(self, lab: Lab) -> Iterator[Callable[[str], None]]:
        """Change the credential of `acme` in SQL, as a service would, with the routing version; undone afterwards."""
        acme = lab.tenants["acme"]
        row_id = acme.credentials["openai-byok"]
        kept = lab.gateway.sql("SELECT * FROM byok_credential WHERE id = %s", row_id)[0]
        raised = "UPDATE organizations_organization SET routing_version = routing_version + 1 WHERE id = %s"

        def change(assignments: str) -> None:
            lab.gateway.sql(f"UPDATE byok_credential SET {assignments} WHERE id = %s", row_id)
            lab.gateway.sql(raised, acme.organization_id)

        lab.provider.script = answers_whole("chat_completions")
        assert lab.ask(mode="openai").status == 200, "its decision is remembered before it changes"
        lab.provider.reset()
        yield change
        lab.gateway.sql(
            "UPDATE byok_credential SET is_enabled = true, ciphertext = %s, key_id = %s, organization_id = %s,"
            " user_id = NULL WHERE id = %s",
            kept["ciphertext"],
            kept["key_id"],
            acme.organization_id,
            row_id,
        )
        lab.gateway.sql(raised, acme.organization_id)

    def test_disabled(self, lab: Lab, inside: bool, change: Callable[[str], None]) -> None:
        change("is_enabled = false")
        reply = self.ask(lab, "acme", inside=inside, mode="openai")
        assert_refused(reply, inside=inside, code="no_enabled_credential")

    def test_given_to_another_owner(self, lab: Lab, inside: bool, change: Callable[[str], None]) -> None:
        change(f"organization_id = NULL, user_id = '{lab.tenants['acme'].user_id}'")
        reply = self.ask(lab, "acme", inside=inside, mode="openai")
        assert_refused(reply, inside=inside, code="no_enabled_credential")

    @pytest.mark.parametrize(
        "assignments",
        [
            "ciphertext = set_byte(ciphertext, 15, (get_byte(ciphertext, 15) + 1) %% 256)",
            "ciphertext = ''",
            "key_id = 'gone'",
            "ciphertext = (SELECT c.ciphertext FROM byok_credential c WHERE c.last_four = '1111')",
            "ciphertext = (SELECT c.ciphertext FROM byok_credential c WHERE c.last_four = '0003')",
        ],
        ids=["damaged", "empty", "unknown key", "another provider's", "another organization's"],
    )
    def test_undecryptable(self, lab: Lab, inside: bool, change: Callable[[str], None], assignments: str) -> None:
        change(assignments)
        reply = self.ask(lab, "acme", inside=inside, mode="openai", stream=True)
        assert_refused(reply, inside=inside, code="credential_unusable")


# --- what the provider has against the key


REFUSALS = ["401 Unauthorized", "402 Payment Required", "403 Forbidden", "429 Too Many"]


@pytest.mark.parametrize("kind", ["chat_completions", "messages"])
@pytest.mark.parametrize("status", REFUSALS)
def test_the_provider_s_refusal_is_the_organization_s_own(lab: Lab, kind: str, status: str) -> None:
    told = {"type": "error", "error": {"type": "odd", "message": "Your credit balance is too low."}}
    lab.provider.script = answers_status(status, told, retry_after="12", set_cookie="a=b")
    reply = lab.ask(kind, mode="anthropic", stream=True)
    assert (reply.status, reply.error_type) == (int(status[:3]), "byok_error")
    assert "The organization's own account at Anthropic was refused" in reply.json()["message"]
    assert "Your credit balance is too low." in reply.json()["message"]
    assert reply.json().get("type") == ("error" if kind == "messages" else None)
    assert reply["retry-after"] == "12"
    assert reply["x-kilo-byok"] == "true"
    assert lab.asked == 1
    row = lab.usage(reply)
    assert (row["status"], row["error_type"], row["is_byok"]) == (reply.status, "byok_error", True)

    query = "SELECT last_refused_at, last_refusal_status FROM byok_credential WHERE id = %s"
    noted = lab.gateway.sql(query, lab.tenants["acme"].credentials["anthropic-byok"])[0]
    assert noted["last_refusal_status"] == reply.status
    assert noted["last_refused_at"] == row["created_at"]


def test_a_refusal_does_not_disable_the_credential(lab: Lab) -> None:
    lab.provider.script = answers_status("401 Unauthorized")
    lab.ask(mode="neuralwatt")
    lab.provider.script = answers_whole("chat_completions")
    assert lab.ask(mode="neuralwatt").status == 200


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"not json",
        b"[]",
        b'{"error": null}',
        b'{"error": {"message": {"deep": 1}}}',
        b"{" * 2000,
        b"\xff\xfe",
    ],
    ids=lambda body: repr(body[:20]),
)
def test_a_refusal_without_a_message(lab: Lab, body: bytes) -> None:
    lab.provider.script = lambda line: line.answer("401 Unauthorized", body, content_type="application/json")
    reply = lab.ask(mode="neuralwatt")
    assert (reply.status, reply.error_type) == (401, "byok_error")
    assert reply.json()["message"].endswith("(401).")


def test_a_message_in_another_shape(lab: Lab) -> None:
    for told in ({"error": "plain"}, {"message": "plain"}, {"error": {"message": " pl\nain\r\n "}}):
        lab.provider.script = answers_status("429 Too Many", told)
        assert lab.ask(mode="neuralwatt").json()["message"].endswith(("plain", "pl ain"))


@pytest.mark.parametrize("status", ["400 Bad Request", "404 Not Found", "409 Conflict", "500 Oops", "529 Overloaded"])
def test_other_statuses_pass(lab: Lab, status: str) -> None:
    lab.provider.script = answers_status(status, {"error": {"message": "as it is"}})
    reply = lab.ask(mode="neuralwatt")
    assert (reply.status, reply.json()) == (int(status[:3]), {"error": {"message": "as it is"}})
    assert lab.usage(reply)["error_type"] == "upstream_error"


class TestAProviderThatRepeatsTheKey:
    SECRET = SECRETS["neuralwatt"]

    @pytest.mark.parametrize("status", [*REFUSALS, "400 Bad Request", "500 Oops"])
    @pytest.mark.parametrize("length", [0, 461], ids=["short", "cut"])
    def test_in_its_message(self, lab: Lab, status: str, length: int) -> None:
        """Also where the message is cut in the middle of the key."""
        told = f"{'x' * length} Incorrect API key provided: {self.SECRET}."
        lab.provider.script = answers_status(status, {"error": {"message": told}})
        reply = lab.ask(mode="neuralwatt")
        assert reply.status == int(status[:3])
        assert self.SECRET[:8].encode() not in reply.content
        assert MASK.encode()[:3] in reply.content

    def test_in_something_that_is_not_json(self, lab: Lab) -> None:
        page = f"<p>Authorization: Bearer {self.SECRET}</p>".encode()
        lab.provider.script = lambda line: line.answer("400 Bad Request", page, content_type="text/html")
        reply = lab.ask(mode="neuralwatt")
        assert reply.content == f"<p>Authorization: Bearer {MASK}</p>".encode()

    def test_and_the_log_has_none(self, lab: Lab) -> None:
        for secret in SECRETS.values():
            assert secret not in lab.gateway.log()


def test_a_model_that_the_key_does_not_offer(lab: Lab) -> None:
    reply = lab.ask(mode="", model="neuralwatt/other")
    assert (reply.status, reply.error_type) == (404, "model_not_found")
    assert lab.asked == 0


@pytest.mark.parametrize("kind", ["responses", "messages"])
def test_an_api_that_the_provider_does_not_speak(lab: Lab, kind: str) -> None:
    reply = lab.ask(kind, mode="", model="neuralwatt/kimi-k2.6")
    assert (reply.status, reply.error_type) == (400, "api_kind_not_supported")
    reply = lab.ask(kind, mode="neuralwatt")
    assert (reply.status, reply.error_type) == (400, "organization_auto_configuration")
    assert lab.asked == 0


ODD_NAMES = ["a\x00b", "a\x7fb", "a\r\nx-evil: 1", "ẞ" * 150, "İ" * 180, "a b", "a\u2028b", "💥"]


@pytest.mark.parametrize("kind", KINDS)
def test_odd_ids_of_models_leave_a_record(lab: Lab, kind: str) -> None:
    """This provider's key has no list of models, so any id goes."""
    lab.provider.script = answers_whole(kind)
    replies = [lab.ask(kind, body=body_of(kind, model=f"opencode-go/{name}")) for name in ODD_NAMES]
    for name, reply in zip(ODD_NAMES, replies, strict=True):
        assert reply.status in {200, 404}, name
        assert "x-evil" not in reply, name
        assert ("x-kilo-model" in reply) == (reply.status == 200), name
        assert all(value.isascii() and value.isprintable() for _, value in reply.headers), name
        row = lab.usage(reply)
        assert row["status"] == reply.status, name
        assert row["resolved_model"].isprintable(), name


def test_nothing_of_the_above_was_unexpected(lab: Lab) -> None:
    assert "a value that the database refuses" not in lab.gateway.log()
    assert "Traceback" not in lab.gateway.log()
