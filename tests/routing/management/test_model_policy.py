from __future__ import annotations

from typing import Any

import pytest

from organizations.models import Plan
from routing.models import CatalogSnapshot, Installation
from tests.factories import CredentialFactory, organization_auto
from tests.routing.management.conftest import CLAUDE, GPT, KIMI, Team, refused

OPEN: dict[str, Any] = {"provider_allow_list": None, "model_deny_list": []}


class TestPolicy:
    def test_nothing_is_stored(self, team: Team) -> None:
        response = team.api(team.bob).get("model-policy")
        state = {"enforced": False, "unknown_providers": [], "default_model": None, "routing_version": 1}
        assert response.json() == {**OPEN, **state}
        assert response["ETag"] == '"1"'

    def test_it_works(self, team: Team) -> None:
        team.configure(default_model=GPT, whatever={"a": 1})
        body = {"provider_allow_list": [" OpenAI ", "openai", "anthropic"], "model_deny_list": [f"{KIMI}:free", KIMI]}
        changes = {
            "provider_allow_list": (None, ["openai", "anthropic"]),
            "model_deny_list": ([], [KIMI]),
        }
        with team.audited(("settings.model_policy.changed", "Model policy changed", changes)):
            response = team.api().put("model-policy", body)
        assert response.json() == {
            "provider_allow_list": ["openai", "anthropic"],
            "model_deny_list": [KIMI],
            "enforced": True,
            "unknown_providers": [],
            "default_model": GPT,
            "routing_version": 2,
        }
        assert team.settings["whatever"] == {"a": 1}

    def test_a_direct_model_is_denied_as_it_is_called(self, team: Team) -> None:
        entries = [" Ollama-Cloud/gpt-OSS:20b", "custom-lab/scout:fp8", f"{KIMI}:free"]
        response = team.api().put("model-policy", {**OPEN, "model_deny_list": entries})
        assert response.json()["model_deny_list"] == ["ollama-cloud/gpt-oss:20b", "custom-lab/scout:fp8", KIMI]

    def test_saving_what_is_so(self, team: Team) -> None:
        with team.nothing_changes():
            assert team.api().put("model-policy", OPEN).status_code == 200
        team.configure(provider_allow_list=["openai"], model_deny_list=[KIMI])
        with team.nothing_changes():
            body = {"provider_allow_list": ["openai"], "model_deny_list": [KIMI]}
            assert team.api().put("model-policy", body).status_code == 200

    def test_no_list_and_an_empty_one_differ(self, team: Team) -> None:
        team.api().put("model-policy", {"provider_allow_list": [], "model_deny_list": []})
        assert team.settings == {"provider_allow_list": []}
        assert team.api().put("model-policy", OPEN).json()["enforced"] is False
        assert team.settings == {}

    def test_all_that_would_break_is_listed(self, team: Team) -> None:
        CredentialFactory.create(organization=team.organization)
        routes = {"code": CLAUDE, "ask": GPT, "docs": KIMI, "own": "neuralwatt/demo-model"}
        team.configure(**organization_auto(routes))
        with team.nothing_changes():
            body = {"provider_allow_list": ["openai"], "model_deny_list": ["neuralwatt/demo-model"]}
            response = team.api().put("model-policy", body)
        error = refused(response, 400, "policy_breaks_routes", says='"code", "docs", "own", "fallback"')
        assert [(entry["slug"], entry["target"], entry["code"]) for entry in error["broken"]] == [
            ("code", CLAUDE, "provider_not_allowed"),
            ("docs", KIMI, "provider_not_allowed"),
            ("own", "neuralwatt/demo-model", "model_denied"),
            ("fallback", "kilo-auto/balanced", "tier_under_model_policy"),
        ]

    def test_what_is_broken_already_does_not_stand_in_the_way(self, team: Team) -> None:
        """Only what works now and would not afterwards refuses it; a slug may be called as the fallback is."""
        team.configure(**organization_auto({"gone": "gone/model", "fallback": "gone/model", "code": CLAUDE}, GPT))
        assert team.api().put("model-policy", {**OPEN, "model_deny_list": [KIMI]}).status_code == 200
        with team.nothing_changes():
            response = team.api().put("model-policy", {**OPEN, "model_deny_list": [CLAUDE, GPT]})
        error = refused(response, 400, "policy_breaks_routes", says='of Organization Auto: "code", "fallback".')
        assert [(entry["slug"], entry["target"]) for entry in error["broken"]] == [("code", CLAUDE), ("fallback", GPT)]

    @pytest.mark.parametrize("stored", [{"routes": {"code": GPT}}, {"routes": {}, "fallback_model": None}, None])
    def test_a_fallback_that_nobody_stored_is_none(self, team: Team, stored: Any) -> None:
        """Not the default one, which a policy would break."""
        team.configure(default_model="kilo-auto/org", org_auto_model=stored)
        fallback = team.api().get("organization-auto").json()["fallback"]
        assert (fallback and fallback["target"]) is None
        assert team.api().put("model-policy", {**OPEN, "model_deny_list": [KIMI]}).status_code == 200
        assert team.settings["org_auto_model"] == stored

    def test_a_provider_that_the_catalog_does_not_know_is_named(self, team: Team) -> None:
        body = {"provider_allow_list": ["anthropic", "anthropicc", "bedrock"], "model_deny_list": []}
        response = team.api().put("model-policy", body)
        assert (response.status_code, response.json()["unknown_providers"]) == (200, ["anthropicc"])
        assert team.api(team.bob).get("model-policy").json()["unknown_providers"] == ["anthropicc"]

    def test_it_can_be_read_without_a_catalog(self, team: Team) -> None:
        team.configure(provider_allow_list=["anthropic"])
        broken = CatalogSnapshot.objects.create(
            origin="synced", source="test", entries=[{"id": 3}], providers=[], model_count=1
        )
        Installation.objects.update(catalog_snapshot=broken)
        assert team.api().get("model-policy").json()["unknown_providers"] is None

    def test_what_is_stored_in_another_shape_can_stay_or_go(self, team: Team) -> None:
        team.configure(provider_allow_list=["azure/eu", "openai"])
        kept = {"provider_allow_list": ["azure/eu", "openai", "anthropic"], "model_deny_list": []}
        assert team.api().put("model-policy", kept).json()["provider_allow_list"] == kept["provider_allow_list"]
        assert team.api().put("model-policy", OPEN).status_code == 200

    def test_routes_that_are_not_in_force_do_not_stand_in_the_way(self, team: Team) -> None:
        team.configure(**{**organization_auto({"code": CLAUDE}), "default_model": GPT})
        body = {"provider_allow_list": ["openai"], "model_deny_list": []}
        assert team.api().put("model-policy", body).status_code == 200

    def test_a_default_that_it_refuses_is_cleared(self, team: Team) -> None:
        team.configure(default_model=CLAUDE)
        message = f'Model policy changed; the default model "{CLAUDE}" is refused by it and was cleared'
        changes = {
            "provider_allow_list": (None, None),
            "model_deny_list": ([], [CLAUDE]),
            "default_model": (CLAUDE, None),
        }
        with team.audited(("settings.model_policy.changed", message, changes)):
            response = team.api().put("model-policy", {"provider_allow_list": None, "model_deny_list": [CLAUDE]})
        assert response.json()["default_model"] is None
        assert team.settings == {"model_deny_list": [CLAUDE]}

    @pytest.mark.parametrize("who", ["carol", "bob"])
    def test_roles(self, team: Team, who: str) -> None:
        with team.nothing_changes():
            body = {**OPEN, "model_deny_list": [GPT]}
            refused(team.api(getattr(team, who)).put("model-policy", body), 403, "role_required")

    def test_the_plan(self, team: Team) -> None:
        team.configure(model_deny_list=[GPT])
        team.organization.plan = Plan.TEAMS
        team.organization.save()
        with team.nothing_changes():
            refused(team.api().put("model-policy", OPEN), 403, "plan_required")
        assert team.api().get("model-policy").json()["enforced"] is False

    @pytest.mark.parametrize(
        ("body", "field"),
        [
            ({}, "model_deny_list"),
            ({"model_deny_list": []}, "provider_allow_list"),
            ({**OPEN, "model_deny_list": None}, "model_deny_list"),
            ({**OPEN, "model_deny_list": "openai/gpt"}, "model_deny_list"),
            ({**OPEN, "model_deny_list": [5]}, "model_deny_list.0"),
            ({**OPEN, "model_deny_list": ["a b"]}, "model_deny_list"),
            ({**OPEN, "model_deny_list": ["x" * 201]}, "model_deny_list"),
            ({**OPEN, "model_deny_list": [" "]}, "model_deny_list"),
            ({**OPEN, "model_deny_list": [f"a/{number}" for number in range(2001)]}, "model_deny_list"),
            ({**OPEN, "provider_allow_list": ["no such thing"]}, "provider_allow_list"),
            ({**OPEN, "provider_allow_list": ["anthropic", "azure/eu"]}, "provider_allow_list"),
            ({**OPEN, "provider_allow_list": {"openai": True}}, "provider_allow_list"),
        ],
    )
    def test_shape(self, team: Team, body: Any, field: str) -> None:
        with team.nothing_changes():
            refused(team.api().put("model-policy", body), 400, "invalid", field=field)


class TestDataCollection:
    @pytest.mark.parametrize(
        ("before", "after", "message"),
        [
            (None, "deny", "Data collection changed from the default to deny"),
            ("deny", "allow", "Data collection changed from deny to allow"),
            ("allow", None, "Data collection changed from allow to the default"),
        ],
    )
    def test_it_works(self, team: Team, before: str | None, after: str | None, message: str) -> None:
        team.configure(**({"data_collection": before} if before else {}), kept=True)
        with team.audited(
            ("settings.data_collection.changed", message, {"data_collection": (before, after)}), actor=team.carol
        ):
            response = team.api(team.carol).put("data-collection", {"data_collection": after})
        assert response.json() == {"data_collection": after, "routing_version": 2}
        assert team.settings == {"kept": True, **({"data_collection": after} if after else {})}

    def test_no_op(self, team: Team) -> None:
        with team.nothing_changes():
            assert team.api().put("data-collection", {"data_collection": None}).status_code == 200

    def test_roles(self, team: Team) -> None:
        with team.nothing_changes():
            refused(team.api(team.bob).put("data-collection", {"data_collection": "deny"}), 403, "role_required")

    @pytest.mark.parametrize("body", [{}, {"data_collection": "Deny"}, {"data_collection": False}])
    def test_shape(self, team: Team, body: Any) -> None:
        with team.nothing_changes():
            refused(team.api().put("data-collection", body), 400, "invalid", field="data_collection")
