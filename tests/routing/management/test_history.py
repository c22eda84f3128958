from __future__ import annotations

from typing import Any

import pytest
from pytest_django import DjangoAssertNumQueries

from organizations.audit import SYSTEM, record
from organizations.models import AuditAction, Organization, Plan, SettingsVersion
from organizations.services import settings_version_keep
from tests.factories import organization_auto
from tests.routing.management.conftest import CLAUDE, GPT, KIMI, Team, refused


def keep(organization: Organization, version: int, settings: dict[str, Any]) -> None:
    """A version that was kept before the test began."""
    row = record(AuditAction.DEFAULT_MODEL_CHANGED, organization=organization, actor=SYSTEM, message="Before")
    kept = Organization(pk=organization.pk, settings=settings, routing_version=version)
    settings_version_keep(kept, SYSTEM, row)


@pytest.fixture
def history(team: Team) -> Team:
    """Version 1 is empty, 2 sets a route, 3 turns it on, 4 changes the policy past the routes."""
    keep(team.organization, 1, {})
    api = team.api()
    api.put("organization-auto/routes/code", {"model": CLAUDE})
    api.put("default-model", {"behavior": "auto", "fallback_model": GPT})
    api.put("model-policy", {"provider_allow_list": None, "model_deny_list": [KIMI]})
    assert team.routing_version == 4
    return team


class TestList:
    def test_it_works(self, history: Team, django_assert_num_queries: DjangoAssertNumQueries) -> None:
        api = history.api(history.bob)
        with django_assert_num_queries(3):
            response = api.get("history")
        answer = response.json()
        assert [row["version"] for row in answer["versions"]] == [4, 3, 2, 1]
        newest, oldest = answer["versions"][0], answer["versions"][-1]
        assert newest["actor"] == {"id": str(history.alice.pk), "email": history.alice.email}
        assert (newest["action"], newest["message"]) == ("settings.model_policy.changed", "Model policy changed")
        assert oldest["actor"] is None
        assert (answer["next_before"], answer["routing_version"], response["ETag"]) == (None, 4, '"4"')

    def test_pages(self, team: Team) -> None:
        for version in range(1, 102):
            keep(team.organization, version, {})
        first = team.api().get("history").json()
        assert (len(first["versions"]), first["next_before"]) == (100, 2)
        second = team.api().get(f"history?before={first['next_before']}").json()
        assert ([row["version"] for row in second["versions"]], second["next_before"]) == ([1], None)

    def test_only_ones_own(self, history: Team) -> None:
        other = history.organization
        assert SettingsVersion.objects.exclude(organization=other).count() == 0

    @pytest.mark.parametrize("before", ["0", "-1", "x", "", "9" * 30, "1e3", "%00"])
    def test_shape(self, team: Team, before: str) -> None:
        refused(team.api().get(f"history?before={before}"), 400, "invalid", field="before")


class TestRead:
    def test_against_the_one_before(self, history: Team) -> None:
        answer = history.api(history.bob).get("history/3").json()
        assert (answer["version"], answer["against"]) == (3, 2)
        assert answer["settings"] == organization_auto({"code": CLAUDE}, fallback=GPT)
        assert answer["differences"] == [
            {"path": "default_model", "before": None, "after": "kilo-auto/org"},
            {"path": "org_auto_model.fallback_model", "before": "kilo-auto/balanced", "after": GPT},
        ]
        assert answer["routing_version"] == 4

    def test_the_first(self, history: Team) -> None:
        answer = history.api().get("history/1").json()
        assert (answer["against"], answer["differences"], answer["settings"]) == (None, [], {})

    def test_against_another(self, history: Team) -> None:
        answer = history.api().get("history/2?against=4").json()
        assert answer["against"] == 4
        assert {row["path"]: row["after"] for row in answer["differences"]} == {
            "default_model": None,
            "model_deny_list": None,
            "org_auto_model.fallback_model": "kilo-auto/balanced",
        }

    def test_against_a_version_that_was_not_kept(self, history: Team) -> None:
        # A change of a provider's key raises the routing version and leaves the settings alone.
        keep(history.organization, 7, {})
        assert history.api().get("history/7").json()["against"] == 4

    def test_what_else_is_stored_is_not_told(self, team: Team) -> None:
        keep(team.organization, 1, {"secret_of_others": 1, "default_model": GPT})
        answer = team.api().get("history/1").json()
        assert answer["settings"] == {"default_model": GPT}
        assert "secret_of_others" not in str(answer)

    @pytest.mark.parametrize("path", ["history/5", "history/0", "history/4?against=9", f"history/{'9' * 18}"])
    def test_there_is_none(self, history: Team, path: str) -> None:
        refused(history.api().get(path), 404, "not_found")


class TestRestore:
    def test_it_works(self, history: Team) -> None:
        changes = {
            "default_model": ("kilo-auto/org", None),
            "model_deny_list": ([KIMI], None),
            "org_auto_model.fallback_model": (GPT, "kilo-auto/balanced"),
        }
        with history.audited(
            ("settings.restored", "Settings of routing version 2 restored", changes), actor=history.dave
        ):
            response = history.api(history.dave).post("history/2/restore", {})
        assert response.json() == {
            "settings": {"org_auto_model": {"routes": {"code": CLAUDE}, "fallback_model": "kilo-auto/balanced"}},
            "routing_version": 5,
        }
        assert response["ETag"] == '"5"'

    def test_what_nobody_knows_stays(self, history: Team) -> None:
        Organization.objects.filter(pk=history.organization.pk).update(settings={**history.settings, "other": {"a": 1}})
        history.api().post("history/3/restore", {})
        assert history.settings["other"] == {"a": 1}
        assert "model_deny_list" not in history.settings

    def test_restoring_what_is_so(self, history: Team) -> None:
        with history.nothing_changes():
            assert history.api().post("history/4/restore", None).status_code == 200

    def test_routes_that_do_not_validate_today(self, team: Team) -> None:
        routes = {"code": "gone/model", "ask": GPT, "docs": "neuralwatt/x"}
        keep(team.organization, 1, organization_auto(routes, kept=1))
        team.configure(default_model=KIMI)
        with team.nothing_changes():
            error = refused(
                team.api().post("history/1/restore", {}),
                400,
                "version_does_not_validate",
                field="version",
                says='"code", "docs"',
            )
        assert [entry["code"] for entry in error["broken"]] == ["model_unavailable", "no_enabled_credential"]

    def test_routes_under_the_restored_policy(self, team: Team) -> None:
        keep(team.organization, 1, {**organization_auto({"code": CLAUDE}, fallback=GPT), "model_deny_list": [CLAUDE]})
        team.configure(**organization_auto({"code": CLAUDE}, fallback=GPT))
        with team.nothing_changes():
            refused(team.api().post("history/1/restore", {}), 400, "version_does_not_validate")

    def test_a_default_that_the_policy_refuses(self, team: Team) -> None:
        keep(team.organization, 1, {"default_model": GPT, "provider_allow_list": ["anthropic"]})
        team.configure(default_model=GPT)
        with team.nothing_changes():
            refused(team.api().post("history/1/restore", {}), 400, "provider_not_allowed", field="default_model")

    def test_a_default_that_is_gone(self, team: Team) -> None:
        keep(team.organization, 1, {"default_model": "gone/model"})
        with team.nothing_changes():
            refused(team.api().post("history/1/restore", {}), 400, "model_unavailable", field="default_model")

    def test_a_default_that_is_no_model(self, team: Team) -> None:
        keep(team.organization, 1, {"default_model": "kilo-auto/small"})
        with team.nothing_changes():
            refused(team.api().post("history/1/restore", {}), 400, "not_a_concrete_model", field="default_model")

    @pytest.mark.parametrize("malformed", [{"org_auto_model": []}, {"model_deny_list": "x"}, {"default_model": 5}])
    def test_a_malformed_version(self, team: Team, malformed: dict[str, Any]) -> None:
        keep(team.organization, 1, malformed)
        with team.nothing_changes():
            refused(team.api().post("history/1/restore", {}), 400, "version_does_not_validate", field="version")

    def test_the_plan(self, history: Team) -> None:
        history.organization.plan = Plan.TEAMS
        history.organization.save()
        with history.nothing_changes():
            refused(history.api().post("history/3/restore", {}), 403, "plan_required")

    @pytest.mark.parametrize("who", ["carol", "bob"])
    def test_roles(self, history: Team, who: str) -> None:
        with history.nothing_changes():
            refused(history.api(getattr(history, who)).post("history/1/restore", {}), 403, "role_required")

    @pytest.mark.parametrize("version", [9, 0, 10**18 - 1])
    def test_there_is_none(self, history: Team, version: int) -> None:
        with history.nothing_changes():
            refused(history.api().post(f"history/{version}/restore", {}), 404, "not_found")

    def test_it_takes_no_field(self, history: Team) -> None:
        with history.nothing_changes():
            refused(history.api().post("history/1/restore", {"force": True}), 400, "invalid", field="force")
