"""Provider keys of an organization, over the API: stored, replaced, switched, deleted, tested, and told about."""

from __future__ import annotations

import json
from typing import Any
from uuid import uuid4

import pytest

from byok.encryption import SecretOwner
from byok.keys import keyring
from byok.models import Credential
from byok.selectors import enabled_credentials
from byok.services import checks, credentials
from kilo_gateway.secret import Secret
from organizations.models import AuditLog, Organization, User
from routing.models import BrokenRoute
from tests.e2e.scripted import ScriptedUpstream
from tests.factories import CredentialFactory, organization_auto
from tests.routing.management.conftest import Team, refused

KEY = "sk-canary-of-the-api-abcd"
OTHER = "sk-another-canary-wxyz"
ROUTES = {"code": "openai-byok/gpt-5", "ask": "kilo-auto/small", "docs": "openai-byok/gpt-5-mini"}


def lists(*ids: str) -> Any:
    return lambda line: line.answer_json({"data": [{"id": each} for each in ids]})


@pytest.fixture(autouse=True)
def models(provider: ScriptedUpstream) -> None:
    provider.script = lists("GPT-5", "gpt-5-mini")


@pytest.fixture
def stored(team: Team) -> Credential:
    fields = {"provider": "openai-byok", "secret": KEY, "offered_models": ["GPT-5", "gpt-5-mini"]}
    credential: Credential = CredentialFactory.create(organization=team.organization, **fields)
    return credential


@pytest.fixture
def routed(team: Team, stored: Credential) -> Credential:
    """A key that routes, the fallback and nothing else lead to."""
    team.configure(**organization_auto(ROUTES, "openai-byok/gpt-5"))
    return stored


BROKEN = [
    {"kind": "route", "slug": "code", "target": "openai-byok/gpt-5"},
    {"kind": "route", "slug": "docs", "target": "openai-byok/gpt-5-mini"},
    {"kind": "fallback", "slug": "", "target": "openai-byok/gpt-5"},
]


class Written:
    """What a change has left behind."""

    def __init__(self, team: Team) -> None:
        self.team, self.version, self.count = team, team.routing_version, AuditLog.objects.count()

    def rows(self, versions: int) -> list[tuple[str, str]]:
        """The new audit rows, after the routing version has risen by so much."""
        assert self.team.routing_version == self.version + versions
        rows = list(AuditLog.objects.order_by("pk"))[self.count :]
        assert "canary" not in json.dumps([row.changes for row in rows])
        assert all("canary" not in row.message for row in rows)
        return [(row.action, row.message) for row in rows]


def secret_of(credential: Credential) -> str:
    row = enabled_credentials(credential.organization_id)[credential.provider]  # type: ignore[arg-type]
    owner = SecretOwner.organization(credential.organization_id)  # type: ignore[arg-type]
    return keyring().decrypt(row.sealed, owner=owner, provider_id=row.provider_id).reveal()


class TestCreate:
    def test_it_works(self, team: Team, provider: ScriptedUpstream) -> None:
        written = Written(team)
        response = team.api().post("byok", {"provider": "openai-byok", "api_key": f"  {KEY}\n"})
        assert response.status_code == 201
        state = response.json()["credential"]
        row = Credential.objects.get()
        assert secret_of(row) == KEY
        assert (row.organization_id, row.user_id, row.is_enabled) == (team.organization.pk, None, True)
        assert (state["id"], state["last_four"], state["provider_name"]) == (str(row.pk), "abcd", "OpenAI")
        assert (state["offered_models"], state["model_count"]) == (["GPT-5", "gpt-5-mini"], 2)
        assert (state["discovery_error"], state["last_test"], state["dependents"]) == ("", None, [])
        assert response["ETag"] == f'"{team.routing_version}"'
        assert written.rows(1) == [("byok.created", "Key of openai-byok (…abcd) stored")]
        assert [seen.header("authorization") for seen in provider.requests] == [f"Bearer {KEY}"]
        assert b"canary" not in response.content

    def test_a_list_that_cannot_be_read(self, team: Team, provider: ScriptedUpstream) -> None:
        provider.script = lambda line: line.answer_json({"error": {"message": f"bad key {KEY}"}}, "401 Unauthorized")
        response = team.api().post("byok", {"provider": "openai-byok", "api_key": KEY})
        state = response.json()["credential"]
        assert (response.status_code, state["offered_models"], state["discovered_at"]) == (201, None, None)
        assert "answered 401" in state["discovery_error"]

    @pytest.mark.parametrize(
        ("key", "told"),
        [
            ("", "required"),
            (" \n ", "required"),
            ("x" * 4097, "at most 4096"),
            ("sk canary", "no spaces"),
            ("sk-canary\r\nx-evil: 1", "no spaces"),
            ("sk-canäry", "no spaces"),
            ("sk-canary\x7f", "no spaces"),
            ("Bearer sk-canary", "Bearer"),
        ],
    )
    def test_what_is_no_key(self, team: Team, provider: ScriptedUpstream, key: str, told: str) -> None:
        with team.nothing_changes():
            response = team.api().post("byok", {"provider": "openai-byok", "api_key": key})
        fields = refused(response, 400, "invalid", field="api_key")["fields"] if key else {}
        assert told in fields["api_key"][0] if key else response.status_code == 400
        assert b"canary" not in response.content
        assert (provider.accepted, Credential.objects.count()) == (0, 0)

    @pytest.mark.parametrize("provider_id", ["openai", "custom-unknown", "kilo", "x" * 100])
    def test_an_unknown_provider(self, team: Team, provider: ScriptedUpstream, provider_id: str) -> None:
        response = team.api().post("byok", {"provider": provider_id, "api_key": KEY})
        refused(response, 400, "unknown_provider", field="provider")
        assert provider.accepted == 0

    def test_one_for_each_provider(self, team: Team, stored: Credential, provider: ScriptedUpstream) -> None:
        with team.nothing_changes():
            refused(team.api().post("byok", {"provider": "openai-byok", "api_key": OTHER}), 409, "credential_exists")
        assert (provider.accepted, secret_of(stored)) == (0, KEY)


class TestReplace:
    def test_it_works(self, team: Team, routed: Credential, provider: ScriptedUpstream) -> None:
        """No confirmation is asked for: what depends on the key goes on."""
        Credential.objects.update(last_test_result="works", last_test_status=200, last_refusal_status=401)
        provider.script = lists("GPT-5", "gpt-5-mini", "gpt-6")
        written = Written(team)
        state = team.api().patch(f"byok/{routed.pk}", {"api_key": OTHER}).json()["credential"]
        assert (secret_of(routed), state["last_four"], state["model_count"]) == (OTHER, "wxyz", 3)
        assert (state["last_test"], state["last_refusal_status"]) == (None, None)
        assert written.rows(1) == [("byok.replaced", "Key of openai-byok (…wxyz) replaced (was …abcd)")]
        assert AuditLog.objects.get(action="byok.replaced").changes == {"last_four": ["abcd", "wxyz"]}

    def test_by_itself(self, team: Team, stored: Credential, provider: ScriptedUpstream) -> None:
        with team.nothing_changes():
            assert team.api().patch(f"byok/{stored.pk}", {"api_key": KEY}).status_code == 200
            assert team.api().patch(f"byok/{stored.pk}", {}).status_code == 200
        assert provider.accepted == 0

    def test_by_itself_while_another_replaces_it(
        self, team: Team, stored: Credential, provider: ScriptedUpstream, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The models of the other key must not become those of this one."""
        compare, raced = credentials._holds, False

        def holds(credential: Credential, secret: Secret, owner: SecretOwner) -> bool:
            nonlocal raced
            found = compare(credential, secret, owner)
            if not raced:
                raced = True
                assert team.api().patch(f"byok/{stored.pk}", {"api_key": OTHER}).status_code == 200
            return found

        provider.script = lists("gpt-of-the-other")
        monkeypatch.setattr(credentials, "_holds", holds)
        refused(team.api().patch(f"byok/{stored.pk}", {"api_key": KEY}), 409, "changed_meanwhile")
        assert secret_of(stored) == OTHER
        assert team.api().patch(f"byok/{stored.pk}", {"api_key": OTHER}).status_code == 200

    def test_one_that_cannot_be_decrypted(self, team: Team, stored: Credential) -> None:
        Credential.objects.update(key_id="gone")
        assert team.api().patch(f"byok/{stored.pk}", {"api_key": KEY}).status_code == 200
        assert secret_of(stored) == KEY

    def test_a_list_that_cannot_be_read_leaves_the_former(
        self, team: Team, stored: Credential, provider: ScriptedUpstream
    ) -> None:
        provider.script = lambda line: line.answer_json([], "500 Oops")
        state = team.api().patch(f"byok/{stored.pk}", {"api_key": OTHER}).json()["credential"]
        assert state["offered_models"] == ["GPT-5", "gpt-5-mini"]
        assert "answered 500" in state["discovery_error"]

    def test_together_with_enabling(self, team: Team, stored: Credential) -> None:
        Credential.objects.update(is_enabled=False)
        written = Written(team)
        team.api().patch(f"byok/{stored.pk}", {"api_key": OTHER, "is_enabled": True})
        assert [action for action, _ in written.rows(1)] == ["byok.replaced", "byok.enabled"]
        assert secret_of(stored) == OTHER


class TestDisableAndDelete:
    def change(self, team: Team, credential: Credential, how: str, **fields: Any) -> Any:
        path = f"byok/{credential.pk}"
        if how == "disable":
            return team.api().patch(path, {"is_enabled": False, **fields})
        if how == "delete":
            return team.api().delete(path, fields or None)
        query = "?confirm_broken_routes=true" if fields else ""
        return team.api().delete(path + query)

    @pytest.mark.parametrize("how", ["disable", "delete", "delete by address"])
    def test_what_depends_on_it(self, team: Team, routed: Credential, how: str) -> None:
        with team.nothing_changes():
            error = refused(self.change(team, routed, how), 409, "routes_would_break", says='"code", "docs"')
        assert error["broken"] == BROKEN
        assert Credential.objects.get().is_enabled
        written = Written(team)
        response = self.change(team, routed, how, confirm_broken_routes=True)
        assert response.status_code == 200
        verb = "disabled" if how == "disable" else "deleted"
        told = written.rows(1)
        assert told[0] == (f"byok.{verb}", f"Key of openai-byok (…abcd) {verb}")
        assert [action for action, _ in told[1:]] == ["organization_auto.route.broken"] * 3
        assert told[1][1].startswith('Organization Auto route for "code" ("openai-byok/gpt-5") broke: ')
        assert told[3][1].startswith('Organization Auto fallback ("openai-byok/gpt-5") broke: ')
        assert {row.via for row in AuditLog.objects.filter(action__endswith="broken")} == {"system"}
        assert team.settings["org_auto_model"]["routes"] == ROUTES
        state = team.api().get("organization-auto").json()
        assert [(route["slug"], route["status"]) for route in state["routes"]] == [
            ("ask", "ok"),
            ("code", "broken"),
            ("docs", "broken"),
        ]
        assert (response.json()["credential"] is None) == (how != "disable")
        if how == "disable":
            assert response.json()["credential"]["broken_dependents"] == BROKEN

    def test_what_is_broken_already_is_not_told_again(self, team: Team, routed: Credential) -> None:
        self.change(team, routed, "disable", confirm_broken_routes=True)
        written = Written(team)
        self.change(team, routed, "delete", confirm_broken_routes=True)
        assert [action for action, _ in written.rows(1)] == ["byok.deleted"]

    def test_enabling_mends(self, team: Team, routed: Credential) -> None:
        self.change(team, routed, "disable", confirm_broken_routes=True)
        assert BrokenRoute.objects.count() == 3
        written = Written(team)
        assert team.api().patch(f"byok/{routed.pk}", {"is_enabled": True}).status_code == 200
        assert written.rows(1) == [("byok.enabled", "Key of openai-byok (…abcd) enabled")]
        assert not BrokenRoute.objects.exists()

    def test_a_default_model_depends_on_it(self, team: Team, stored: Credential) -> None:
        team.configure(default_model="openai-byok/gpt-5")
        error = refused(self.change(team, stored, "disable"), 409, "routes_would_break", says="the default model")
        assert error["broken"] == [{"kind": "default_model", "slug": "", "target": "openai-byok/gpt-5"}]

    def test_dormant_routes_depend_on_it_and_are_not_told_as_broken(self, team: Team, routed: Credential) -> None:
        Organization.objects.update(plan="teams")
        refused(self.change(team, routed, "delete"), 409, "routes_would_break")
        written = Written(team)
        self.change(team, routed, "delete", confirm_broken_routes=True)
        assert [action for action, _ in written.rows(1)] == ["byok.deleted"]

    def test_nothing_depends_on_it(self, team: Team, stored: Credential) -> None:
        team.configure(**organization_auto({"code": "anthropic/claude"}))
        written = Written(team)
        assert self.change(team, stored, "disable").status_code == 200
        assert self.change(team, stored, "disable").status_code == 200
        assert [action for action, _ in written.rows(1)] == ["byok.disabled"]
        assert self.change(team, stored, "delete").status_code == 200
        assert not Credential.objects.exists()

    def test_settings_that_cannot_be_read_keep_no_key_alive(self, team: Team, stored: Credential) -> None:
        team.configure(org_auto_model="odd")
        assert self.change(team, stored, "delete").status_code == 200


class TestTestAndDiscover:
    def test_a_test_is_noted(self, team: Team, stored: Credential, provider: ScriptedUpstream) -> None:
        for status, result in (("200 OK", "works"), ("401 Unauthorized", "refused")):
            provider.script = lambda line, status=status: line.answer_json({"error": {"message": KEY}}, status)
            written = Written(team)
            response = team.api().post(f"byok/{stored.pk}/test", {})
            test = response.json()["credential"]["last_test"]
            assert (test["result"], test["status"]) == (result, int(status[:3]))
            assert b"canary" not in response.content
            assert written.rows(0) == [("byok.tested", f"Key of openai-byok (…abcd) tested: {result} ({status[:3]})")]
            assert Credential.objects.get().is_enabled

    def test_one_that_cannot_be_decrypted(self, team: Team, stored: Credential, provider: ScriptedUpstream) -> None:
        Credential.objects.update(ciphertext=b"short")
        state = team.api().post(f"byok/{stored.pk}/test", {}).json()["credential"]
        assert (state["last_test"]["result"], state["last_test"]["status"]) == ("unreadable", None)
        state = team.api().post(f"byok/{stored.pk}/discover", {}).json()["credential"]
        assert "decrypted" in state["discovery_error"]
        assert provider.accepted == 0

    def test_one_that_was_replaced_meanwhile(self, team: Team, stored: Credential, provider: ScriptedUpstream) -> None:
        other = CredentialFactory.create(organization=team.organization, provider="neuralwatt", secret=OTHER)
        found = checks.check_key

        def replaced(*args: Any, **options: Any) -> Any:
            team.api().patch(f"byok/{stored.pk}", {"api_key": OTHER})
            return found(*args, **options)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(checks, "check_key", replaced)
            refused(team.api().post(f"byok/{stored.pk}/test", {}), 409, "changed_meanwhile")
        assert Credential.objects.get(pk=stored.pk).last_tested_at is None
        assert Credential.objects.get(pk=other.pk).last_tested_at is None

    def test_another_list(self, team: Team, routed: Credential, provider: ScriptedUpstream) -> None:
        provider.script = lists("gpt-5-mini", "gpt-6")
        written = Written(team)
        state = team.api().post(f"byok/{routed.pk}/discover", {}).json()["credential"]
        assert state["offered_models"] == ["gpt-5-mini", "gpt-6"]
        told = written.rows(1)
        assert told[0] == ("byok.discovered", "Key of openai-byok (…abcd) can use 2 models: 1 new, 1 gone")
        assert [action for action, _ in told[1:]] == ["organization_auto.route.broken"] * 2
        # Of what leads to this key, only that whose model is gone.
        assert (state["dependents"], state["broken_dependents"]) == (BROKEN, [BROKEN[0], BROKEN[2]])

    def test_the_same_list(self, team: Team, stored: Credential, provider: ScriptedUpstream) -> None:
        provider.script = lists("gpt-5-mini", "GPT-5")
        with team.nothing_changes():
            state = team.api().post(f"byok/{stored.pk}/discover", {}).json()["credential"]
        assert state["discovered_at"] is not None

    def test_no_list(self, team: Team, stored: Credential, provider: ScriptedUpstream) -> None:
        provider.script = lambda line: line.answer_json({"models": []})
        with team.nothing_changes():
            state = team.api().post(f"byok/{stored.pk}/discover", {}).json()["credential"]
        assert "unknown shape" in state["discovery_error"]
        assert state["offered_models"] == ["GPT-5", "gpt-5-mini"]


class TestReading:
    def test_members_see_all_but_the_secret(self, team: Team, routed: Credential) -> None:
        CredentialFactory.create(user=team.bob, provider="neuralwatt", secret=OTHER)
        CredentialFactory.create(provider="neuralwatt", secret=OTHER)
        response = team.api(team.bob).get("byok")
        (row,) = response.json()["credentials"]
        assert (row["provider"], row["last_four"], row["dependents"]) == ("openai-byok", "abcd", BROKEN)
        whole = team.api(team.bob).get(f"byok/{routed.pk}")
        assert whole.json()["credential"]["offered_models"] == ["GPT-5", "gpt-5-mini"]
        for answer in (response, whole):
            assert b"canary" not in answer.content
            assert b"ciphertext" not in answer.content
            assert b"key_id" not in answer.content

    def test_the_number_of_queries_does_not_grow(self, team: Team, django_assert_max_num_queries: Any) -> None:
        for provider_id in ("openai-byok", "neuralwatt", "edenai", "groq-byok"):
            CredentialFactory.create(organization=team.organization, provider=provider_id)
        api = team.api()
        with django_assert_max_num_queries(4):
            assert len(api.get("byok").json()["credentials"]) == 4


class TestWhoMay:
    def attempts(self, api: Any, credential: Credential) -> list[Any]:
        path = f"byok/{credential.pk}"
        return [
            api.post("byok", {"provider": "neuralwatt", "api_key": OTHER}),
            api.patch(path, {"api_key": OTHER}),
            api.patch(path, {"is_enabled": False}),
            api.post(f"{path}/test", {}),
            api.post(f"{path}/discover", {}),
            api.delete(path),
        ]

    def test_members_do_not_and_the_provider_is_not_asked(
        self, team: Team, stored: Credential, provider: ScriptedUpstream
    ) -> None:
        with team.nothing_changes():
            for response in self.attempts(team.api(team.bob), stored):
                refused(response, 403, "role_required")
        assert provider.accepted == 0

    @pytest.mark.parametrize("who", ["alice", "dave", "carol"])
    def test_owners_admins_and_billing_managers_do(self, team: Team, stored: Credential, who: str) -> None:
        responses = self.attempts(team.api(getattr(team, who)), stored)
        assert [response.status_code for response in responses] == [201, 200, 200, 200, 200, 200]

    def test_strangers_do_not_find_it(
        self, team: Team, stored: Credential, mallory: User, provider: ScriptedUpstream
    ) -> None:
        for response in self.attempts(team.api(mallory), stored):
            refused(response, 404, "not_found")
        elsewhere = Team(mallory.memberships.get().organization, mallory, mallory, mallory, mallory)
        for response in self.attempts(elsewhere.api(mallory), stored)[1:]:
            refused(response, 404, "not_found")
        assert f"Bearer {KEY}" not in {seen.header("authorization") for seen in provider.requests}
        assert secret_of(stored) == KEY

    def test_a_personal_key_is_not_found_here(self, team: Team) -> None:
        own = CredentialFactory.create(user=team.alice, provider="openai-byok")
        for response in self.attempts(team.api(), own)[1:]:
            refused(response, 404, "not_found")
        refused(team.api().get(f"byok/{uuid4()}"), 404, "not_found")

    def test_whoever_saw_an_older_version_is_told(
        self, team: Team, stored: Credential, provider: ScriptedUpstream
    ) -> None:
        api = team.api(headers={"If-Match": f'"{team.routing_version + 1}"'})
        with team.nothing_changes():
            for response in self.attempts(api, stored):
                refused(response, 412, "routing_version_moved")
        assert provider.accepted == 0
