"""A person's own provider keys: his alone, and never for an organization's request."""

from __future__ import annotations

import json
from typing import Any

import pytest
from django.test import Client

from byok.models import Credential
from organizations.models import AuditLog, Scope, User
from routing.demo import DemoUpstream
from routing.proxy.usage_writer import Usage, writer
from tests.e2e.scripted import ScriptedUpstream
from tests.factories import ApiKeyFactory, CredentialFactory, UserFactory, bearer
from tests.support.inprocess import CHAT, call, chat, counted_statements
from tests.support.openapi import check_answer
from tests.support.tenants import auto_settings, make_tenant

KEY = "sk-canary-of-a-person-abcd"
OTHER = "sk-canary-of-a-person-wxyz"


class Own:
    """The API as one person with a key that is bound to nothing."""

    def __init__(self, user: User, **key: Any) -> None:
        fields = {"scopes": [Scope.MANAGEMENT.value], **key}
        self.client = Client(**bearer(ApiKeyFactory.create(user=user, **fields)))

    def __call__(self, method: str, path: str = "", body: Any = None) -> Any:
        full = f"/api/user/byok{path}"
        data = {} if body is None else {"data": json.dumps(body), "content_type": "application/json"}
        response = self.client.generic(method, full, **data)
        check_answer(method, full, response)
        assert b"canary" not in response.content
        return response


@pytest.fixture
def alice(db: None) -> User:
    user: User = UserFactory.create(email="alice@example.com")
    return user


@pytest.fixture(autouse=True)
def models(provider: ScriptedUpstream) -> None:
    provider.script = lambda line: line.answer_json({"data": [{"id": "GPT-5"}]})


def test_the_life_of_a_key(alice: User) -> None:
    own = Own(alice)
    made = own("POST", body={"provider": "openai-byok", "api_key": KEY})
    assert made.status_code == 201
    credential = made.json()["credential"]
    assert (credential["last_four"], credential["offered_models"]) == ("abcd", ["GPT-5"])
    row = Credential.objects.get()
    assert (row.user_id, row.organization_id) == (alice.pk, None)
    path = f"/{row.pk}"
    assert [each["id"] for each in own("GET").json()["credentials"]] == [str(row.pk)]
    assert own("PATCH", path, {"api_key": OTHER}).json()["credential"]["last_four"] == "wxyz"
    assert own("PATCH", path, {"is_enabled": False}).json()["credential"]["is_enabled"] is False
    assert own("POST", f"{path}/test").json()["credential"]["last_test"]["result"] == "works"
    assert own("POST", f"{path}/discover").json()["credential"]["model_count"] == 1
    assert own("GET", path).status_code == 200
    assert own("DELETE", path).json() == {"credential": None}
    rows = AuditLog.objects.filter(organization=None, action__startswith="byok").order_by("sequence")
    assert [row.action for row in rows] == [
        f"byok.{verb}" for verb in ("created", "replaced", "disabled", "tested", "deleted")
    ]
    assert {row.actor_id for row in rows} == {alice.pk}
    assert "canary" not in json.dumps([row.changes for row in rows])


def test_it_is_nobody_else_s(alice: User, provider: ScriptedUpstream) -> None:
    row = CredentialFactory.create(user=alice, provider="openai-byok", secret=KEY)
    mallory = Own(UserFactory.create())
    assert mallory("GET").json() == {"credentials": []}
    calls = [("GET", ""), ("PATCH", ""), ("DELETE", ""), ("POST", "/test"), ("POST", "/discover")]
    for method, rest in calls:
        body = {"api_key": OTHER} if method == "PATCH" else None
        assert mallory(method, f"/{row.pk}{rest}", body).status_code == 404
    assert provider.accepted == 0
    assert Credential.objects.get().is_enabled


def test_a_key_that_is_bound_to_an_organization_does_not_reach_it(alice: User) -> None:
    tenant = make_tenant()
    for method in ("GET", "POST"):
        response = Own(tenant.user, organization=tenant.organization)(method)
        assert (response.status_code, response.json()["error"]["code"]) == (403, "key_is_bound")


def test_custom_providers_are_organizations_business(alice: User) -> None:
    response = Own(alice)("POST", body={"provider": "custom-acme", "api_key": KEY})
    assert response.json()["error"]["code"] == "unknown_provider"


class TestRequests:
    @pytest.fixture(autouse=True)
    def written(self, db: None, hosted_upstream: DemoUpstream, monkeypatch: pytest.MonkeyPatch) -> list[Usage]:
        records: list[Usage] = []
        monkeypatch.setattr(writer, "put", records.append)
        return records

    @pytest.fixture(autouse=True)
    def upstream(self, provider: ScriptedUpstream) -> None:
        provider.script = lambda line: line.answer_json({"choices": [], "usage": {}})

    def ask(self, user: User, model: str = "openai-byok/Odd-Model", **headers: str) -> Any:
        return call(CHAT, chat(model), ApiKeyFactory.create(user=user).plaintext, headers=headers)

    def test_without_an_organization_it_serves(
        self, alice: User, provider: ScriptedUpstream, written: list[Usage]
    ) -> None:
        row = CredentialFactory.create(user=alice, provider="openai-byok", secret=KEY, offered_models=None)
        assert self.ask(alice).status == 200
        (seen,) = provider.requests
        assert (seen.header("authorization"), seen.json()["model"]) == (f"Bearer {KEY}", "Odd-Model")
        (usage,) = written
        assert (usage.is_byok, usage.credential_id, usage.organization_id) == (True, row.pk, None)
        assert (usage.status, usage.resolved_model) == (200, "openai-byok/odd-model")

    @pytest.mark.parametrize("state", ["none", "disabled", "another person's", "another provider's", "unreadable"])
    def test_without_a_usable_one(
        self, alice: User, provider: ScriptedUpstream, hosted_upstream: DemoUpstream, state: str
    ) -> None:
        fields: dict[str, Any] = {"provider": "openai-byok", "secret": KEY, "offered_models": None, "user": alice}
        if state == "another person's":
            fields["user"] = UserFactory.create()
        if state == "another provider's":
            fields["provider"] = "neuralwatt"
        if state != "none":
            CredentialFactory.create(**fields, is_enabled=state != "disabled")
        if state == "unreadable":
            Credential.objects.update(key_id="gone")
        answer = self.ask(alice)
        assert (answer.status, answer.error_type) == (400, "byok_key_required")
        assert (provider.accepted, len(hosted_upstream.requests())) == (0, 0)

    def test_for_an_organization_it_does_not(self, provider: ScriptedUpstream, hosted_upstream: DemoUpstream) -> None:
        tenant = make_tenant(settings=auto_settings({"code": "openai-byok/m"}), organization=None)
        CredentialFactory.create(user=tenant.user, provider="openai-byok", secret=KEY, offered_models=None)
        organization = {"x-kilocode-organizationid": str(tenant.organization.pk)}
        assert self.ask(tenant.user, **organization).error_type == "byok_key_required"
        inside = self.ask(tenant.user, "kilo-auto/org", **organization, **{"x-kilocode-mode": "code"})
        assert inside.error_type == "organization_auto_configuration"
        assert (provider.accepted, len(hosted_upstream.requests())) == (0, 0)

    def test_a_hosted_model_costs_no_more_queries_than_before(self, alice: User, settings: Any) -> None:
        settings.HOSTED_WITHOUT_ORGANIZATION = True
        CredentialFactory.create(user=alice, provider="openai-byok", secret=KEY)
        self.ask(alice, "anthropic/claude-sonnet-5")
        key = ApiKeyFactory.create(user=alice).plaintext
        with counted_statements() as statements:
            assert call(CHAT, chat("anthropic/claude-sonnet-5"), key).status == 200
        assert len(statements.of_this_thread()) == 1

    def test_its_models_are_listed_for_him_alone(self, alice: User) -> None:
        CredentialFactory.create(user=alice, provider="openai-byok", offered_models=["GPT-5"])
        for user, listed in ((alice, True), (UserFactory.create(), False)):
            client = Client(**bearer(ApiKeyFactory.create(user=user)))
            ids = {entry["id"] for entry in client.get("/api/gateway/v1/models").json()["data"]}
            assert ("openai-byok/gpt-5" in ids) is listed
