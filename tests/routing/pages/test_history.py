"""The history of the settings, and going back."""

from __future__ import annotations

from typing import Any

import pytest
from django.http import HttpResponse
from django.test import Client
from django.urls import reverse
from pytest_django import DjangoAssertNumQueries

from organizations.audit import COMMAND
from organizations.models import AuditAction, Organization, Plan, SettingsVersion, User
from organizations.services import organization_settings_write
from tests.factories import organization_auto
from tests.routing.management.conftest import CLAUDE, GPT, KIMI, Team


def client_of(user: User) -> Client:
    client = Client()
    client.force_login(user)
    return client


def url(team: Team, name: str = "history", **more: Any) -> str:
    return reverse(name, kwargs={"organization_id": team.organization.pk, **more})


def words(answer: Any) -> str:
    response: HttpResponse = answer
    return " ".join(response.content.decode().split())


def write(team: Team, **settings: Any) -> int:
    """A version, as a service writes it; its number."""
    team.organization = organization_settings_write(
        organization=team.organization,
        settings=settings,
        actor=COMMAND,
        action=AuditAction.ROUTE_SET,
        message="Written by a test",
        changes={},
    )
    return team.organization.routing_version


class TestList:
    def test_it_works(self, team: Team) -> None:
        write(team, data_collection="deny")
        newest = write(team, **organization_auto({"code": CLAUDE}))
        text = words(client_of(team.bob).get(url(team)))
        assert text.count("Written by a test") == 2
        assert "the operator" in text
        assert text.count(">in force<") == 1
        assert url(team, "history-version", version=newest) in text
        assert "Only owners and admins change routes" in text

    def test_nothing_yet(self, team: Team) -> None:
        assert "No versions yet" in words(client_of(team.alice).get(url(team)))

    def test_older_ones(self, team: Team, django_assert_max_num_queries: DjangoAssertNumQueries) -> None:
        write(team, data_collection="deny")
        row = SettingsVersion.objects.get()
        SettingsVersion.objects.bulk_create(
            SettingsVersion(
                organization=team.organization, routing_version=100 + number, settings={}, audit_log=row.audit_log
            )
            for number in range(120)
        )
        client = client_of(team.alice)
        client.get(url(team))
        with django_assert_max_num_queries(5):
            text = words(client.get(url(team)))
        assert text.count("Written by a test") == 100
        assert f"{url(team)}?before=120" in text
        older = words(client.get(f"{url(team)}?before=120"))
        assert older.count("Written by a test") == 21
        assert ">in force<" not in older


class TestVersion:
    def test_routes_and_lists_are_readable(self, team: Team) -> None:
        write(team, **organization_auto({"code": CLAUDE, "ask": GPT}), model_deny_list=["a/b", "a/c"])
        version = write(team, **organization_auto({"code": GPT}), model_deny_list=["a/c", "a/d"])
        text = words(client_of(team.bob).get(url(team, "history-version", version=version)))
        assert f'Route <code>code</code> </th> <td data-label="Before"> <del class="mono">{CLAUDE}</del>' in text
        assert f'<ins class="mono">{GPT}</ins>' in text
        assert '<del class="mono">a/b</del>' in text
        assert '<ins class="mono">a/d</ins>' in text
        assert ">a/c<" not in text

    def test_compared_with_now(self, team: Team) -> None:
        old = write(team, **organization_auto({"code": CLAUDE}))
        newest = write(team, default_model=GPT)
        text = words(client_of(team.bob).get(f"{url(team, 'history-version', version=old)}?against={newest}"))
        assert f'<del class="mono">{GPT}</del>' in text
        assert '<ins class="mono">Organization Auto</ins>' in text

    def test_none(self, team: Team) -> None:
        assert client_of(team.alice).get(url(team, "history-version", version=77)).status_code == 404


class TestRestore:
    def test_it_works(self, team: Team) -> None:
        old = write(team, **organization_auto({"code": CLAUDE}))
        write(team, **organization_auto({"code": GPT}))
        client = client_of(team.dave)
        address = url(team, "history-restore", version=old)
        text = words(client.get(address))
        assert f'<del class="mono">{GPT}</del>' in text
        answer = client.post(address, {"routing_version": str(team.routing_version)})
        assert (answer.status_code, answer["Location"]) == (303, url(team))
        assert team.settings["org_auto_model"]["routes"] == {"code": CLAUDE}

    def test_what_does_not_validate_is_told_before_and_after(self, team: Team) -> None:
        old = write(team, **organization_auto({"code": "gone/model", "ask": KIMI}))
        write(team, **organization_auto({}))
        address = url(team, "history-restore", version=old)
        client = client_of(team.alice)
        text = words(client.get(address))
        assert "These do not validate today" in text
        assert "<code>code</code> &quot;gone/model&quot; is unavailable" in text
        assert 'aria-disabled="true"' in text
        with team.nothing_changes():
            answer = client.post(address, {"routing_version": str(team.routing_version)})
        assert answer.status_code == 422
        assert "That version does not validate today" in words(answer)

    def test_somebody_was_quicker(self, team: Team) -> None:
        old = write(team, **organization_auto({"code": CLAUDE}))
        seen = write(team, **organization_auto({"code": GPT}))
        write(team, **organization_auto({"code": KIMI}))
        with team.nothing_changes():
            answer = client_of(team.alice).post(url(team, "history-restore", version=old), {"routing_version": seen})
        assert answer.status_code == 412
        text = words(answer)
        assert "This changed while you had it open" in text
        assert f'<del class="mono">{KIMI}</del>' in text
        assert f'name="routing_version" value="{seen + 1}"' in text

    def test_who_may_not(self, team: Team) -> None:
        old = write(team, data_collection="deny")
        for user in (team.bob, team.carol):
            assert client_of(user).get(url(team, "history-restore", version=old)).status_code == 403

    @pytest.mark.usefixtures("toggle_off")
    def test_the_toggle_is_off(self, team: Team) -> None:
        old = write(team, **organization_auto({"code": CLAUDE}))
        off = write(team, org_auto_model=organization_auto({"code": CLAUDE})["org_auto_model"])
        client = client_of(team.alice)
        address = url(team, "history-restore", version=old)
        assert "has not been released to you" in words(client.get(address))
        assert client.post(address, {"routing_version": off}).status_code == 403
        # Leaving it stays possible.
        write(team, **organization_auto({"code": CLAUDE}))
        answer = client.post(url(team, "history-restore", version=off), {"routing_version": team.routing_version})
        assert answer.status_code == 303

    def test_the_plan_is_another(self, team: Team) -> None:
        old = write(team, **organization_auto({"code": CLAUDE}))
        write(team)
        Organization.objects.update(plan=Plan.TEAMS)
        assert "enterprise plan" in words(client_of(team.alice).get(url(team, "history-restore", version=old)))

    def test_nothing_to_do(self, team: Team) -> None:
        same = write(team, **organization_auto({"code": CLAUDE}))
        text = words(client_of(team.alice).get(url(team, "history-restore", version=same)))
        assert "These settings are in force already." in text
