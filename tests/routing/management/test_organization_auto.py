from __future__ import annotations

from typing import Any

import pytest
from pytest_django import DjangoAssertNumQueries

from organizations.models import Plan
from routing.domain.types import MAX_ROUTES
from routing.models import CatalogSnapshot, Installation
from tests.factories import CredentialFactory, organization_auto
from tests.routing.management.conftest import CLAUDE, GPT, KIMI, Team, refused

ROUTES = {"code": CLAUDE, "ask": GPT}
BALANCED = "kilo-auto/balanced"


class TestState:
    def test_it_works(self, team: Team, django_assert_num_queries: DjangoAssertNumQueries) -> None:
        team.configure(**organization_auto({"code": CLAUDE, "docs": "gone/model"}))
        api = team.api(team.bob)
        api.get("organization-auto")
        # Key, membership, credentials, custom providers, and the versions of catalog and tiers, which the process has.
        with django_assert_num_queries(3):
            response = api.get("organization-auto")
        assert response.json() == {
            "eligible": True,
            "configured": True,
            "enabled": True,
            "default_model": "kilo-auto/org",
            "routes": [
                {"slug": "code", "target": CLAUDE, "status": "ok", "reason": None, "code": None},
                {
                    "slug": "docs",
                    "target": "gone/model",
                    "status": "broken",
                    "reason": '"gone/model" is unavailable: it is not in the catalog.',
                    "code": "model_unavailable",
                },
            ],
            "fallback": {"target": BALANCED, "status": "ok", "reason": None, "code": None},
            "routing_version": 1,
        }
        assert response["ETag"] == '"1"'

    def test_nothing_is_stored(self, team: Team) -> None:
        state = team.api().get("organization-auto").json()
        assert (state["eligible"], state["configured"], state["enabled"]) == (True, False, False)
        assert (state["routes"], state["fallback"], state["default_model"]) == ([], None, None)

    def test_a_plan_that_does_not_include_it_shows_what_lies_dormant(self, team: Team) -> None:
        team.configure(**organization_auto(ROUTES))
        team.organization.plan = Plan.TEAMS
        team.organization.save()
        state = team.api().get("organization-auto").json()
        assert (state["eligible"], state["configured"], state["enabled"]) == (False, False, False)
        assert [route["target"] for route in state["routes"]] == [GPT, CLAUDE]

    def test_no_fallback(self, team: Team) -> None:
        team.configure(**organization_auto(ROUTES, fallback=None))
        fallback = team.api().get("organization-auto").json()["fallback"]
        assert (fallback["target"], fallback["status"], fallback["code"]) == (None, "broken", "target_required")

    def test_malformed_settings(self, team: Team) -> None:
        team.configure(org_auto_model=[])
        refused(team.api().get("organization-auto"), 409, "malformed_settings")
        with team.nothing_changes():
            refused(team.api().put("default-model", {"behavior": "global"}), 400, "invalid", field="settings")

    def test_a_catalog_that_cannot_be_read(self, team: Team) -> None:
        broken = CatalogSnapshot.objects.create(
            origin="synced", source="test", entries=[{"id": 3}], providers=[], model_count=1
        )
        Installation.objects.update(catalog_snapshot=broken)
        team.configure(**organization_auto(ROUTES))
        refused(team.api().get("organization-auto"), 503, "catalog_unavailable")
        with team.nothing_changes():
            refused(team.api().put("organization-auto/routes/code", {"model": KIMI}), 503, "catalog_unavailable")


class TestAddressOfARoute:
    def test_the_slug_is_put_into_lower_case(self, team: Team) -> None:
        assert team.api().put("organization-auto/routes/Upper", {"model": KIMI}).status_code == 200
        assert team.settings["org_auto_model"]["routes"] == {"upper": KIMI}
        assert team.api().delete("organization-auto/routes/UPPER").json()["routes"] == []

    @pytest.mark.parametrize("slug", ["a_b", "x" * 51, "a b", "a%00b", "caf%C3%A9"])
    def test_what_is_no_slug(self, team: Team, slug: str) -> None:
        with team.nothing_changes():
            path = f"organization-auto/routes/{slug}"
            refused(team.api().put(path, {"model": KIMI}), 400, "invalid_slug", field="slug")
            refused(team.api().delete(path), 400, "invalid_slug", field="slug")
            refused(team.api(team.bob).delete(path), 403, "role_required")


class TestDefaultAuto:
    def test_turning_it_on(self, team: Team) -> None:
        team.configure(default_model=GPT, org_auto_model={"routes": ROUTES, "fallback_model": BALANCED}, other=[1])
        changes = {
            "default_model": (GPT, "kilo-auto/org"),
            "org_auto_model": (team.settings["org_auto_model"], team.settings["org_auto_model"]),
        }
        with team.audited(("organization_auto.enabled", "Organization Auto enabled", changes)):
            response = team.api().put("default-model", {"behavior": "auto"})
        assert response.status_code == 200
        assert response.json()["enabled"] is True
        assert response.json()["routing_version"] == 2
        assert response["ETag"] == '"2"'
        # What nobody here knows survives.
        assert team.settings["other"] == [1]

    def test_it_makes_what_is_stored_canonical(self, team: Team) -> None:
        team.configure(org_auto_model={"routes": {"code": f" {CLAUDE.upper()}"}, "fallback_model": "Kilo-Auto/Free"})
        assert team.api(team.dave).put("default-model", {"behavior": "auto"}).status_code == 200
        assert team.settings["org_auto_model"] == {"routes": {"code": CLAUDE}, "fallback_model": "kilo-auto/free"}

    def test_nothing_stored_gets_the_default_fallback(self, team: Team) -> None:
        team.api().put("default-model", {"behavior": "auto"})
        assert team.settings == organization_auto()

    def test_with_a_new_fallback(self, team: Team) -> None:
        team.configure(org_auto_model={"routes": {}, "fallback_model": GPT})
        with team.audited(
            ("organization_auto.enabled", "Organization Auto enabled", None),
            (
                "organization_auto.fallback.changed",
                f'Organization Auto fallback changed from "{GPT}" to "{KIMI}"',
                {"fallback_model": (GPT, KIMI)},
            ),
        ):
            team.api().put("default-model", {"behavior": "auto", "fallback_model": KIMI})
        assert team.settings["org_auto_model"]["fallback_model"] == KIMI

    def test_only_a_new_fallback_while_it_is_on(self, team: Team) -> None:
        team.configure(**organization_auto(ROUTES))
        message = f'Organization Auto fallback changed from "{BALANCED}" to "{KIMI}"'
        with team.audited(("organization_auto.fallback.changed", message, {"fallback_model": (BALANCED, KIMI)})):
            team.api().put("default-model", {"behavior": "auto", "fallback_model": KIMI})

    def test_doing_what_is_already_so(self, team: Team) -> None:
        team.configure(**organization_auto(ROUTES))
        with team.nothing_changes():
            response = team.api().put("default-model", {"behavior": "auto", "fallback_model": BALANCED})
        assert (response.status_code, response.json()["routing_version"]) == (200, 1)

    def test_a_default_without_anything_stored_is_not_on_yet(self, team: Team) -> None:
        team.configure(default_model="kilo-auto/org")
        assert team.api().put("default-model", {"behavior": "auto"}).json()["enabled"] is True

    @pytest.mark.parametrize(
        ("stored", "field", "says"),
        [
            ({"routes": {"code": CLAUDE, "docs": "gone/model"}, "fallback_model": GPT}, "routes", 'Route "docs"'),
            ({"routes": {"code": "neuralwatt/demo"}, "fallback_model": GPT}, "routes", "no enabled credential"),
            ({"routes": {}, "fallback_model": "gone/model"}, "fallback_model", "not in the catalog"),
            ({"routes": {}, "fallback_model": None}, "fallback_model", "required"),
        ],
    )
    def test_what_is_stored_does_not_validate(self, team: Team, stored: Any, field: str, says: str) -> None:
        team.configure(org_auto_model=stored)
        with team.nothing_changes():
            response = team.api().put("default-model", {"behavior": "auto"})
        assert says in response.json()["error"]["fields"][field][0]
        assert response.status_code == 400

    def test_a_tier_under_a_policy(self, team: Team) -> None:
        team.configure(org_auto_model={"routes": {}, "fallback_model": BALANCED}, provider_allow_list=["openai"])
        with team.nothing_changes():
            response = team.api().put("default-model", {"behavior": "auto"})
        refused(response, 400, "tier_under_model_policy", field="fallback_model")
        assert team.api().put("default-model", {"behavior": "auto", "fallback_model": GPT}).status_code == 200

    def test_the_fallback_does_not_validate(self, team: Team) -> None:
        with team.nothing_changes():
            response = team.api().put("default-model", {"behavior": "auto", "fallback_model": "gone/model"})
        refused(response, 400, "model_unavailable", field="fallback_model")

    @pytest.mark.parametrize("who", ["carol", "bob"])
    def test_roles(self, team: Team, who: str) -> None:
        with team.nothing_changes():
            for body in (
                {"behavior": "auto"},
                {"behavior": "specific", "specific_model": GPT},
                {"behavior": "global"},
            ):
                refused(team.api(getattr(team, who)).put("default-model", body), 403, "role_required")

    def test_the_plan(self, team: Team) -> None:
        team.organization.plan = Plan.TEAMS
        team.organization.save()
        with team.nothing_changes():
            refused(team.api().put("default-model", {"behavior": "auto"}), 403, "plan_required")


class TestDefaultSpecific:
    def test_it_works(self, team: Team) -> None:
        message = f'Default model changed to "{GPT}"'
        with team.audited(("settings.default_model.changed", message, {"default_model": (None, GPT)})):
            response = team.api().put("default-model", {"behavior": "specific", "specific_model": GPT.upper()})
        assert response.json()["default_model"] == GPT

    def test_leaving_auto_keeps_the_routes(self, team: Team) -> None:
        team.configure(**organization_auto(ROUTES))
        message = f'Organization Auto disabled; the default model is "{KIMI}"'
        with team.audited(("organization_auto.disabled", message, {"default_model": ("kilo-auto/org", KIMI)})):
            state = team.api().put("default-model", {"behavior": "specific", "specific_model": KIMI}).json()
        assert (state["configured"], state["enabled"]) == (True, False)
        assert team.settings["org_auto_model"]["routes"] == ROUTES

    def test_instead_of_auto_it_has_to_be_listed(self, team: Team) -> None:
        CredentialFactory.create(organization=team.organization, provider="neuralwatt", offered_models=None)
        body = {"behavior": "specific", "specific_model": "neuralwatt/whatever"}
        team.configure(**organization_auto(ROUTES))
        with team.nothing_changes():
            refused(team.api().put("default-model", body), 400, "model_not_listed", field="specific_model")
        team.configure(default_model=GPT)
        assert team.api().put("default-model", body).json()["default_model"] == "neuralwatt/whatever"

    def test_instead_of_auto_a_listed_direct_model(self, team: Team) -> None:
        CredentialFactory.create(organization=team.organization)
        team.configure(**organization_auto(ROUTES))
        body = {"behavior": "specific", "specific_model": "neuralwatt/kimi-k2.6"}
        assert team.api().put("default-model", body).json()["default_model"] == "neuralwatt/kimi-k2.6"

    @pytest.mark.parametrize("tier", ["kilo-auto/small", "Kilo-Auto/Free "])
    def test_an_auto_tier_is_not_one_model(self, team: Team, tier: str) -> None:
        with team.nothing_changes():
            response = team.api().put("default-model", {"behavior": "specific", "specific_model": tier})
            refused(response, 400, "not_a_concrete_model", field="specific_model")

    def test_no_op(self, team: Team) -> None:
        team.configure(default_model=GPT)
        with team.nothing_changes():
            response = team.api().put("default-model", {"behavior": "specific", "specific_model": GPT})
        assert response.status_code == 200

    @pytest.mark.parametrize(
        ("model", "code"),
        [
            ("kilo-auto/org", "targets_itself"),
            ("openai/*", "not_a_concrete_model"),
            ("kilo-auto/efficient", "not_a_target_tier"),
            ("gone/model", "model_unavailable"),
            ("kilo-internal/x", "internal_model"),
            (CLAUDE, "model_denied"),
            ("x" * 201, "target_too_long"),
            ("   ", "target_required"),
        ],
    )
    def test_what_is_no_default(self, team: Team, model: str, code: str) -> None:
        team.configure(**organization_auto({"ask": GPT}, fallback=GPT), model_deny_list=[CLAUDE])
        with team.nothing_changes():
            response = team.api().put("default-model", {"behavior": "specific", "specific_model": model})
        refused(response, 400, code, field="specific_model")


class TestDefaultGlobal:
    def test_leaving_auto(self, team: Team) -> None:
        team.configure(**organization_auto(ROUTES), x={"y": None})
        message = "Organization Auto disabled; the default model is the installation's default"
        with team.audited(("organization_auto.disabled", message, {"default_model": ("kilo-auto/org", None)})):
            assert team.api().put("default-model", {"behavior": "global"}).json()["default_model"] is None
        assert "default_model" not in team.settings
        assert team.settings["org_auto_model"]["routes"] == ROUTES
        assert team.settings["x"] == {"y": None}

    def test_leaving_a_model(self, team: Team) -> None:
        team.configure(default_model=GPT)
        message = "Default model changed to the installation's default"
        with team.audited(("settings.default_model.changed", message, {"default_model": (GPT, None)})):
            team.api().put("default-model", {"behavior": "global"})

    def test_no_op(self, team: Team) -> None:
        with team.nothing_changes():
            assert team.api().put("default-model", {"behavior": "global"}).status_code == 200


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "behavior"),
        ({"behavior": "Auto"}, "behavior"),
        ({"behavior": ["auto"]}, "behavior"),
        ({"behavior": "specific"}, "specific_model"),
        ({"behavior": "specific", "specific_model": None}, "specific_model"),
        ({"behavior": "specific", "specific_model": 5}, "specific_model"),
        ({"behavior": "specific", "specific_model": ""}, "specific_model"),
        ({"behavior": "auto", "specific_model": GPT}, "specific_model"),
        ({"behavior": "global", "fallback_model": GPT}, "fallback_model"),
        ({"behavior": "auto", "fallback_model": {}}, "fallback_model"),
    ],
)
def test_shape_of_the_default(team: Team, body: Any, field: str) -> None:
    with team.nothing_changes():
        refused(team.api().put("default-model", body), 400, "invalid", field=field)


class TestRoutes:
    def test_the_first_route(self, team: Team) -> None:
        with team.audited(
            (
                "organization_auto.route.set",
                f'Organization Auto route for "code" set to "{CLAUDE}"',
                {"code": (None, CLAUDE)},
            )
        ):
            response = team.api().put("organization-auto/routes/code", {"model": f" {CLAUDE.title()} "})
        assert response.json()["routes"][0]["target"] == CLAUDE
        # The other half is the default.
        assert team.settings == {"org_auto_model": {"routes": {"code": CLAUDE}, "fallback_model": BALANCED}}

    def test_another_target(self, team: Team) -> None:
        team.configure(**organization_auto(ROUTES), kept=1)
        message = f'Organization Auto route for "code" changed from "{CLAUDE}" to "{KIMI}"'
        with team.audited(("organization_auto.route.updated", message, {"code": (CLAUDE, KIMI)}), actor=team.dave):
            team.api(team.dave).put("organization-auto/routes/code", {"model": KIMI})
        assert team.settings == {**organization_auto({**ROUTES, "code": KIMI}), "kept": 1}

    def test_clearing(self, team: Team) -> None:
        team.configure(**organization_auto(ROUTES))
        message = f'Organization Auto route for "code" cleared (was "{CLAUDE}")'
        with team.audited(("organization_auto.route.cleared", message, {"code": (CLAUDE, None)})):
            response = team.api().delete("organization-auto/routes/code")
        assert [route["slug"] for route in response.json()["routes"]] == ["ask"]

    def test_no_ops(self, team: Team) -> None:
        with team.nothing_changes():
            assert team.api().delete("organization-auto/routes/code").status_code == 200
        team.configure(**organization_auto(ROUTES))
        with team.nothing_changes():
            assert team.api().put("organization-auto/routes/code", {"model": CLAUDE}).status_code == 200
            assert team.api().delete("organization-auto/routes/build").status_code == 200

    def test_a_direct_model_needs_the_organizations_credential(self, team: Team) -> None:
        body = {"model": "neuralwatt/Demo-Model"}
        CredentialFactory.create(user=team.alice)
        with team.nothing_changes():
            refused(team.api().put("organization-auto/routes/code", body), 400, "no_enabled_credential", field="model")
        CredentialFactory.create(organization=team.organization)
        team.api().put("organization-auto/routes/code", body)
        assert team.settings["org_auto_model"]["routes"] == {"code": "neuralwatt/demo-model"}

    @pytest.mark.parametrize(
        ("model", "code"),
        [
            ("kilo-auto/org", "targets_itself"),
            ("kilo-auto/efficient", "not_a_target_tier"),
            ("openai/*", "not_a_concrete_model"),
            ("openai/gpt:nitro", "model_unavailable"),
            (" ", "target_required"),
        ],
    )
    def test_what_is_no_target(self, team: Team, model: str, code: str) -> None:
        with team.nothing_changes():
            refused(team.api().put("organization-auto/routes/code", {"model": model}), 400, code, field="model")

    def test_there_is_a_limit(self, team: Team) -> None:
        team.configure(**organization_auto({f"m{number}": GPT for number in range(MAX_ROUTES)}))
        with team.nothing_changes():
            refused(team.api().put("organization-auto/routes/code", {"model": GPT}), 400, "too_many_routes")
        assert team.api().put("organization-auto/routes/m0", {"model": KIMI}).status_code == 200

    @pytest.mark.parametrize("who", ["carol", "bob"])
    def test_roles(self, team: Team, who: str) -> None:
        team.configure(**organization_auto(ROUTES))
        api = team.api(getattr(team, who))
        with team.nothing_changes():
            refused(api.put("organization-auto/routes/code", {"model": KIMI}), 403, "role_required")
            refused(api.delete("organization-auto/routes/code"), 403, "role_required")
            refused(api.put("organization-auto/fallback", {"model": KIMI}), 403, "role_required")

    def test_the_plan(self, team: Team) -> None:
        team.configure(**organization_auto(ROUTES))
        team.organization.plan = Plan.TEAMS
        team.organization.save()
        with team.nothing_changes():
            refused(team.api().put("organization-auto/routes/code", {"model": KIMI}), 403, "plan_required")
            refused(team.api().delete("organization-auto/routes/code"), 403, "plan_required")
            refused(team.api().put("organization-auto/fallback", {"model": KIMI}), 403, "plan_required")

    @pytest.mark.parametrize("body", [{}, {"model": None}, {"model": ["a"]}, {"model": ""}])
    def test_shape(self, team: Team, body: Any) -> None:
        with team.nothing_changes():
            refused(team.api().put("organization-auto/routes/code", body), 400, "invalid", field="model")


class TestFallback:
    def test_it_works(self, team: Team) -> None:
        team.configure(**organization_auto(ROUTES))
        message = f'Organization Auto fallback changed from "{BALANCED}" to "{KIMI}"'
        with team.audited(("organization_auto.fallback.changed", message, {"fallback_model": (BALANCED, KIMI)})):
            response = team.api().put("organization-auto/fallback", {"model": KIMI})
        assert response.json()["fallback"]["target"] == KIMI

    def test_the_first_thing_that_is_stored(self, team: Team) -> None:
        message = f'Organization Auto fallback changed to "{BALANCED}"'
        with team.audited(("organization_auto.fallback.changed", message, {"fallback_model": (None, BALANCED)})):
            response = team.api().put("organization-auto/fallback", {"model": BALANCED})
        assert response.json()["configured"] is True
        assert team.settings == {"org_auto_model": {"routes": {}, "fallback_model": BALANCED}}

    def test_no_op(self, team: Team) -> None:
        team.configure(**organization_auto(ROUTES))
        with team.nothing_changes():
            assert team.api().put("organization-auto/fallback", {"model": BALANCED}).status_code == 200

    def test_what_is_no_target(self, team: Team) -> None:
        with team.nothing_changes():
            refused(team.api().put("organization-auto/fallback", {"model": "gone/m"}), 400, "model_unavailable")
