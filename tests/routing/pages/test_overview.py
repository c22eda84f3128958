"""The Overview."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse
from pytest_django import DjangoAssertNumQueries

from byok.models import Credential
from organizations.models import Organization, Plan, User
from routing.catalog.index import forget_index
from routing.models import CatalogSnapshot, Installation
from tests.factories import ApiKeyFactory, CredentialFactory, organization_auto
from tests.routing.management.conftest import CLAUDE, GPT, Team
from tests.routing.usage.records import used


def client_of(user: User) -> Client:
    client = Client()
    client.force_login(user)
    return client


def shown(team: Team, user: User | None = None, *, query: str = "", **headers: str) -> str:
    answer = client_of(user or team.alice).get(f"{address(team)}{query}", headers=headers or None)
    assert answer.status_code == 200
    return " ".join(answer.content.decode().split())


def address(team: Team) -> str:
    return reverse("overview", kwargs={"organization_id": team.organization.pk})


class TestOrganizationAuto:
    def test_on(self, team: Team) -> None:
        team.configure(**organization_auto({"code": CLAUDE}, GPT))
        text = shown(team)
        assert "all routes work" in text
        assert f'title="{CLAUDE}"' in text
        assert "Change or turn off" in text

    def test_saved_but_off(self, team: Team) -> None:
        team.configure(org_auto_model=organization_auto({"code": CLAUDE})["org_auto_model"])
        text = shown(team)
        assert "The routes are saved and serve nobody while it is off." in text
        assert "all routes work" not in text

    def test_a_member_sees_why_not(self, team: Team) -> None:
        text = shown(team, team.bob)
        assert "Only owners and admins change routes" in text

    @pytest.mark.usefixtures("toggle_off")
    def test_the_toggle_is_off(self, team: Team) -> None:
        text = shown(team)
        assert "Organization Auto is not released to you" in text
        assert ">Turn on<" not in text

    def test_teams(self, team: Team) -> None:
        Organization.objects.update(plan=Plan.TEAMS)
        text = shown(team)
        assert "The teams plan has no Organization Auto" in text
        assert ">Turn on<" not in text


class TestAttention:
    def test_nothing(self, team: Team) -> None:
        Installation.objects.update(catalog_checked_at=datetime.now(UTC))
        assert "Needs attention" not in shown(team)

    def test_a_broken_route(self, team: Team) -> None:
        team.configure(**organization_auto({"code": "gone/model", "ask": GPT}, GPT))
        text = shown(team)
        assert "A route is broken" in text
        assert "Requests that it serves are refused: code." in text
        assert "&quot;gone/model&quot; is unavailable: it is not in the catalog." in text

    def test_a_refused_key(self, team: Team) -> None:
        now = datetime.now(UTC)
        refused = {"last_refused_at": now, "last_refusal_status": 401}
        CredentialFactory.create(organization=team.organization, **refused)
        assert "The key of Neuralwatt is refused" in shown(team)
        Credential.objects.update(last_used_at=now + timedelta(minutes=2))
        assert "is refused" not in shown(team)
        Credential.objects.update(
            last_used_at=None, last_tested_at=now + timedelta(minutes=2), last_test_result="works"
        )
        assert "is refused" not in shown(team)

    def test_a_key_that_does_not_open(self, team: Team) -> None:
        row = CredentialFactory.create(organization=team.organization)
        Credential.objects.filter(pk=row.pk).update(key_id="forgotten")
        assert "The key of Neuralwatt cannot be read" in shown(team)

    def test_an_old_catalog(self, team: Team) -> None:
        Installation.objects.update(
            catalog_checked_at=datetime.now(UTC) - timedelta(hours=5), catalog_error="No answer."
        )
        text = shown(team)
        assert "The model catalog is old" in text
        assert "The last sync failed: No answer." in text

    def test_no_catalog(self, team: Team) -> None:
        team.configure(**organization_auto({"code": CLAUDE}))
        CatalogSnapshot.objects.update(entries=[{"id": 1}])
        forget_index()
        assert "The model catalog cannot be read" in shown(team)

    def test_expiring_api_keys(self, team: Team) -> None:
        soon = {"organization": team.organization, "expires_at": datetime.now(UTC) + timedelta(days=3)}
        ApiKeyFactory.create(user=team.bob, name="Bobs", **soon)
        ApiKeyFactory.create(user=team.alice, name="Hers", **soon)
        assert "“Bobs” expires soon" in shown(team)
        text = shown(team, team.bob)
        assert "“Bobs” expires soon" in text
        assert "“Hers”" not in text

    def test_settings_that_cannot_be_read(self, team: Team) -> None:
        team.configure(model_deny_list="no list")
        assert "The routing settings cannot be read" in shown(team)


class TestUsage:
    def test_an_organization(self, team: Team) -> None:
        fields = {"hosted_cost_microdollars": 1_500_000, "market_cost_microdollars": 1_500_000}
        used(team.organization.pk, team.bob.pk, created_at=datetime.now(UTC), input_tokens=1200, **fields)
        text = shown(team)
        assert "$1.50 hosted, $0 with own keys" in text
        assert "Tokens in" in text

    def test_a_member_sees_his_own(self, team: Team) -> None:
        used(team.organization.pk, team.alice.pk, created_at=datetime.now(UTC))
        text = shown(team, team.bob)
        assert "Your last 30 days" in text
        assert "No requests yet" in text


class TestFirstSteps:
    def test_a_new_organization(self, team: Team) -> None:
        text = shown(team)
        assert "0 of 4 done" in text
        CredentialFactory.create(organization=team.organization)
        team.configure(org_auto_model=organization_auto({"code": CLAUDE})["org_auto_model"])
        assert "2 of 4 done" in shown(team)

    def test_done(self, team: Team) -> None:
        team.configure(**organization_auto({"code": CLAUDE}))
        used(team.organization.pk, team.bob.pk, created_at=datetime.now(UTC))
        assert "First steps" not in shown(team)


class TestConnect:
    def test_a_tab_alone(self, team: Team, django_assert_max_num_queries: DjangoAssertNumQueries) -> None:
        headers = {"HX-Request": "true", "HX-Target": "connect"}
        client = client_of(team.alice)
        client.get(address(team))
        with django_assert_max_num_queries(3):
            answer = client.get(f"{address(team)}?client=anthropic", headers=headers)
        text = answer.content.decode()
        assert "from anthropic import Anthropic" in text
        assert "<main" not in text

    def test_the_model_to_ask_for(self, team: Team) -> None:
        assert "kilo/kilo-auto/balanced" in shown(team)
        team.configure(**organization_auto({}))
        assert "kilo/kilo-auto/org" in shown(team)


def test_queries(team: Team, django_assert_max_num_queries: DjangoAssertNumQueries) -> None:
    """With everything that it can show."""
    fields: dict[str, Any] = organization_auto({f"mode-{number}": CLAUDE for number in range(99)}, GPT)
    team.configure(**fields)
    CredentialFactory.create(organization=team.organization)
    used(team.organization.pk, team.bob.pk, created_at=datetime.now(UTC))
    client = client_of(team.alice)
    client.get(address(team))
    with django_assert_max_num_queries(12):
        text = client.get(address(team)).content.decode()
    assert "and 92 more" in text
