from __future__ import annotations

from typing import Any
from uuid import uuid4

import pytest

from organizations.models import AuditLog, Plan, Scope
from organizations.modes.config import BUILT_IN_MODES
from organizations.modes.models import CustomMode
from routing.services.modes import MAX_MODES
from tests.factories import CustomModeFactory, organization_auto
from tests.routing.management.conftest import CLAUDE, GPT, KIMI, Team, refused

CONFIG = {"roleDefinition": "You write docs.", "groups": ["read", ["edit", {"fileRegex": r"\.md$"}]]}
DOCS = {"name": "Docs", "slug": "docs", "config": CONFIG}


@pytest.fixture
def docs(team: Team) -> CustomMode:
    return CustomModeFactory.create(organization=team.organization, slug="docs", name="Docs", config=CONFIG)


def override(team: Team, slug: str = "code") -> CustomMode:
    return CustomModeFactory.create(organization=team.organization, slug=slug, name="Our own", config=CONFIG)


class TestRead:
    def test_one(self, team: Team, docs: CustomMode) -> None:
        team.configure(**organization_auto({"docs": CLAUDE}))
        answer = team.api(team.bob).get(f"modes/{docs.pk}").json()
        assert (answer["mode"]["slug"], answer["mode"]["config"], answer["route_model"]) == ("docs", CONFIG, CLAUDE)
        assert answer["routing_version"] == 1

    def test_all_of_them_with_a_key_for_model_requests(self, team: Team, docs: CustomMode) -> None:
        answer = team.api(team.bob, scopes=[Scope.INFERENCE.value]).get("modes")
        assert [mode["id"] for mode in answer.json()["modes"]] == [str(docs.pk)]

    def test_none_of_others(self, team: Team) -> None:
        foreign = CustomModeFactory.create()
        for mode_id in (foreign.pk, uuid4()):
            refused(team.api().get(f"modes/{mode_id}"), 404, "not_found")
            with team.nothing_changes():
                refused(team.api().patch(f"modes/{mode_id}", {"name": "X"}), 404, "not_found")
                refused(team.api().delete(f"modes/{mode_id}"), 404, "not_found")
        assert CustomMode.objects.filter(pk=foreign.pk).exists()


class TestCreate:
    def test_any_member(self, team: Team) -> None:
        changes = {"name": (None, "Docs"), "slug": (None, "docs")}
        with team.audited(("mode.created", 'Mode "docs" created', changes), actor=team.bob, raises_version=False):
            response = team.api(team.bob).post("modes", DOCS)
        assert response.status_code == 201
        answer = response.json()
        assert answer["mode"] | {"name": "Docs", "slug": "docs", "config": CONFIG} == answer["mode"]
        assert answer["mode"]["created_by"] == str(team.bob.pk)
        assert (answer["route_model"], answer["routing_version"], response["ETag"]) == (None, 1, '"1"')

    def test_with_a_route(self, team: Team) -> None:
        with team.audited(
            ("mode.created", 'Mode "docs" created', None),
            (
                "organization_auto.route.set",
                f'Organization Auto route for "docs" set to "{CLAUDE}"',
                {"docs": (None, CLAUDE)},
            ),
        ):
            answer = team.api().post("modes", {**DOCS, "route_model": CLAUDE}).json()
        assert (answer["route_model"], answer["routing_version"]) == (CLAUDE, 2)

    def test_null_clears_a_route_that_was_there_and_absent_leaves_it(self, team: Team) -> None:
        team.configure(**organization_auto({"docs": CLAUDE, "more": GPT}))
        with team.audited(
            ("mode.created", 'Mode "docs" created', None),
            ("organization_auto.route.cleared", f'Organization Auto route for "docs" cleared (was "{CLAUDE}")', None),
        ):
            team.api().post("modes", {**DOCS, "route_model": None})
        assert team.api().post("modes", {**DOCS, "slug": "more"}).json()["route_model"] == GPT

    def test_an_override_of_a_built_in_mode(self, team: Team) -> None:
        assert team.api(team.bob).post("modes", {**DOCS, "slug": "code"}).status_code == 201

    def test_an_override_that_says_nothing(self, team: Team) -> None:
        built_in = BUILT_IN_MODES["ask"]
        with team.nothing_changes():
            body = {"name": built_in.name, "slug": "ask", "config": built_in.config}
            refused(team.api().post("modes", body), 400, "equals_built_in", field="config")

    def test_a_slug_in_use(self, team: Team, docs: CustomMode) -> None:
        with team.nothing_changes():
            refused(team.api().post("modes", {**DOCS, "route_model": CLAUDE}), 409, "slug_in_use")

    def test_too_many(self, team: Team) -> None:
        CustomMode.objects.bulk_create(
            CustomMode(organization=team.organization, name="M", slug=f"m{number}", config={})
            for number in range(MAX_MODES)
        )
        with team.nothing_changes():
            refused(team.api().post("modes", DOCS), 409, "too_many_modes")

    def test_a_route_that_is_refused_takes_the_mode_along(self, team: Team) -> None:
        with team.nothing_changes():
            refused(
                team.api().post("modes", {**DOCS, "route_model": "gone/m"}),
                400,
                "model_unavailable",
                field="route_model",
            )
            refused(team.api(team.bob).post("modes", {**DOCS, "route_model": CLAUDE}), 403, "role_required")
            refused(team.api(team.bob).post("modes", {**DOCS, "route_model": None}), 403, "role_required")
        team.organization.plan = Plan.TEAMS
        team.organization.save()
        with team.nothing_changes():
            refused(team.api().post("modes", {**DOCS, "route_model": CLAUDE}), 403, "plan_required")
        assert team.api().post("modes", DOCS).status_code == 201

    @pytest.mark.parametrize(
        ("change", "field"),
        [
            ({"name": ""}, "name"),
            ({"name": "   "}, "name"),
            ({"name": "x" * 101}, "name"),
            ({"name": "line\nbreak"}, "name"),
            ({"name": 7}, "name"),
            ({"slug": "Docs"}, "slug"),
            ({"slug": " docs"}, "slug"),
            ({"slug": "docs\n"}, "slug"),
            ({"slug": "x" * 51}, "slug"),
            ({"slug": "../x"}, "slug"),
            ({"slug": 1}, "slug"),
            ({"config": {}}, "roleDefinition"),
            ({"config": None}, "config"),
            ({"config": []}, "config"),
            ({"config": {**CONFIG, "colour": "red"}}, "config"),
            ({"config": {**CONFIG, "groups": ["write"]}}, "groups"),
            ({"config": {**CONFIG, "groups": [["edit", {"fileRegex": "("}]]}}, "groups"),
            ({"route_model": 5}, "route_model"),
            ({"id": str(uuid4())}, "id"),
            ({"organization_id": str(uuid4())}, "organization_id"),
        ],
    )
    def test_shape(self, team: Team, change: dict[str, Any], field: str) -> None:
        with team.nothing_changes():
            refused(team.api().post("modes", {**DOCS, **change}), 400, "invalid", field=field)


class TestUpdate:
    def test_any_member(self, team: Team, docs: CustomMode) -> None:
        other = {"roleDefinition": "You write.", "groups": []}
        changes = {"name": ("Docs", "Writers"), "config": (CONFIG, other)}
        with team.audited(("mode.updated", 'Mode "docs" updated', changes), actor=team.bob, raises_version=False):
            answer = team.api(team.bob).patch(f"modes/{docs.pk}", {"name": "Writers", "config": other}).json()
        assert (answer["mode"]["name"], answer["mode"]["config"]) == ("Writers", other)

    def test_renaming_without_a_route(self, team: Team, docs: CustomMode) -> None:
        team.configure(**organization_auto({"code": CLAUDE}))
        changes = {"slug": ("docs", "docs-team")}
        with team.audited(("mode.updated", 'Mode "docs-team" updated', changes), actor=team.bob, raises_version=False):
            team.api(team.bob).patch(f"modes/{docs.pk}", {"slug": "docs-team"})

    def test_renaming_takes_the_route_along(self, team: Team, docs: CustomMode) -> None:
        team.configure(**organization_auto({"docs": CLAUDE, "code": GPT}), other=1)
        message = f'Organization Auto route moved from "docs" to "docs-team" ("{CLAUDE}")'
        with team.audited(
            ("mode.updated", 'Mode "docs-team" updated', {"slug": ("docs", "docs-team")}),
            ("organization_auto.route.migrated", message, {"docs": (CLAUDE, None), "docs-team": (None, CLAUDE)}),
        ):
            answer = team.api().patch(f"modes/{docs.pk}", {"slug": "docs-team"}).json()
        assert (answer["mode"]["slug"], answer["route_model"]) == ("docs-team", CLAUDE)
        assert team.settings == {**organization_auto({"docs-team": CLAUDE, "code": GPT}), "other": 1}

    def test_renaming_and_another_route_in_one(self, team: Team, docs: CustomMode) -> None:
        team.configure(**organization_auto({"docs": CLAUDE}))
        with team.audited(
            ("mode.updated", 'Mode "team" updated', None),
            (
                "organization_auto.route.migrated",
                f'Organization Auto route moved from "docs" to "team" ("{CLAUDE}")',
                None,
            ),
            (
                "organization_auto.route.updated",
                f'Organization Auto route for "team" changed from "{CLAUDE}" to "{KIMI}"',
                {"team": (CLAUDE, KIMI)},
            ),
        ):
            team.api().patch(f"modes/{docs.pk}", {"slug": "team", "route_model": KIMI})
        assert team.settings == organization_auto({"team": KIMI})

    def test_a_dormant_route_moves_too(self, team: Team, docs: CustomMode) -> None:
        team.configure(**organization_auto({"docs": CLAUDE}))
        team.organization.plan = Plan.TEAMS
        team.organization.save()
        assert team.api().patch(f"modes/{docs.pk}", {"slug": "team"}).json()["route_model"] == CLAUDE

    @pytest.mark.parametrize("who", ["carol", "bob"])
    def test_renaming_with_a_route_needs_an_admin(self, team: Team, docs: CustomMode, who: str) -> None:
        team.configure(**organization_auto({"docs": CLAUDE}))
        api = team.api(getattr(team, who))
        with team.nothing_changes():
            refused(api.patch(f"modes/{docs.pk}", {"slug": "team", "name": "Team"}), 403, "role_required")
            refused(api.patch(f"modes/{docs.pk}", {"route_model": GPT}), 403, "role_required")
        assert api.patch(f"modes/{docs.pk}", {"name": "Team"}).status_code == 200

    def test_collisions(self, team: Team, docs: CustomMode) -> None:
        CustomModeFactory.create(organization=team.organization, slug="taken")
        team.configure(**organization_auto({"docs": CLAUDE, "routed": GPT}))
        with team.nothing_changes():
            for slug, code in (("taken", "slug_in_use"), ("routed", "route_in_use"), ("code", "slug_in_use")):
                refused(team.api().patch(f"modes/{docs.pk}", {"slug": slug, "name": "New"}), 409, code)

    @pytest.mark.parametrize("routes", [{"routed": GPT}, {"routed": GPT, "docs": CLAUDE}])
    @pytest.mark.parametrize("who", ["alice", "bob"])
    def test_a_route_without_a_mode_is_not_taken_over(
        self, team: Team, docs: CustomMode, who: str, routes: dict[str, str]
    ) -> None:
        """Whoever renames a mode would come by a route that others have set."""
        team.configure(**organization_auto(routes))
        with team.nothing_changes():
            response = team.api(getattr(team, who)).patch(f"modes/{docs.pk}", {"slug": "routed"})
            refused(response, 409, "route_in_use", says='"routed"')

    def test_an_override_keeps_its_slug(self, team: Team) -> None:
        mode = override(team)
        with team.nothing_changes():
            refused(team.api().patch(f"modes/{mode.pk}", {"slug": "other"}), 400, "built_in_slug", field="slug")

    def test_no_ops(self, team: Team, docs: CustomMode) -> None:
        team.configure(**organization_auto({"docs": CLAUDE}))
        with team.nothing_changes():
            for body in ({}, DOCS, {"slug": "docs"}, {"route_model": CLAUDE}):
                assert team.api().patch(f"modes/{docs.pk}", body).status_code == 200
        assert CustomMode.objects.get().updated_at == docs.updated_at

    def test_an_override_that_equals_its_built_in_mode_again(self, team: Team) -> None:
        mode, built_in = override(team, "ask"), BUILT_IN_MODES["ask"]
        team.configure(**organization_auto({"ask": CLAUDE}))
        with team.audited(
            ("mode.reverted", 'Mode "ask" equals the built-in mode again; override removed', None),
            (
                "organization_auto.route.preserved",
                f'Organization Auto route for "ask" kept ("{CLAUDE}")',
                {"ask": (CLAUDE, CLAUDE)},
            ),
            actor=team.bob,
            raises_version=False,
        ):
            body = {"name": built_in.name, "config": built_in.config}
            answer = team.api(team.bob).patch(f"modes/{mode.pk}", body).json()
        assert (answer["mode"], answer["route_model"]) == (None, CLAUDE)
        assert not CustomMode.objects.exists()

    def test_the_same_with_another_route(self, team: Team) -> None:
        mode, built_in = override(team, "ask"), BUILT_IN_MODES["ask"]
        team.configure(**organization_auto({"ask": CLAUDE}))
        with team.audited(
            ("mode.reverted", 'Mode "ask" equals the built-in mode again; override removed', None),
            ("organization_auto.route.cleared", f'Organization Auto route for "ask" cleared (was "{CLAUDE}")', None),
        ):
            body = {"name": built_in.name, "config": built_in.config, "route_model": None}
            team.api().patch(f"modes/{mode.pk}", body)

    def test_a_refused_route_takes_the_rest_along(self, team: Team, docs: CustomMode) -> None:
        body = {"name": "New", "slug": "new", "route_model": "kilo-auto/org"}
        with team.nothing_changes():
            refused(team.api().patch(f"modes/{docs.pk}", body), 400, "targets_itself", field="route_model")

    @pytest.mark.parametrize("body", [{"name": None}, {"slug": None}, {"config": None}, {"created_by": "x"}])
    def test_shape(self, team: Team, docs: CustomMode, body: dict[str, Any]) -> None:
        with team.nothing_changes():
            refused(team.api().patch(f"modes/{docs.pk}", body), 400, "invalid", field=next(iter(body)))


class TestDelete:
    def test_any_member_without_a_route(self, team: Team, docs: CustomMode) -> None:
        changes = {"name": ("Docs", None), "config": (CONFIG, None)}
        with team.audited(("mode.deleted", 'Mode "docs" deleted', changes), actor=team.bob, raises_version=False):
            response = team.api(team.bob).delete(f"modes/{docs.pk}")
        assert response.json() == {"mode": None, "route_model": None, "routing_version": 1}
        assert AuditLog.objects.get(action="mode.deleted").target_id == str(docs.pk)

    def test_the_route_goes_along(self, team: Team, docs: CustomMode) -> None:
        team.configure(**organization_auto({"docs": CLAUDE, "code": GPT}))
        with team.audited(
            ("mode.deleted", 'Mode "docs" deleted', None),
            (
                "organization_auto.route.removed",
                f'Organization Auto route for "docs" removed with its mode (was "{CLAUDE}")',
                {"docs": (CLAUDE, None)},
            ),
        ):
            team.api().delete(f"modes/{docs.pk}?preserve_route=false")
        assert team.settings == organization_auto({"code": GPT})

    @pytest.mark.parametrize("who", ["carol", "bob"])
    def test_with_a_route_it_needs_an_admin(self, team: Team, docs: CustomMode, who: str) -> None:
        team.configure(**organization_auto({"docs": CLAUDE}))
        with team.nothing_changes():
            refused(team.api(getattr(team, who)).delete(f"modes/{docs.pk}"), 403, "role_required")

    @pytest.mark.parametrize(("query", "body"), [(f"?route_model={GPT}", None), ("", {"route_model": None})])
    def test_a_route_for_what_is_deleted(self, team: Team, docs: CustomMode, query: str, body: Any) -> None:
        with team.nothing_changes():
            refused(team.api().delete(f"modes/{docs.pk}{query}", body), 400, "invalid", field="route_model")

    @pytest.mark.parametrize(("query", "body"), [("?preserve_route=true", None), ("", {"preserve_route": True})])
    def test_a_route_that_cannot_be_kept(self, team: Team, docs: CustomMode, query: str, body: Any) -> None:
        team.configure(**organization_auto({"docs": CLAUDE}))
        with team.nothing_changes():
            refused(team.api().delete(f"modes/{docs.pk}{query}", body), 400, "invalid", field="preserve_route")


class TestRevert:
    @pytest.mark.parametrize(("query", "body"), [("?preserve_route=true", None), ("", {"preserve_route": True})])
    def test_keeping_the_route(self, team: Team, query: str, body: Any) -> None:
        mode = override(team)
        team.configure(**organization_auto({"code": CLAUDE}))
        with team.audited(
            ("mode.reverted", 'Mode "code" reverted to the built-in mode', None),
            (
                "organization_auto.route.preserved",
                f'Organization Auto route for "code" kept ("{CLAUDE}")',
                {"code": (CLAUDE, CLAUDE)},
            ),
            actor=team.bob,
            raises_version=False,
        ):
            answer = team.api(team.bob).delete(f"modes/{mode.pk}{query}", body).json()
        assert answer["route_model"] == CLAUDE

    @pytest.mark.parametrize(("query", "body"), [("", None), ("?preserve_route=false", None), ("", {})])
    def test_not_keeping_it(self, team: Team, query: str, body: Any) -> None:
        mode = override(team)
        team.configure(**organization_auto({"code": CLAUDE}))
        with team.nothing_changes():
            response = team.api(team.bob).delete(f"modes/{mode.pk}{query}", body)
            refused(response, 403, "role_required", says="preserve_route")
        with team.audited(
            ("mode.reverted", 'Mode "code" reverted to the built-in mode', None),
            (
                "organization_auto.route.removed",
                f'Organization Auto route for "code" removed with its mode (was "{CLAUDE}")',
                {"code": (CLAUDE, None)},
            ),
        ):
            team.api().delete(f"modes/{mode.pk}{query}", body)

    @pytest.mark.parametrize(("query", "body"), [(f"?route_model={KIMI}", None), ("", {"route_model": KIMI})])
    def test_another_route(self, team: Team, query: str, body: Any) -> None:
        mode = override(team)
        team.configure(**organization_auto({"code": CLAUDE}))
        with team.audited(
            ("mode.reverted", 'Mode "code" reverted to the built-in mode', None),
            (
                "organization_auto.route.updated",
                f'Organization Auto route for "code" changed from "{CLAUDE}" to "{KIMI}"',
                {"code": (CLAUDE, KIMI)},
            ),
        ):
            assert team.api().delete(f"modes/{mode.pk}{query}", body).json()["route_model"] == KIMI

    @pytest.mark.parametrize(("query", "body"), [("?route_model=", None), ("", {"route_model": None})])
    def test_clearing_it(self, team: Team, query: str, body: Any) -> None:
        mode = override(team)
        team.configure(**organization_auto({"code": CLAUDE}))
        with team.audited(
            ("mode.reverted", 'Mode "code" reverted to the built-in mode', None),
            ("organization_auto.route.cleared", f'Organization Auto route for "code" cleared (was "{CLAUDE}")', None),
        ):
            team.api().delete(f"modes/{mode.pk}{query}", body)

    def test_a_refused_route_keeps_the_override(self, team: Team) -> None:
        mode = override(team)
        with team.nothing_changes():
            refused(team.api().delete(f"modes/{mode.pk}?route_model=gone/m"), 400, "model_unavailable")
            refused(team.api(team.bob).delete(f"modes/{mode.pk}?route_model={GPT}"), 403, "role_required")

    @pytest.mark.parametrize(
        ("query", "body", "field"),
        [
            ("?preserve_route=1", None, "preserve_route"),
            ("?preserve-route=true", None, "preserve-route"),
            ("?preserve_route=true&preserve_route=false", None, "preserve_route"),
            ("?preserve_route=true", {"preserve_route": True}, "preserve_route"),
            ("", {"preserve_route": "true"}, "preserve_route"),
            ("", {"preserve-route": True}, "preserve-route"),
        ],
    )
    def test_shape(self, team: Team, query: str, body: Any, field: str) -> None:
        mode = override(team)
        with team.nothing_changes():
            refused(team.api().delete(f"modes/{mode.pk}{query}", body), 400, "invalid", field=field)
