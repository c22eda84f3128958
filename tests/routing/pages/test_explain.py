"""Explain, and the receipt of a request."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse
from pytest_django import DjangoAssertNumQueries

from organizations.models import Organization, Plan, User
from tests.factories import ApiKeyFactory, CredentialFactory, organization_auto
from tests.routing.management.conftest import CLAUDE, GPT, KIMI, Team
from tests.routing.usage.records import used


def client_of(user: User) -> Client:
    client = Client()
    client.force_login(user)
    return client


def url(team: Team, name: str = "explain", **more: Any) -> str:
    return reverse(name, kwargs={"organization_id": team.organization.pk, **more})


def explained(team: Team, user: User | None = None, **query: str) -> str:
    answer = client_of(user or team.bob).get(url(team), query)
    assert answer.status_code == 200
    return " ".join(answer.content.decode().split())


class TestLive:
    def test_it_works(self, team: Team) -> None:
        team.configure(**organization_auto({"code": CLAUDE}, GPT))
        text = explained(team, mode="build")
        assert f'<p class="verdict mono anywhere">{CLAUDE}</p>' in text
        assert "build follows the route of code" in text
        assert "the fallback" in explained(team, mode="ask")
        assert "asked for by name" in explained(team, model=KIMI)

    def test_it_asks_something_at_once(self, team: Team) -> None:
        team.configure(**organization_auto({"code": CLAUDE}, GPT))
        text = explained(team)
        assert "the route of code" in text
        assert '<option value="architect">' in text
        assert f'<option value="{KIMI}"' in text

    def test_why_it_is_refused(self, team: Team) -> None:
        team.configure(**organization_auto({"code": "gone/model"}))
        text = explained(team, mode="code")
        assert "is unavailable: it is not in the catalog." in text
        assert "<code>model_unavailable</code>" in text
        assert '<li class="is-refused">' in text

    def test_with_a_key_of_the_organization(self, team: Team) -> None:
        CredentialFactory.create(organization=team.organization)
        team.configure(**organization_auto({"code": "neuralwatt/demo-model"}))
        assert "Neuralwatt, with the organization's own key" in explained(team, mode="code")
        assert "Neuralwatt does not support" in explained(team, mode="code", api_kind="messages")

    def test_what_differs_by_api(self, team: Team) -> None:
        CredentialFactory.create(organization=team.organization)
        team.configure(**organization_auto({"code": "neuralwatt/demo-model"}, GPT))
        _, told = explained(team, mode="code").split("Not the same in every API")
        told = told.partition("</dl>")[0]
        assert "<dt>Messages</dt>" in told
        assert "Neuralwatt does not support" in told
        assert "Chat completions" not in told
        for same in ({"mode": "code", "api_kind": "messages"}, {"mode": "ask"}):
            assert "Not the same in every API" not in explained(team, **same)

    def test_what_differs_in_a_draft(self, team: Team) -> None:
        CredentialFactory.create(organization=team.organization)
        team.configure(**organization_auto({"code": CLAUDE}))
        now, draft = explained(team, mode="code", route="neuralwatt/demo-model").split('id="decision-draft"')
        assert "Not the same in every API" not in now
        assert "Not the same in every API" in draft

    def test_a_question_that_is_none(self, team: Team) -> None:
        assert "This cannot be explained" in explained(team, mode="x" * 501)


class TestDraft:
    @pytest.fixture(autouse=True)
    def _routes(self, team: Team) -> None:
        team.configure(**organization_auto({"code": CLAUDE}, GPT))

    @pytest.mark.parametrize(
        ("change", "outcome"),
        [
            ({"route": KIMI}, f'<p class="verdict mono anywhere">{KIMI}</p>'),
            ({"route_is": "none"}, f'<p class="verdict mono anywhere">{GPT}</p>'),
            ({"route_is": "none", "fallback": KIMI}, f'<p class="verdict mono anywhere">{KIMI}</p>'),
            ({"enabled": "off"}, "Organization Auto is not enabled for this organization."),
            ({"providers": "openai, moonshot"}, "<code>provider_not_allowed</code>"),
            ({"providers": "Bedrock"}, '<dd class="mono"> bedrock </dd>'),
            ({"denied": CLAUDE.upper()}, "<code>model_denied</code>"),
        ],
    )
    def test_what_if(self, team: Team, change: dict[str, str], outcome: str) -> None:
        with team.nothing_changes():
            text = explained(team, mode="code", **change)
        now, draft = text.split('id="decision-draft"')
        assert f'<p class="verdict mono anywhere">{CLAUDE}</p>' in now
        assert outcome.replace(" ", "") in draft.replace(" ", "")

    def test_organization_auto_on(self, team: Team) -> None:
        team.configure(org_auto_model=organization_auto({"code": CLAUDE})["org_auto_model"])
        text = explained(team, mode="code", enabled="on")
        now, draft = text.split('id="decision-draft"')
        assert "is not enabled" in now
        assert CLAUDE in draft

    def test_no_difference(self, team: Team) -> None:
        assert "The draft makes no difference to this request." in explained(team, mode="code", fallback=KIMI)

    def test_a_route_without_a_model(self, team: Team) -> None:
        assert "Model of the route: Choose a model" in explained(team, mode="code", route_is="only")

    def test_queries(self, team: Team, django_assert_max_num_queries: DjangoAssertNumQueries) -> None:
        client = client_of(team.alice)
        client.get(url(team))
        with django_assert_max_num_queries(14):  # two of them are the savepoint that a test has around the lock
            client.get(url(team), {"mode": "code", "route": KIMI})
        with django_assert_max_num_queries(12):
            answer = client.get(
                url(team),
                {"mode": "code", "route": KIMI},
                headers={"HX-Request": "true", "HX-Target": "explanation"},
            )
        assert "<form" not in answer.content.decode()


def test_a_teams_plan(team: Team) -> None:
    Organization.objects.update(plan=Plan.TEAMS)
    assert "Organization Auto is not available for this account." in explained(team, mode="code")


class TestOpenARequest:
    def test_it_works(self, team: Team) -> None:
        request_id = uuid.uuid4()
        answer = client_of(team.bob).get(url(team), {"request": f" {request_id} "})
        assert (answer.status_code, answer["Location"]) == (303, url(team, "request-receipt", request_id=request_id))

    def test_no_id(self, team: Team) -> None:
        answer = client_of(team.bob).get(url(team), {"request": "abc"})
        assert answer.status_code == 422
        assert "That is no request id" in answer.content.decode()


class TestReceipt:
    @pytest.fixture
    def record(self, team: Team) -> Any:
        key = ApiKeyFactory.create(user=team.bob, name="Laptop")
        return used(
            team.organization.pk,
            team.bob.pk,
            created_at=datetime.now(UTC),
            api_key_id=key.pk,
            route="exact:code",
            target=CLAUDE,
            resolved_model=CLAUDE,
            provider="openrouter",
            input_tokens=1234,
            hosted_cost_microdollars=42_000,
            market_cost_microdollars=None,
            time_to_first_byte_ms=250,
            duration_ms=2000,
            routing_version=7,
        )

    def receipt(self, team: Team, user: User, request_id: uuid.UUID) -> tuple[int, str]:
        answer = client_of(user).get(url(team, "request-receipt", request_id=request_id))
        return answer.status_code, " ".join(answer.content.decode().split())

    def test_it_works(self, team: Team, record: Any) -> None:
        for user in (team.alice, team.carol, team.bob):
            status, text = self.receipt(team, user, record.request_id)
            assert status == 200
            for word in ("exact:code", "Laptop", "bob@acme.example", "1,234 tokens", "$0.04", "250 ms", "2.0 s"):
                assert word in text, word
            assert "x-kilo-route: exact:code" in text
            assert 'width="12.5%"' in text
            assert "nobody knows the price of this model" in text

    def test_what_is_another_members(self, team: Team) -> None:
        hers = used(team.organization.pk, team.alice.pk)
        status, text = self.receipt(team, team.bob, hers.request_id)
        assert status == 200
        assert "Another member's request" in text.replace("&#x27;", "'")
        assert team.alice.email not in text
        elsewhere = used(uuid.uuid4(), team.alice.pk)
        assert self.receipt(team, team.alice, elsewhere.request_id)[0] == 404

    def test_one_that_was_refused(self, team: Team) -> None:
        refused = used(
            team.organization.pk,
            team.bob.pk,
            status=404,
            error_type="model_not_allowed",
            resolved_model="",
            target="a/b",
        )
        text = self.receipt(team, team.bob, refused.request_id)[1]
        assert ">failed<" in text.replace("> ", ">").replace(" <", "<")
        assert "model_not_allowed" in text
        assert "nobody knows the price" not in text
