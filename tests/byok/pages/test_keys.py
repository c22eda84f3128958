"""The pages of provider keys."""

from __future__ import annotations

from typing import Any

import pytest
from django.test import Client
from django.urls import reverse

from byok.models import Credential
from organizations.models import AuditAction, AuditLog, Organization, User
from tests.e2e.scripted import ScriptedUpstream
from tests.factories import CredentialFactory, organization_auto
from tests.routing.management.conftest import Team

KEY = "sk-canary-of-the-pages-abcd"
ROUTES = {"code": "openai-byok/gpt-5", "ask": "kilo-auto/small", "docs": "openai-byok/gpt-5-mini"}
IN_ROW = {"HX-Request": "true"}
OVERLAY = {"HX-Request": "true", "HX-Target": "overlay"}


@pytest.fixture(autouse=True)
def models(provider: ScriptedUpstream) -> None:
    provider.script = lambda line: line.answer_json({"data": [{"id": "GPT-5"}, {"id": "gpt-5-mini"}]})


@pytest.fixture
def stored(team: Team) -> Credential:
    fields = {"provider": "openai-byok", "secret": KEY, "offered_models": ["GPT-5", "gpt-5-mini"]}
    credential: Credential = CredentialFactory.create(organization=team.organization, **fields)
    return credential


@pytest.fixture
def routed(team: Team, stored: Credential) -> Credential:
    team.configure(**organization_auto(ROUTES, "openai-byok/gpt-5"))
    return stored


def client_of(user: User) -> Client:
    client = Client()
    client.force_login(user)
    return client


def url(name: str, organization: Organization, **more: Any) -> str:
    return reverse(name, kwargs={"organization_id": organization.pk, **more})


def text_of(answer: Any) -> str:
    text: str = answer.content.decode()
    assert "canary" not in text
    return text


class TestList:
    def test_it_works(self, team: Team, routed: Credential) -> None:
        text = text_of(client_of(team.alice).get(url("provider-keys", team.organization)))
        assert "OpenAI" in text
        assert "…abcd" in text
        for slug in ("code", "docs", "fallback"):
            assert slug in text
        assert 'aria-checked="true"' in text
        assert "kilo-auto/small" not in text

    def test_the_number_of_queries(self, team: Team, django_assert_max_num_queries: Any) -> None:
        for provider in ("openai-byok", "xai-byok", "groq-byok", "mistral-byok", "edenai", "synthetic"):
            models = [f"model-{number}" for number in range(500)]
            CredentialFactory.create(organization=team.organization, provider=provider, offered_models=models)
        client = client_of(team.alice)
        client.get(url("provider-keys", team.organization))
        with django_assert_max_num_queries(6):
            client.get(url("provider-keys", team.organization))

    def test_a_member_sees_why_not(self, team: Team, stored: Credential) -> None:
        text = text_of(client_of(team.bob).get(url("provider-keys", team.organization)))
        assert "Only owners, admins and billing managers manage provider keys." in text
        assert url("provider-key-delete", team.organization, credential_id=stored.pk) not in text
        assert url("provider-key-add", team.organization) not in text
        assert 'type="submit"' not in text.partition("<main")[2]

    def test_a_route_without_a_key(self, team: Team) -> None:
        team.configure(**organization_auto(ROUTES, "kilo-auto/small"))
        text = text_of(client_of(team.alice).get(url("provider-keys", team.organization)))
        assert "lead to a provider without a key" in text
        assert f"{url('provider-key-add', team.organization)}?provider=openai-byok" in text

    def test_another_organization(self, team: Team, mallory: User, stored: Credential) -> None:
        for name in ("provider-key", "provider-key-delete"):
            theirs = url(name, mallory.memberships.get().organization, credential_id=stored.pk)
            assert client_of(mallory).get(theirs).status_code == 404


class TestBroken:
    def test_reading_the_models(self, team: Team, routed: Credential, provider: ScriptedUpstream) -> None:
        provider.script = lambda line: line.answer_json({"data": [{"id": "gpt-5-mini"}]})
        client = client_of(team.alice)
        path = url("provider-key", team.organization, credential_id=routed.pk)
        assert "Not all that leads here can be served" not in text_of(client.get(path))
        discover = url("provider-key-discover", team.organization, credential_id=routed.pk)
        answer = client.post(discover, headers=IN_ROW)
        told = "Refused now: the route of code, the fallback."
        assert told in answer["HX-Trigger"]
        assert '"tone": "error"' in answer["HX-Trigger"]
        page = text_of(client.get(path)).partition("Not all that leads here can be served")[2].partition("key-leads")[0]
        assert "code" in page
        assert "docs" not in page

    def test_replacing_the_key(self, team: Team, routed: Credential, provider: ScriptedUpstream) -> None:
        provider.script = lambda line: line.answer_json({"data": [{"id": "gpt-5"}]})
        client = client_of(team.alice)
        replace = url("provider-key-replace", team.organization, credential_id=routed.pk)
        answer = client.post(replace, {"api_key": f"{KEY}-other"})
        assert "Refused now: the route of docs." in text_of(client.get(answer["Location"]))


class TestAdd:
    def test_it_works(self, team: Team) -> None:
        client = client_of(team.carol)
        answer = client.post(url("provider-key-add", team.organization), {"provider": "OpenAI", "api_key": f" {KEY}\n"})
        assert (answer.status_code, answer["Location"]) == (303, url("provider-keys", team.organization))
        assert Credential.objects.get().provider == "openai-byok"
        assert "The key for OpenAI is stored; it can use 2 models." in text_of(client.get(answer["Location"]))
        assert AuditLog.objects.filter(action=AuditAction.BYOK_CREATED, via="web").count() == 1

    def test_a_list_that_cannot_be_read(self, team: Team, provider: ScriptedUpstream) -> None:
        provider.script = lambda line: line.answer_json({"error": {"message": f"bad {KEY}"}}, "401 Unauthorized")
        client = client_of(team.alice)
        body = {"provider": "openai-byok", "api_key": KEY}
        answer = client.post(url("provider-key-add", team.organization), body)
        assert "its models could not be read" in text_of(client.get(answer["Location"]))
        assert Credential.objects.exists()

    @pytest.mark.parametrize(
        ("provider_id", "key", "told"),
        [
            ("nobody", KEY, "There is no provider with this id."),
            ("openai-byok", f"Bearer {KEY}", "Leave &quot;Bearer&quot; out"),
            ("openai-byok", f"{KEY} x", "no spaces"),
            ("", KEY, "This field is required."),
        ],
    )
    def test_refused(self, team: Team, provider_id: str, key: str, told: str) -> None:
        body = {"provider": provider_id, "api_key": key}
        answer = client_of(team.alice).post(url("provider-key-add", team.organization), body, headers=OVERLAY)
        text = text_of(answer)
        assert answer.status_code == 422
        assert told in text
        assert 'aria-invalid="true"' in text
        assert "not sent back to the browser" in text
        assert not Credential.objects.exists()

    def test_one_that_exists(self, team: Team, stored: Credential) -> None:
        body = {"provider": "openai-byok", "api_key": "sk-other-0000-efgh"}
        answer = client_of(team.alice).post(url("provider-key-add", team.organization), body)
        assert answer.status_code == 422
        assert "There is a key for OpenAI already" in text_of(answer)


class TestReplace:
    def test_it_works(self, team: Team, stored: Credential) -> None:
        path = url("provider-key-replace", team.organization, credential_id=stored.pk)
        client = client_of(team.alice)
        assert "abcd" in text_of(client.get(path))
        assert client.post(path, {"api_key": "sk-other-0000-wxyz"}).status_code == 303
        stored.refresh_from_db()
        assert stored.last_four == "wxyz"


class TestChecks:
    def test_in_the_place_of_the_row(self, team: Team, stored: Credential) -> None:
        path = url("provider-key-test", team.organization, credential_id=stored.pk)
        answer = client_of(team.alice).post(path, headers={**IN_ROW, "HX-Target": f"key-{stored.pk}"})
        text = text_of(answer)
        assert (answer.status_code, text.strip().startswith("<tr")) == (200, True)
        assert "works" in text
        assert "OpenAI: The provider took the key." in answer["HX-Trigger"]

    def test_in_the_overlay(self, team: Team, stored: Credential, provider: ScriptedUpstream) -> None:
        provider.script = lambda line: line.answer_json({"data": [{"id": "GPT-6"}]})
        path = url("provider-key-discover", team.organization, credential_id=stored.pk)
        answer = client_of(team.alice).post(path, headers=OVERLAY)
        assert "<dialog" in text_of(answer)
        assert "GPT-6" in answer.content.decode()

    def test_without_scripts(self, team: Team, stored: Credential, provider: ScriptedUpstream) -> None:
        provider.script = lambda line: line.answer_json({"error": {"message": f"no {KEY}"}}, "401 Unauthorized")
        client = client_of(team.alice)
        answer = client.post(url("provider-key-test", team.organization, credential_id=stored.pk))
        assert answer.status_code == 303
        text = text_of(client.get(answer["Location"]))
        assert "OpenAI: The provider refused the key." in text
        assert "refused" in text

    @pytest.mark.parametrize("name", ["provider-key-test", "provider-key-discover"])
    def test_somebody_was_quicker(self, team: Team, stored: Credential, provider: ScriptedUpstream, name: str) -> None:
        client = client_of(team.alice)
        path = url(name, team.organization, credential_id=stored.pk)
        answer = client.post(path, {"routing_version": team.routing_version + 1})
        assert answer.status_code == 303
        assert "was changed meanwhile" in text_of(client.get(answer["Location"]))
        assert provider.requests == []


class TestSwitch:
    def test_nothing_leads_to_it(self, team: Team, stored: Credential) -> None:
        path = url("provider-key-enabled", team.organization, credential_id=stored.pk)
        client = client_of(team.alice)
        for wanted in ("off", "on"):
            assert client.post(path, {"enabled": wanted}).status_code == 303
            stored.refresh_from_db()
            assert stored.is_enabled is (wanted == "on")

    def test_what_breaks_is_asked_about(self, team: Team, routed: Credential) -> None:
        path = url("provider-key-enabled", team.organization, credential_id=routed.pk)
        client = client_of(team.alice)
        answer = client.post(path, {"enabled": "off"}, headers=OVERLAY)
        text = text_of(answer)
        assert answer.status_code == 422
        assert [text.count(target) for target in ("openai-byok/gpt-5<", "openai-byok/gpt-5-mini<")] == [2, 1]
        routed.refresh_from_db()
        assert routed.is_enabled
        body = {"enabled": "off", "confirm_broken_routes": "on", "routing_version": team.routing_version}
        assert client.post(path, body).status_code == 303
        routed.refresh_from_db()
        assert not routed.is_enabled

    def test_somebody_was_quicker(self, team: Team, routed: Credential) -> None:
        """Who confirms confirms what he has seen."""
        path = url("provider-key-enabled", team.organization, credential_id=routed.pk)
        body = {"enabled": "off", "confirm_broken_routes": "on", "routing_version": team.routing_version + 1}
        answer = client_of(team.alice).post(path, body)
        assert answer.status_code == 412
        assert "This changed while you had it open" in text_of(answer)
        routed.refresh_from_db()
        assert routed.is_enabled


class TestDelete:
    def test_what_breaks_is_shown_first(self, team: Team, routed: Credential) -> None:
        path = url("provider-key-delete", team.organization, credential_id=routed.pk)
        client = client_of(team.alice)
        assert "openai-byok/gpt-5-mini" in text_of(client.get(path))
        assert client.post(path).status_code == 422
        assert client.post(path, {"confirm_broken_routes": "on"}).status_code == 303
        assert not Credential.objects.exists()

    def test_a_member(self, team: Team, stored: Credential) -> None:
        path = url("provider-key-delete", team.organization, credential_id=stored.pk)
        assert client_of(team.bob).post(path).status_code == 403
        assert Credential.objects.exists()
