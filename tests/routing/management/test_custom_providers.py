"""Custom providers over the management API: what they may be, what a change of one breaks, and what is never shown."""

from __future__ import annotations

import logging
from typing import Any

import pytest
from django.test import Client

from byok import addresses, discovery
from byok import custom_providers as rules
from byok.custom_providers import opened_headers
from byok.encryption import UndecryptableSecret
from byok.models import Credential, CustomProvider, CustomProviderHeader
from byok.outbound import Fetched, fetch
from byok.selectors import has_been_elsewhere, provider_for
from organizations.audit import COMMAND, verify_chain
from organizations.models import AuditLog, Organization, Plan, User
from organizations.services import organization_create
from routing.demo import DemoUpstream
from routing.models import BrokenRoute
from tests.factories import CredentialFactory, UserFactory, organization_auto
from tests.routing.management.conftest import Api, Team, refused

CANARY = "canary-header-value-7d1f"
URL = "https://93.184.215.14/v1"
ELSEWHERE = "https://93.184.215.15/v1"
MODEL = {"id": "Llama-4-Scout", "name": "Scout", "context_length": 32_000, "max_output_tokens": 4_000}
NEW: dict[str, Any] = {
    "id": "custom-lab",
    "name": "Lab",
    "base_url": URL,
    "api_kinds": ["responses", "chat_completions"],
    "headers": [{"name": "X-Tenant", "value": CANARY}],
    "models": [MODEL],
}
SHOWN = {
    "id": "custom-lab",
    "name": "Lab",
    "base_url": URL,
    "api_kinds": ["chat_completions", "responses"],
    "key_style": "bearer",
    "headers": [{"name": "x-tenant", "last_four": "7d1f"}],
    "models": [MODEL],
}


@pytest.fixture
def api(team: Team) -> Api:
    return team.api()


@pytest.fixture
def lab(api: Api) -> CustomProvider:
    """A registered provider."""
    assert api.post("custom-providers", NEW).status_code == 201
    return CustomProvider.objects.get()


@pytest.fixture
def key(team: Team, lab: CustomProvider) -> Credential:
    """Its key."""
    return CredentialFactory.create(
        organization=team.organization, provider="custom-lab", secret="lab-key-1234", offered_models=["Found"]
    )


@pytest.fixture
def routed(team: Team, key: Credential) -> dict[str, str]:
    """Routes to a written and to a discovered model of it, with Organization Auto on."""
    routes = {"code": "custom-lab/llama-4-scout", "ask": "custom-lab/found", "debug": "openai/gpt"}
    team.configure(**organization_auto(routes, "openai/gpt"))
    return routes


def shown(row: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in row.items() if not name.endswith("_at")}


def audit_rows(since: int = 0) -> list[AuditLog]:
    return list(AuditLog.objects.filter(pk__gt=since).order_by("sequence"))


def newest_row() -> int:
    last = AuditLog.objects.order_by("-pk").first()
    return last.pk if last else 0


class TestRegistering:
    def test_it_works(self, team: Team, api: Api) -> None:
        version = team.routing_version
        answer = api.post("custom-providers", NEW)
        assert answer.status_code == 201
        assert shown(answer.json()["custom_provider"]) == SHOWN
        assert answer.json()["routing_version"] == team.routing_version == version + 1
        assert answer["ETag"] == f'"{version + 1}"'
        (row,) = audit_rows()
        assert (row.action, row.actor_email, row.target_id) == (
            "custom_provider.created",
            team.alice.email,
            "custom-lab",
        )
        assert row.message == f'Custom provider "custom-lab" (Lab) registered at {URL}'
        assert row.changes["headers"] == [{}, {"x-tenant": "…7d1f"}]
        assert row.changes["models"] == [[], [MODEL]]
        assert row.changes["base_url"] == [None, URL]
        assert verify_chain(team.organization.pk)[1] is None

    def test_every_member_may_read_it(self, team: Team, lab: CustomProvider) -> None:
        api = team.api(team.bob)
        assert [shown(row) for row in api.get("custom-providers").json()["custom_providers"]] == [SHOWN]
        assert shown(api.get("custom-providers/custom-lab").json()["custom_provider"]) == SHOWN

    def test_only_what_is_needed(self, api: Api) -> None:
        fields = {
            "id": "custom-x",
            "name": "X",
            "base_url": f"{URL}/",
            "api_kinds": ["messages"],
            "key_style": "x-api-key",
        }
        row = api.post("custom-providers", fields).json()["custom_provider"]
        assert shown(row) == {**fields, "base_url": URL, "headers": [], "models": []}

    @pytest.mark.parametrize(
        ("fields", "field"),
        [
            ({"id": "lab"}, "id"),
            ({"id": "custom-"}, "id"),
            ({"id": "custom-Lab"}, "id"),
            ({"id": f"custom-{'x' * 41}"}, "id"),
            ({"id": "custom-lab\n"}, "id"),
            ({"name": "  "}, "name"),
            ({"name": "a\u0007b"}, "name"),
            ({"base_url": "http://93.184.215.14/v1"}, "base_url"),
            ({"base_url": "https://127.0.0.1/v1"}, "base_url"),
            ({"base_url": "https://169.254.169.254/latest"}, "base_url"),
            ({"base_url": "https://[::ffff:10.0.0.1]/"}, "base_url"),
            ({"base_url": "https://2130706433/"}, "base_url"),
            ({"base_url": "https://localhost/"}, "base_url"),
            ({"base_url": f"https://user:{CANARY}@93.184.215.14/"}, "base_url"),
            ({"api_kinds": []}, "api_kinds"),
            ({"api_kinds": ["embeddings"]}, "api_kinds"),
            ({"key_style": "query"}, "key_style"),
            ({"headers": [{"name": "Authorization", "value": CANARY}]}, "headers"),
            ({"headers": [{"name": "X-Api-Key", "value": CANARY}]}, "headers"),
            ({"headers": [{"name": "Host", "value": CANARY}]}, "headers"),
            ({"headers": [{"name": "Transfer-Encoding", "value": "chunked"}]}, "headers"),
            ({"headers": [{"name": "Content-Length", "value": "0"}]}, "headers"),
            ({"headers": [{"name": "cookie", "value": CANARY}]}, "headers"),
            ({"headers": [{"name": "Proxy-Authorization", "value": CANARY}]}, "headers"),
            ({"headers": [{"name": "x-kilo-model", "value": CANARY}]}, "headers"),
            ({"headers": [{"name": "X-Forwarded-For", "value": "127.0.0.1"}]}, "headers"),
            ({"headers": [{"name": "two words", "value": CANARY}]}, "headers"),
            ({"headers": [{"name": "x-a\r\nx-b", "value": CANARY}]}, "headers"),
            ({"headers": [{"name": "x-a", "value": f"{CANARY}\r\nx-b: 1"}]}, "headers"),
            ({"headers": [{"name": "x-a", "value": f" {CANARY}"}]}, "headers"),
            ({"headers": [{"name": "x-a", "value": f"{CANARY}é"}]}, "headers"),
            ({"headers": [{"name": "x-a", "value": ""}]}, "headers.0.value"),
            ({"headers": [{"name": "x-a"}]}, "headers"),
            ({"headers": [{"name": "x-a", "value": CANARY}, {"name": "X-A", "value": CANARY}]}, "headers"),
            ({"headers": [{"name": f"x-{n}", "value": CANARY} for n in range(21)]}, "headers"),
            ({"models": [{"id": "two words"}]}, "models"),
            ({"models": [{"id": "llama/*"}]}, "models"),
            ({"models": [{"id": "A"}, {"id": "a"}]}, "models"),
            ({"models": [{"id": "a", "context_length": 0}]}, "models.0.context_length"),
            ({"models": [{"id": f"m{n}"} for n in range(201)]}, "models"),
            ({"confirm_broken_routes": True}, "confirm_broken_routes"),
        ],
    )
    def test_what_it_cannot_be(self, team: Team, api: Api, fields: dict[str, Any], field: str) -> None:
        with team.nothing_changes():
            answer = api.post("custom-providers", {**NEW, **fields})
            refused(answer, 400, "invalid", field=field)
        assert CANARY not in answer.content.decode()
        assert not CustomProvider.objects.exists()

    def test_an_id_is_taken_once(self, team: Team, api: Api, lab: CustomProvider) -> None:
        with team.nothing_changes():
            refused(api.post("custom-providers", NEW), 409, "provider_exists")

    def test_the_same_id_in_another_organization_is_another_provider(self, lab: CustomProvider, mallory: User) -> None:
        api = Api(mallory, Organization.objects.get(memberships__user=mallory))
        assert api.get("custom-providers").json()["custom_providers"] == []
        assert api.get("custom-providers/custom-lab").status_code == 404
        assert api.post("custom-providers", {**NEW, "name": "Mine"}).status_code == 201
        assert CustomProvider.objects.get(pk=lab.pk).name == "Lab"

    def test_there_is_a_limit(self, api: Api, lab: CustomProvider, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(rules, "MAX_PROVIDERS", 1)
        refused(api.post("custom-providers", {**NEW, "id": "custom-more"}), 409, "too_many_providers")

    def test_names_are_looked_up_only_for_those_who_may(
        self, team: Team, lab: CustomProvider, mallory: User, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        asked: list[str] = []
        monkeypatch.setattr(addresses, "resolve", lambda host, _: asked.append(host) or [])
        for user, status in ((team.bob, 403), (mallory, 404)):
            api = team.api(user)
            fields = {"base_url": "https://internal.example.com"}
            assert api.post("custom-providers", {**NEW, **fields}).status_code == status
            assert api.patch("custom-providers/custom-lab", fields).status_code == status
        assert asked == []


class TestChanging:
    def test_it_works(self, team: Team, lab: CustomProvider) -> None:
        api, since, version = team.api(team.carol), newest_row(), team.routing_version
        answer = api.patch("custom-providers/custom-lab", {"name": "Lab 2", "key_style": "x-api-key"})
        assert shown(answer.json()["custom_provider"]) == {**SHOWN, "name": "Lab 2", "key_style": "x-api-key"}
        assert answer.json()["routing_version"] == team.routing_version == version + 1
        (row,) = audit_rows(since)
        assert row.message == 'Custom provider "custom-lab" (Lab 2) changed: key_style, name'
        assert row.changes == {"name": ["Lab", "Lab 2"], "key_style": ["bearer", "x-api-key"]}

    @pytest.mark.parametrize(
        "fields",
        [
            {},
            {"name": " Lab "},
            {"base_url": f"{URL}/"},
            {"api_kinds": ["responses", "chat_completions", "responses"]},
            {"headers": [{"name": "X-TENANT"}]},
            {"models": [MODEL]},
        ],
    )
    def test_what_is_so_already_writes_nothing(
        self, team: Team, api: Api, lab: CustomProvider, fields: dict[str, Any]
    ) -> None:
        with team.nothing_changes():
            answer = api.patch("custom-providers/custom-lab", fields)
        assert shown(answer.json()["custom_provider"]) == SHOWN

    def test_headers(self, team: Team, api: Api, lab: CustomProvider) -> None:
        """One is kept, one is added, then one is replaced and one goes."""
        since = newest_row()
        added = {"name": "x-project", "value": "short"}
        api.patch("custom-providers/custom-lab", {"headers": [{"name": "x-tenant"}, added]})
        assert opened(team) == {"x-tenant": CANARY, "x-project": "short"}
        answer = api.patch(
            "custom-providers/custom-lab", {"headers": [{"name": "x-project", "value": "another-value"}]}
        )
        assert answer.json()["custom_provider"]["headers"] == [{"name": "x-project", "last_four": "alue"}]
        assert opened(team) == {"x-project": "another-value"}
        assert [row.changes for row in audit_rows(since)] == [
            {"headers": [{}, {"x-project": "…"}]},
            {"headers": [{"x-project": "…", "x-tenant": "…7d1f"}, {"x-project": "…alue"}]},
        ]

    def test_a_version_that_has_moved_on(self, team: Team, api: Api, lab: CustomProvider) -> None:
        old = {"If-Match": f'"{team.routing_version - 1}"'}
        with team.nothing_changes():
            for answer in (
                api.patch("custom-providers/custom-lab", {"name": "X"}, **old),
                api.delete("custom-providers/custom-lab", **old),
                api.post("custom-providers", {**NEW, "id": "custom-more"}, **old),
            ):
                refused(answer, 412, "routing_version_moved")

    @pytest.mark.parametrize("path", ["custom-nobody", "lab", "custom-LAB", "custom-%00"])
    def test_there_is_none(self, api: Api, lab: CustomProvider, path: str) -> None:
        client = api.client
        url = f"/api/organizations/{api.organization.pk}/custom-providers/{path}"
        assert client.get(url).status_code == 404
        assert client.patch(url, {"name": "X"}, content_type="application/json").status_code == 404
        assert client.delete(url).status_code == 404


class TestAnotherOrigin:
    """Whoever may change the base URL may not read the key, so it does not go there."""

    MOVES = [ELSEWHERE, "https://93.184.215.14:8443/v1", "http://93.184.215.14/v1"]

    @pytest.fixture(autouse=True)
    def http_allowed(self, settings: Any) -> None:
        settings.ALLOW_PRIVATE_UPSTREAMS = True

    @pytest.mark.parametrize("url", MOVES)
    def test_the_key_is_deleted(self, team: Team, api: Api, key: Credential, url: str) -> None:
        since = newest_row()
        answer = api.patch("custom-providers/custom-lab", {"base_url": url, "headers": []})
        assert answer.json()["custom_provider"]["base_url"] == url
        assert not Credential.objects.exists()
        assert [row.action for row in audit_rows(since)] == ["custom_provider.updated", "byok.deleted"]

    def test_values_of_headers_do_not_move(self, team: Team, api: Api, key: Credential) -> None:
        for more in (
            {},
            {"headers": [{"name": "x-tenant"}]},
            {"headers": [{"name": "x-b", "value": "b"}, {"name": "x-tenant"}]},
        ):
            with team.nothing_changes():
                answer = api.patch(
                    "custom-providers/custom-lab", {"base_url": ELSEWHERE, "confirm_broken_routes": True, **more}
                )
                refused(answer, 400, "invalid", field="headers")
        assert opened(team) == {"x-tenant": CANARY}
        again = {"base_url": ELSEWHERE, "headers": [{"name": "x-tenant", "value": "given-again"}]}
        assert api.patch("custom-providers/custom-lab", again).status_code == 200
        assert opened(team) == {"x-tenant": "given-again"}

    @pytest.mark.parametrize("way", ["changed", "registered anew"])
    def test_a_key_that_may_be_meant_for_the_former_one(
        self, team: Team, api: Api, lab: CustomProvider, settings: Any, way: str
    ) -> None:
        with DemoUpstream() as upstream:
            base_url = f"{upstream.base_url}/v1"
            if way == "changed":
                api.patch("custom-providers/custom-lab", {"base_url": base_url, "headers": []})
            else:
                api.delete("custom-providers/custom-lab")
                api.post("custom-providers", {**NEW, "base_url": base_url})
            body = {"provider": "custom-lab", "api_key": "sk-canary-lab"}
            seen = {"If-Match": f'"{team.routing_version}"'}
            before = {"If-Match": f'"{team.routing_version - 1}"'}
            with team.nothing_changes():
                refused(api.post("byok", body), 409, "provider_moved")
                refused(api.post("byok", body, **{"If-Match": "*"}), 409, "provider_moved")
                refused(api.post("byok", body, **before), 412, "routing_version_moved")
            assert upstream.stats()["connections"] == 0
            assert api.post("byok", body, **seen).status_code == 201

    def test_a_key_for_one_that_stayed_at_its_origin(self, api: Api, lab: CustomProvider) -> None:
        """Nor does another organization's provider of the same id matter."""
        other = UserFactory.create()
        organization = organization_create(name="Other", plan=Plan.ENTERPRISE, owner=other, actor=COMMAND)
        assert Api(other, organization).post("custom-providers", {**NEW, "base_url": ELSEWHERE}).status_code == 201
        api.patch("custom-providers/custom-lab", {"base_url": "https://93.184.215.14/other"})
        assert not has_been_elsewhere(api.organization.pk, provider_for(api.organization.pk, "custom-lab"))
        assert has_been_elsewhere(organization.pk, provider_for(api.organization.pk, "custom-lab"))

    def test_another_path_of_the_same_origin_keeps_them(self, team: Team, api: Api, routed: dict[str, str]) -> None:
        assert api.patch("custom-providers/custom-lab", {"base_url": f"{URL}/other"}).status_code == 200
        assert Credential.objects.filter(provider="custom-lab", is_enabled=True).exists()
        assert opened(team) == {"x-tenant": CANARY}

    def test_routes_that_need_the_key_have_to_be_given_up_first(
        self, team: Team, api: Api, routed: dict[str, str]
    ) -> None:
        body = {"base_url": ELSEWHERE, "headers": []}
        with team.nothing_changes():
            refused(api.patch("custom-providers/custom-lab", body), 409, "routes_would_break")
        assert Credential.objects.exists()
        assert api.patch("custom-providers/custom-lab?confirm_broken_routes=true", body).status_code == 200
        assert team.settings["org_auto_model"]["routes"] == routed


class TestWhatDependsOnIt:
    @pytest.mark.parametrize(
        ("fields", "slugs"),
        [
            ({"api_kinds": ["responses"]}, ["ask", "code"]),
            ({"models": []}, ["code"]),
            ({"models": [{"id": "other"}]}, ["code"]),
        ],
    )
    def test_a_change_that_breaks_routes(
        self, team: Team, api: Api, routed: dict[str, str], fields: dict[str, Any], slugs: list[str]
    ) -> None:
        with team.nothing_changes():
            error = refused(api.patch("custom-providers/custom-lab", fields), 409, "routes_would_break")
        assert [(entry["slug"], entry["target"]) for entry in error["broken"]] == [
            (slug, routed[slug]) for slug in slugs
        ]
        answer = api.patch("custom-providers/custom-lab", {**fields, "confirm_broken_routes": True})
        assert answer.status_code == 200
        assert team.settings["org_auto_model"]["routes"] == routed

    def test_a_change_that_breaks_none(self, api: Api, routed: dict[str, str]) -> None:
        fields = {"api_kinds": ["chat_completions", "responses", "messages"], "models": [MODEL, {"id": "more"}]}
        assert api.patch("custom-providers/custom-lab", fields).status_code == 200

    def test_the_first_written_model_is_a_list_where_there_was_none(self, team: Team, api: Api) -> None:
        """Until then any id was taken."""
        api.post("custom-providers", {**NEW, "models": []})
        CredentialFactory.create(organization=team.organization, provider="custom-lab", offered_models=None)
        team.configure(**organization_auto({"code": "custom-lab/anything"}, "openai/gpt"))
        error = refused(api.patch("custom-providers/custom-lab", {"models": [MODEL]}), 409, "routes_would_break")
        assert [entry["slug"] for entry in error["broken"]] == ["code"]

    def test_deleting_takes_the_key_along(self, team: Team, api: Api, routed: dict[str, str]) -> None:
        with team.nothing_changes():
            error = refused(api.delete("custom-providers/custom-lab"), 409, "routes_would_break")
        assert {entry["slug"] for entry in error["broken"]} == {"ask", "code"}
        since, version = newest_row(), team.routing_version
        answer = api.delete("custom-providers/custom-lab", {"confirm_broken_routes": True})
        assert answer.json() == {"custom_provider": None, "routing_version": version + 1}
        assert not CustomProvider.objects.exists()
        assert not CustomProviderHeader.objects.exists()
        assert not Credential.objects.exists()
        actions = [row.action for row in audit_rows(since)]
        assert actions[:2] == ["byok.deleted", "custom_provider.deleted"]
        assert actions[2:] == ["organization_auto.route.broken"] * 2
        assert {row.slug for row in BrokenRoute.objects.all()} == {"ask", "code"}
        assert verify_chain(team.organization.pk)[1] is None

    def test_deleting_what_nothing_depends_on_needs_no_confirmation(self, api: Api, lab: CustomProvider) -> None:
        assert api.delete("custom-providers/custom-lab").status_code == 200


class TestRouting:
    """It is a provider like the others."""

    def test_its_models_are_listed_and_may_be_targets(self, team: Team, api: Api, key: Credential) -> None:
        listed = {row["id"]: row for row in api.get("models").json()["data"] if row["id"].startswith("custom-")}
        assert set(listed) == {"custom-lab/found", "custom-lab/llama-4-scout"}
        scout = listed["custom-lab/llama-4-scout"]
        assert scout["name"] == "Scout (Lab)"
        assert (scout["context_length"], scout["top_provider"]["max_completion_tokens"]) == (32_000, 4_000)
        assert scout["hasUserByokAvailable"] is True
        for target in ("custom-lab/Llama-4-Scout", "custom-lab/found"):
            assert api.put("organization-auto/routes/code", {"model": target}).status_code == 200
        refused(api.put("organization-auto/routes/code", {"model": "custom-lab/nothing"}), 400, "model_unavailable")

    def test_explained(self, api: Api, routed: dict[str, str], key: Credential) -> None:
        told = api.post("explain", {"mode": "code", "api_kind": "chat_completions"}).json()
        assert (told["provider"], told["credential"]) == ("custom-lab", str(key.pk))
        assert told["resolved_models"] == ["Llama-4-Scout"]
        told = api.post("explain", {"mode": "code", "api_kind": "messages"}).json()
        assert told["refusal"]["code"] == "api_kind_not_supported"
        draft = {"default_model": "kilo-auto/org", "org_auto_model": {"routes": {"x": "custom-lab/found"}}}
        told = api.post("explain", {"mode": "x", "draft": draft}).json()
        assert (told["provider"], told["resolved_models"]) == ("custom-lab", ["Found"])

    def test_nothing_without_a_key(self, api: Api, lab: CustomProvider) -> None:
        assert not [row for row in api.get("models").json()["data"] if row["id"].startswith("custom-")]
        answer = api.put("organization-auto/routes/code", {"model": "custom-lab/llama-4-scout"})
        refused(answer, 400, "no_enabled_credential")

    def test_another_organization_does_not_see_it(self, lab: CustomProvider, mallory: User) -> None:
        other = Organization.objects.get(memberships__user=mallory)
        CredentialFactory.create(organization=other, provider="custom-lab")
        answer = Api(mallory, other).put("organization-auto/routes/code", {"model": "custom-lab/llama-4-scout"})
        refused(answer, 400, "model_unavailable")


class TestAskingIt:
    """Discovery and the test of a key go out like requests: guarded, and with the provider's own headers."""

    def store(self, api: Api) -> Any:
        """By somebody who knows where the provider is."""
        seen = {"If-Match": str(api.get("custom-providers")["ETag"])}
        return api.post("byok", {"provider": "custom-lab", "api_key": "lab-key-1234"}, **seen)

    def test_where_it_may_be(self, api: Api, lab: CustomProvider, settings: Any) -> None:
        settings.ALLOW_PRIVATE_UPSTREAMS = True
        with DemoUpstream([{"id": "Found-1"}]) as upstream:
            CustomProvider.objects.update(base_url=f"{upstream.base_url}/v1")
            stored = self.store(api)
            assert stored.status_code == 201, stored.content
            assert Credential.objects.get().offered_models == ["Found-1"]
            assert api.post(f"byok/{stored.json()['credential']['id']}/test", {}).status_code == 200
            asked = upstream.requests()
        assert (asked[0]["method"], asked[0]["path"]) == ("GET", "/v1/models")
        # A good list says nothing about the key, so a model is asked: the one that was written down.
        assert asked[-1]["model"] == MODEL["id"]
        assert {sent["headers"]["x-tenant"] for sent in asked} == {CANARY}
        assert {sent["key_last_four"] for sent in asked} == {"1234"}

    def test_where_it_may_not_be(self, api: Api, lab: CustomProvider) -> None:
        with DemoUpstream() as upstream:
            CustomProvider.objects.update(base_url=f"{upstream.base_url}/v1")
            stored = self.store(api)
            credential_id = stored.json()["credential"]["id"]
            for path in ("test", "discover"):
                assert api.post(f"byok/{credential_id}/{path}", {}).status_code == 200
            assert upstream.stats()["connections"] == 0
        assert "address" in Credential.objects.get().discovery_error

    def test_a_key_is_not_stored_for_another_place_than_it_was_given_for(
        self, api: Api, lab: CustomProvider, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The provider moves while it is asked for its models."""

        def moving(*args: Any, **options: Any) -> Fetched:
            CustomProvider.objects.update(base_url=f"{URL}/moved")
            return fetch(*args, **options)

        CustomProvider.objects.update(base_url="https://127.0.0.1/v1")
        monkeypatch.setattr(discovery, "fetch", moving)
        refused(self.store(api), 409, "changed_meanwhile")
        assert not Credential.objects.exists()

    def test_a_redirect_is_not_followed(self, api: Api, lab: CustomProvider, settings: Any) -> None:
        settings.ALLOW_PRIVATE_UPSTREAMS = True
        with DemoUpstream() as upstream, DemoUpstream() as elsewhere:
            CustomProvider.objects.update(base_url=f"{upstream.base_url}/v1")
            upstream.behave("status", status=302, body={}, headers={"Location": f"{elsewhere.base_url}/v1/models"})
            stored = self.store(api)
            assert api.post(f"byok/{stored.json()['credential']['id']}/test", {}).status_code == 200
            assert elsewhere.stats()["connections"] == 0
        assert Credential.objects.get().offered_models is None


class TestSecrets:
    def test_a_value_is_sealed_for_its_organization_its_provider_and_its_name(
        self, team: Team, api: Api, lab: CustomProvider
    ) -> None:
        api.post(
            "custom-providers", {**NEW, "id": "custom-other", "headers": [{"name": "x-other", "value": "of-other"}]}
        )
        row = CustomProviderHeader.objects.get(name="x-tenant")
        assert CANARY.encode() not in bytes(row.ciphertext)
        other = CustomProviderHeader.objects.get(name="x-other")
        for moved in ({"name": "x-renamed"}, {"custom_provider": other.custom_provider}):
            CustomProviderHeader.objects.filter(pk=row.pk).update(**moved)
            with pytest.raises(UndecryptableSecret):
                opened(team, "custom-lab" if "name" in moved else "custom-other")
            CustomProviderHeader.objects.filter(pk=row.pk).update(name="x-tenant", custom_provider=lab)
        elsewhere = organization_create(name="Other", plan=Plan.ENTERPRISE, owner=UserFactory.create(), actor=COMMAND)
        CustomProvider.objects.filter(pk=lab.pk).update(organization=elsewhere)
        provider = provider_for(elsewhere.pk, "custom-lab")
        assert provider is not None
        with pytest.raises(UndecryptableSecret):
            opened_headers(elsewhere.pk, provider)

    def test_a_value_is_nowhere_to_be_seen(
        self, team: Team, api: Api, caplog: pytest.LogCaptureFixture, admin_client: Client
    ) -> None:
        caplog.set_level(logging.DEBUG)
        seen = [api.post("custom-providers", NEW).content]
        body = {"headers": [{"name": "x-tenant", "value": f"{CANARY}-2"}, {"name": "x-b", "value": f"{CANARY} b"}]}
        seen.append(api.patch("custom-providers/custom-lab", body).content)
        seen += [api.get(path).content for path in ("custom-providers", "custom-providers/custom-lab", "audit-logs")]
        row = CustomProvider.objects.get()
        for address in ("", f"{row.pk}/change/"):
            page = admin_client.get(f"/admin/byok/customprovider/{address}")
            assert page.status_code == 200
            seen.append(page.content)
            assert b"custom-lab" in page.content
        assert b"x-tenant" in seen[-1]
        seen.append(admin_client.get("/admin/organizations/auditlog/").content)
        seen.append(str([each.__dict__ for each in audit_rows()]).encode())
        seen.append(repr([row, row.headers.all(), provider_for(team.organization.pk, "custom-lab")]).encode())
        seen.append(caplog.text.encode())
        assert not [text for text in seen if CANARY.encode() in text]

    def test_admin_only_reads(self, lab: CustomProvider, admin_client: Client) -> None:
        assert admin_client.get("/admin/byok/customprovider/add/").status_code == 403
        assert admin_client.post(f"/admin/byok/customprovider/{lab.pk}/delete/", {"post": "yes"}).status_code == 403
        assert admin_client.post(f"/admin/byok/customprovider/{lab.pk}/change/", {"name": "X"}).status_code == 403
        assert CustomProvider.objects.get().name == "Lab"


def opened(team: Team, provider_id: str = "custom-lab") -> dict[str, str]:
    """The values of the headers that requests would carry."""
    provider = provider_for(team.organization.pk, provider_id)
    assert provider is not None
    return {name: value.reveal() for name, value in opened_headers(team.organization.pk, provider).items()}
