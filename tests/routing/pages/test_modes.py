"""The pages about modes."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.test import Client
from django.urls import reverse
from pytest_django import DjangoAssertNumQueries

from kilo_gateway.api_errors import GatewayError
from organizations.acting import Acting
from organizations.audit import Actor
from organizations.models import Plan, Role, User, Via
from organizations.modes.config import BUILT_IN_MODES, validate_config
from organizations.modes.models import CustomMode
from organizations.modes.templates import MODE_TEMPLATES
from routing.models import CatalogSnapshot, Installation
from routing.pages.modes import listing
from routing.pages.modes.forms import mode_values, slug_from
from routing.services.modes import ModeEdit, mode_update
from tests.factories import CredentialFactory, CustomModeFactory, MembershipFactory, organization_auto
from tests.routing.management.conftest import CLAUDE, GPT, KIMI, Team

pytestmark = pytest.mark.django_db

OVERLAY = {"HX-Request": "true", "HX-Target": "overlay"}


def client_of(user: User) -> Client:
    client = Client()
    client.force_login(user)
    return client


def url(name: str, team: Team, **more: Any) -> str:
    return reverse(name, kwargs={"organization_id": team.organization.pk, **more})


def shown(team: Team, user: User | None = None) -> str:
    return client_of(user or team.alice).get(url("modes", team)).content.decode()


def card(page: str, slug: str) -> str:
    """The part of the list about one mode or other route, with its white space as one blank."""
    part = page.partition(f'id="mode-{slug}"')[2]
    end = min(at for at in (part.find("</article>"), part.find("</tr>")) if at >= 0)
    return " ".join(part[:end].split())


def posted(name: str, slug: str = "", *, seen: str | None = None, **more: Any) -> dict[str, Any]:
    """The body of a mode's form."""
    values = {"name": name, "slug": slug, "role_definition": "You help.", "tools": ["read"], "model": "", **more}
    return values if seen is None else {**values, "seen": seen}


def as_posted(slug: str, **more: Any) -> dict[str, Any]:
    """A built-in mode's form as it was opened, and as browsers send it: with their line ends."""
    built_in = BUILT_IN_MODES[slug]
    values = mode_values(built_in.name, slug, built_in.config, "")
    return {
        **{key: value.replace("\n", "\r\n") if isinstance(value, str) else value for key, value in values.items()},
        **more,
    }


class TestList:
    def test_it_works(self, team: Team) -> None:
        CredentialFactory.create(organization=team.organization, offered_models=["demo-model"])
        team.configure(
            **organization_auto(
                {"code": GPT, "docs": CLAUDE, "ask": "gone/model", "ci": "neuralwatt/demo-model"}, fallback=KIMI
            )
        )
        CustomModeFactory.create(organization=team.organization, name="Docs", slug="docs")
        CustomModeFactory.create(organization=team.organization, name="Ours", slug="debug")
        page = shown(team)
        assert "Active" in card(page, "code")
        assert GPT in card(page, "code")
        assert "follows Code" in card(page, "code")
        assert "Broken" in card(page, "ask")
        assert "not in the catalog" in card(page, "ask")
        assert "Uses the fallback" in card(page, "architect")
        assert "Edit: Markdown files" in card(page, "architect")
        assert r"\.md$" in card(page, "architect")
        assert "Overridden" in card(page, "debug")
        assert CLAUDE in card(page, "docs")
        assert "neuralwatt/demo-model" in card(page, "ci")
        assert "Inherited from code" in card(page, "build")
        assert GPT in card(page, "build")
        assert "Uses the fallback" in card(page, "plan")
        assert 'href="#mode-ask"' in page
        assert "1 route is broken" in page

    def test_saved_but_inactive(self, team: Team) -> None:
        team.configure(org_auto_model={"routes": {"code": GPT}, "fallback_model": KIMI})
        assert "Saved, inactive" in card(shown(team), "code")

    def test_a_teams_plan(self, team: Team) -> None:
        team.organization.plan = Plan.TEAMS
        team.configure(org_auto_model={"routes": {"code": GPT}, "fallback_model": KIMI})
        page = shown(team)
        assert "Routes need the enterprise plan." in page
        assert "Saved, inactive" in card(page, "code")
        assert "This needs the enterprise plan." in card(page, "code")
        assert 'id="mode-build"' not in page

    def test_a_member(self, team: Team) -> None:
        """He may do what touches no route, and is told why not the rest."""
        team.configure(**organization_auto({"docs": CLAUDE}))
        docs = CustomModeFactory.create(organization=team.organization, slug="docs")
        plain = CustomModeFactory.create(organization=team.organization, slug="plain")
        page = shown(team, team.bob)
        assert url("mode-remove", team, mode_id=plain.pk) in card(page, "plain")
        assert url("mode-remove", team, mode_id=docs.pk) not in card(page, "docs")
        assert "It has a route. Only owners and admins" in card(page, "docs")
        assert url("mode-route", team, slug="docs") not in page
        assert "Only owners and admins change routes" in card(page, "code")

    @pytest.mark.usefixtures("toggle_off")
    def test_the_toggle_is_off(self, team: Team) -> None:
        team.configure(**organization_auto({"docs": CLAUDE}))
        CustomModeFactory.create(organization=team.organization, slug="docs")
        page = shown(team)
        assert "Active" in card(page, "docs")
        assert "Delete" in card(page, "docs")
        assert "Set route" not in page
        assert "Change route" not in page
        assert "Add route" not in page

    def test_the_catalog_cannot_be_read(self, team: Team) -> None:
        team.configure(**organization_auto({"code": GPT}))
        malformed = CatalogSnapshot.objects.create(
            origin="synced", source="test", entries=[{}], providers=[], model_count=1
        )
        Installation.objects.update(catalog_snapshot=malformed)
        page = shown(team)
        assert "The model catalog cannot be read at the moment" in page
        assert "Not checked" in card(page, "code")
        form = client_of(team.alice).get(url("mode-route", team, slug="code"))
        assert "data-catalog" in form.content.decode()
        assert f'value="{GPT}"' in form.content.decode()

    def test_many(self, team: Team, django_assert_num_queries: DjangoAssertNumQueries) -> None:
        modes = CustomModeFactory.create_batch(100, organization=team.organization, created_by=team.bob)
        team.configure(**organization_auto({mode.slug: CLAUDE for mode in modes}))
        client = client_of(team.alice)
        client.get(url("modes", team))
        with django_assert_num_queries(5):
            page = client.get(url("modes", team)).content.decode()
        assert page.count("Change route") == 100
        with django_assert_num_queries(7):
            client.get(url("mode", team, mode_id=modes[0].pk))

    def test_none_yet(self, team: Team) -> None:
        """There are two ways to the first one."""
        page = shown(team)
        assert "No custom modes yet" in page
        assert page.count(f'href="{url("mode-new", team)}"') == 2


class TestShownAgain:
    """The list is kept as it was drawn: whatever it shows makes it another one."""

    @pytest.fixture(autouse=True)
    def seen(self, team: Team) -> CustomMode:
        team.configure(**organization_auto({"docs": CLAUDE, "code": GPT}, fallback=KIMI))
        mode = CustomModeFactory.create(organization=team.organization, slug="docs", name="Docs")
        page = shown(team)
        assert [card(page, slug).count("Active") for slug in ("docs", "code")] == [1, 1]
        return mode

    def test_a_change_of_a_mode(self, team: Team, seen: CustomMode) -> None:
        CustomMode.objects.update(name="Papers", config={**seen.config, "description": "New words", "groups": ["mcp"]})
        docs = card(shown(team), "docs")
        assert "Papers" in docs
        assert "New words" in docs
        assert "MCP" in docs
        assert "Docs" not in docs

    def test_long_ones_are_not_kept(self, team: Team, monkeypatch: pytest.MonkeyPatch) -> None:
        before = listing._kept.cache_info()
        kept = shown(team)
        monkeypatch.setattr(listing, "KEPT_CHARACTERS", 10)
        drawn = shown(team)
        assert card(drawn, "docs") == card(kept, "docs")
        after = listing._kept.cache_info()
        assert (after.hits + after.misses) - (before.hits + before.misses) == 1

    def test_another_mode_of_the_same_slug(self, team: Team, seen: CustomMode) -> None:
        seen.delete()
        again = CustomModeFactory.create(organization=team.organization, slug="docs", name="Docs", config=seen.config)
        assert url("mode", team, mode_id=again.pk) in card(shown(team), "docs")

    def test_a_change_of_a_route(self, team: Team) -> None:
        team.configure(**organization_auto({"docs": GPT}, fallback=CLAUDE))
        page = shown(team)
        assert GPT in card(page, "docs")
        assert "Uses the fallback" in card(page, "code")
        assert CLAUDE in page.partition("Fallback")[2].partition("</section>")[0]

    def test_turned_off(self, team: Team) -> None:
        team.configure(org_auto_model=team.settings["org_auto_model"])
        page = shown(team)
        assert "Saved, inactive" in card(page, "docs")
        assert "do nothing until it is turned on" in page

    def test_another_plan(self, team: Team) -> None:
        team.organization.plan = Plan.TEAMS
        team.organization.save()
        assert "Routes need the enterprise plan." in shown(team)

    def test_a_policy_that_breaks_a_route(self, team: Team) -> None:
        team.configure(**team.settings, model_deny_list=[CLAUDE])
        page = shown(team)
        assert "The model policy of the organization denies" in card(page, "docs")
        assert "Active" in card(page, "code")

    def test_a_catalog_without_a_model(self, team: Team) -> None:
        entries = [entry for entry in CatalogSnapshot.objects.get(source="test").entries if entry["id"] != CLAUDE]
        snapshot = CatalogSnapshot.objects.create(
            origin="synced", source="test", entries=entries, providers=[], model_count=len(entries)
        )
        Installation.objects.update(catalog_snapshot=snapshot)
        assert "it is not in the catalog" in card(shown(team), "docs")

    def test_somebody_who_may_less(self, team: Team, request: pytest.FixtureRequest) -> None:
        page = shown(team, team.bob)
        assert "Only owners and admins change routes" in card(page, "docs")
        assert url("mode-route", team, slug="docs") not in page
        assert url("mode-route", team, slug="docs") in shown(team)
        request.getfixturevalue("toggle_off")
        assert "Change route" not in shown(team)

    def test_another_organization_that_is_set_up_the_same(self, team: Team) -> None:
        other = MembershipFactory.create(user=team.alice, role=Role.OWNER, organization__plan=Plan.ENTERPRISE)
        other.organization.settings = team.settings
        other.organization.save()
        CustomMode.objects.update(organization=other.organization)
        path = f"/organizations/{other.organization_id}/modes"
        middle = client_of(team.alice).get(path, headers={"HX-Request": "true", "HX-Target": "main"}).content.decode()
        assert GPT in card(middle, "code")
        assert f'href="{path}/new"' in middle
        assert str(team.organization.pk) not in middle


class TestNew:
    def test_templates(self, team: Team) -> None:
        client = client_of(team.bob)
        page = client.get(url("mode-new", team)).content.decode()
        assert all(template.name in page for template in (*MODE_TEMPLATES.values(), *BUILT_IN_MODES.values()))
        form = client.get(url("mode-new", team), {"template": "documentation-writer"}).content.decode()
        assert 'value="documentation-writer"' in form
        assert r"\.(md|mdx|rst|adoc|txt)$" in form

    @pytest.mark.parametrize("template", MODE_TEMPLATES.values(), ids=MODE_TEMPLATES)
    def test_each_template_is_in_normal_form(self, template: Any) -> None:
        assert validate_config(template.config) == template.config
        assert slug_from(template.name) == template.slug

    def test_it_works(self, team: Team) -> None:
        body = posted(
            "Écrire des docs!", model=GPT, tools=["mcp", "edit"], file_regex=r"\.md$", custom_instructions="a\r\nb"
        )
        answer = client_of(team.alice).post(url("mode-new", team), body)
        assert answer.status_code == 303
        mode = CustomMode.objects.get(slug="ecrire-des-docs")
        assert mode.config == {
            "roleDefinition": "You help.",
            "customInstructions": "a\nb",
            "groups": [["edit", {"fileRegex": r"\.md$"}], "mcp"],
        }
        assert team.settings["org_auto_model"]["routes"] == {"ecrire-des-docs": GPT}

    def test_a_member_makes_one_without_a_route(self, team: Team) -> None:
        answer = client_of(team.bob).post(url("mode-new", team), posted("Docs", model=GPT))
        assert answer.status_code == 303
        assert CustomMode.objects.filter(slug="docs").exists()
        assert "org_auto_model" not in team.settings

    @pytest.mark.parametrize(
        ("body", "field", "words"),
        [
            (posted(""), "name", "This field is required."),
            (posted("日本"), "slug", "The name suggests no slug"),
            (posted("A", "No slug"), "slug", "small letters, digits and hyphens"),
            (posted("A", "taken"), "slug", "is in use"),
            (posted("A", role_definition=" "), "role_definition", "This field is required."),
            (posted("A", tools=["edit"], file_regex="("), "file_regex", "It does not compile"),
            (posted("A", model="gone/model"), "model", "not in the catalog"),
            (posted("A", description="x" * 1001), "description", "at most 1000"),
        ],
    )
    def test_refused(self, team: Team, body: dict[str, Any], field: str, words: str) -> None:
        CustomModeFactory.create(organization=team.organization, slug="taken")
        with team.nothing_changes():
            answer = client_of(team.alice).post(url("mode-new", team), body, headers=OVERLAY)
        assert answer.status_code == 422
        page = answer.content.decode()
        assert words in page
        assert f'id="id_{field}_error"' in page
        assert "This was not saved" not in page


class TestEdit:
    def test_a_rename_takes_the_route_along(self, team: Team) -> None:
        team.configure(**organization_auto({"docs": CLAUDE}))
        mode = CustomModeFactory.create(organization=team.organization, slug="docs")
        body = posted("Docs", "docs-team", model=CLAUDE, seen=mode.updated_at.isoformat())
        assert client_of(team.alice).post(url("mode", team, mode_id=mode.pk), body).status_code == 303
        assert team.settings["org_auto_model"]["routes"] == {"docs-team": CLAUDE}

    def test_a_member_may_not_rename_what_has_a_route(self, team: Team) -> None:
        team.configure(**organization_auto({"docs": CLAUDE}))
        mode = CustomModeFactory.create(organization=team.organization, slug="docs")
        client, path = client_of(team.bob), url("mode", team, mode_id=mode.pk)
        form = client.get(path).content.decode()
        assert "It has a route. Only owners and admins" in form
        assert 'name="slug"' not in form
        assert 'name="model"' not in form
        assert client.post(path, posted("New words", "other", model=GPT)).status_code == 303
        mode.refresh_from_db()
        assert (mode.name, mode.slug) == ("New words", "docs")
        assert team.settings["org_auto_model"]["routes"] == {"docs": CLAUDE}

    def test_a_broken_route_is_shown_and_may_stay(self, team: Team) -> None:
        team.configure(**organization_auto({"docs": "gone/model"}))
        mode = CustomModeFactory.create(organization=team.organization, slug="docs")
        client, path = client_of(team.alice), url("mode", team, mode_id=mode.pk)
        form = client.get(path, headers=OVERLAY).content.decode()
        assert "The route is broken" in form
        assert 'value="gone/model"' in form
        assert client.post(path, posted("Docs", "docs", model="gone/model")).status_code == 303
        assert team.settings["org_auto_model"]["routes"] == {"docs": "gone/model"}
        assert client.post(path, posted("Docs", "docs", model="")).status_code == 303
        assert team.settings["org_auto_model"]["routes"] == {}

    def test_two_at_once(self, team: Team) -> None:
        """Texts change without a new routing version; nobody's are lost."""
        mode = CustomModeFactory.create(organization=team.organization, slug="docs")
        path, seen = url("mode", team, mode_id=mode.pk), mode.updated_at.isoformat()
        version = team.routing_version
        first = posted("Docs", "docs", seen=seen, routing_version=version, role_definition="Dave's words.")
        assert client_of(team.dave).post(path, first).status_code == 303
        mine = posted("Docs", "docs", seen=seen, routing_version=version, role_definition="Alice's words.")
        answer = client_of(team.alice).post(path, mine, headers=OVERLAY)
        page = answer.content.decode()
        assert answer.status_code == 412
        assert "This changed while you had it open" in page
        assert page.count("Alice&#x27;s words.") == 2
        assert page.count("Dave&#x27;s words.") == 1
        mode.refresh_from_db()
        assert mode.config["roleDefinition"] == "Dave's words."
        assert f'name="seen" value="{mode.updated_at.isoformat()}"' in page
        again = client_of(team.alice).post(path, {**mine, "seen": mode.updated_at.isoformat()})
        assert again.status_code == 303
        mode.refresh_from_db()
        assert mode.config["roleDefinition"] == "Alice's words."

    def test_the_service_looks_again_under_the_lock(self, team: Team) -> None:
        mode = CustomModeFactory.create(organization=team.organization, slug="docs")
        acting = Acting(Actor.of(team.alice, Via.WEB), team.alice)
        arguments: dict[str, Any] = {"organization_id": team.organization.pk, "mode_id": mode.pk, "acting": acting}
        earlier = mode.updated_at - timedelta(microseconds=1)
        with team.nothing_changes(), pytest.raises(GatewayError) as refused:
            mode_update(**arguments, edit=ModeEdit(name="Mine"), seen_at=earlier)
        assert (refused.value.status, refused.value.code) == (412, "changed_meanwhile")
        assert mode_update(**arguments, edit=ModeEdit(name="Mine"), seen_at=mode.updated_at)

    def test_an_older_routing_version(self, team: Team) -> None:
        team.configure(**organization_auto({"docs": CLAUDE}))
        mode = CustomModeFactory.create(organization=team.organization, slug="docs")
        path = url("mode-route", team, slug="docs")
        version = team.routing_version
        assert client_of(team.dave).post(path, {"model": GPT, "routing_version": version}).status_code == 303
        body = posted("Docs", "docs", model=CLAUDE, seen=mode.updated_at.isoformat(), routing_version=version)
        answer = client_of(team.alice).post(url("mode", team, mode_id=mode.pk), body)
        page = answer.content.decode()
        assert answer.status_code == 412
        assert f"version {version} became {version + 1}" in page
        assert f'<td class="difference" data-label="Yours">{CLAUDE}</td>' in page
        assert f'<td class="difference" data-label="Now">{GPT}</td>' in page

    def test_deleted_meanwhile(self, team: Team) -> None:
        mode = CustomModeFactory.create(organization=team.organization, slug="docs")
        path = url("mode", team, mode_id=mode.pk)
        mode.delete()
        client = client_of(team.alice)
        assert client.get(path).status_code == 404
        answer = client.post(path, posted("Docs", "docs", seen="2026-01-01", role_definition="Long words."))
        page = answer.content.decode()
        assert answer.status_code == 422
        assert "It was deleted while you had it open." in page
        assert "Long words." in page
        assert f'action="{url("mode-new", team)}?template=blank"' in page

    def test_with_htmx(self, team: Team) -> None:
        mode = CustomModeFactory.create(organization=team.organization, slug="docs")
        answer = client_of(team.bob).post(url("mode", team, mode_id=mode.pk), posted("Docs", "docs"), headers=OVERLAY)
        assert answer.status_code == 200
        assert '"target": "#main"' in answer["HX-Location"]


class TestBuiltIn:
    def test_an_override_and_back(self, team: Team) -> None:
        client, path = client_of(team.alice), url("mode-built-in", team, slug="code")
        assert client.post(path, as_posted("code", name="Our code", model=GPT)).status_code == 303
        row = CustomMode.objects.get(slug="code")
        assert row.name == "Our code"
        assert team.settings["org_auto_model"]["routes"] == {"code": GPT}
        back = client.post(path, as_posted("code", model=GPT, seen=row.updated_at.isoformat()))
        assert back.status_code == 303
        assert not CustomMode.objects.exists()
        assert team.settings["org_auto_model"]["routes"] == {"code": GPT}

    @pytest.mark.parametrize("slug", BUILT_IN_MODES)
    def test_saved_as_it_comes_it_is_no_override(self, team: Team, slug: str) -> None:
        path = url("mode-built-in", team, slug=slug)
        with team.nothing_changes():
            assert client_of(team.bob).post(path, as_posted(slug)).status_code == 303
        assert client_of(team.alice).post(path, as_posted(slug, model=GPT)).status_code == 303
        assert not CustomMode.objects.exists()
        assert team.settings["org_auto_model"]["routes"] == {slug: GPT}

    def test_overridden_meanwhile(self, team: Team) -> None:
        CustomModeFactory.create(organization=team.organization, slug="code", name="Dave's code")
        path = url("mode-built-in", team, slug="code")
        answer = client_of(team.alice).post(path, as_posted("code", name="Alice's code", seen=""))
        assert answer.status_code == 412
        assert "Dave&#x27;s code" in answer.content.decode()
        assert CustomMode.objects.get().name == "Dave's code"

    def test_there_is_no_such_mode(self, team: Team) -> None:
        assert client_of(team.alice).get(url("mode-built-in", team, slug="docs")).status_code == 404


class TestRemove:
    def test_a_custom_mode_and_its_route(self, team: Team) -> None:
        team.configure(**organization_auto({"docs": CLAUDE}))
        mode = CustomModeFactory.create(organization=team.organization, slug="docs")
        client, path = client_of(team.alice), url("mode-remove", team, mode_id=mode.pk)
        page = client.get(path).content.decode()
        assert "Its route goes with it" in page
        assert CLAUDE in page
        assert client.post(path).status_code == 303
        assert not CustomMode.objects.exists()
        assert team.settings["org_auto_model"]["routes"] == {}

    def test_a_member_and_a_routed_mode(self, team: Team) -> None:
        team.configure(**organization_auto({"docs": CLAUDE}))
        mode = CustomModeFactory.create(organization=team.organization, slug="docs")
        client, path = client_of(team.bob), url("mode-remove", team, mode_id=mode.pk)
        page = client.get(path).content.decode()
        assert "It has a route. Only owners and admins" in page
        assert "<form" not in page.partition("<main")[2]
        with team.nothing_changes():
            assert client.post(path).status_code == 403

    @pytest.mark.usefixtures("toggle_off")
    def test_while_the_toggle_is_off(self, team: Team) -> None:
        team.configure(**organization_auto({"docs": CLAUDE}))
        mode = CustomModeFactory.create(organization=team.organization, slug="docs")
        assert client_of(team.dave).post(url("mode-remove", team, mode_id=mode.pk)).status_code == 303
        assert team.settings["org_auto_model"]["routes"] == {}

    def test_changed_meanwhile(self, team: Team) -> None:
        mode = CustomModeFactory.create(organization=team.organization, slug="docs")
        seen = mode.updated_at.isoformat()
        mode.save()
        answer = client_of(team.alice).post(url("mode-remove", team, mode_id=mode.pk), {"seen": seen})
        assert answer.status_code == 412
        assert "This changed while you had it open" in answer.content.decode()
        assert CustomMode.objects.exists()

    @pytest.mark.parametrize(
        ("choice", "routes"),
        [
            ({"route": "keep"}, {"code": GPT}),
            ({"route": "remove"}, {}),
            ({"route": "replace", "route_model": CLAUDE}, {"code": CLAUDE}),
        ],
    )
    def test_revert(self, team: Team, choice: dict[str, str], routes: dict[str, str]) -> None:
        team.configure(**organization_auto({"code": GPT}))
        mode = CustomModeFactory.create(organization=team.organization, slug="code")
        client, path = client_of(team.alice), url("mode-remove", team, mode_id=mode.pk)
        page = client.get(path).content.decode()
        assert "Keep it" in page
        assert GPT in page
        assert client.post(path, {"route": "replace"}).status_code == 422
        assert client.post(path, choice).status_code == 303
        assert not CustomMode.objects.exists()
        assert team.settings["org_auto_model"]["routes"] == routes

    def test_a_member_reverts_and_the_route_stays(self, team: Team) -> None:
        team.configure(**organization_auto({"code": GPT}))
        mode = CustomModeFactory.create(organization=team.organization, slug="code")
        client, path = client_of(team.bob), url("mode-remove", team, mode_id=mode.pk)
        assert "Its route stays" in client.get(path).content.decode()
        assert client.post(path, {"route": "remove"}).status_code == 303
        assert team.settings["org_auto_model"]["routes"] == {"code": GPT}


class TestRoute:
    def test_it_works(self, team: Team) -> None:
        client, path = client_of(team.dave), url("mode-route", team, slug="build")
        page = client.get(path).content.decode()
        assert "No mode here has this slug." in page
        assert f'<option value="{GPT}"' in page
        assert "kilo-auto/efficient" not in page
        assert client.post(path, {"model": GPT}).status_code == 303
        assert team.settings["org_auto_model"]["routes"] == {"build": GPT}
        assert client.post(path, {"model": GPT, "clear": "1"}).status_code == 303
        assert team.settings["org_auto_model"]["routes"] == {}

    def test_refused(self, team: Team) -> None:
        answer = client_of(team.alice).post(url("mode-route", team, slug="code"), {"model": "gone/model"})
        assert answer.status_code == 422
        assert "not in the catalog" in answer.content.decode()

    @pytest.mark.usefixtures("toggle_off")
    def test_the_toggle_is_off(self, team: Team) -> None:
        client, path = client_of(team.alice), url("mode-route", team, slug="code")
        assert "has not been released to you" in client.get(path).content.decode()
        with team.nothing_changes():
            assert client.post(path, {"model": GPT}).status_code == 403

    def test_a_teams_plan(self, team: Team) -> None:
        team.organization.plan = Plan.TEAMS
        team.configure()
        client, path = client_of(team.alice), url("mode-route", team, slug="code")
        assert "This needs the enterprise plan." in client.get(path).content.decode()
        assert client.post(path, {"model": GPT}).status_code == 403

    def test_a_new_one(self, team: Team) -> None:
        client, path = client_of(team.alice), url("mode-route-new", team)
        assert client.post(path, {"slug": "Docs-CI", "model": CLAUDE}).status_code == 303
        assert team.settings["org_auto_model"]["routes"] == {"docs-ci": CLAUDE}
        again = client.post(path, {"slug": "docs-ci", "model": GPT})
        assert again.status_code == 422
        assert "has a route already" in again.content.decode()
        assert team.settings["org_auto_model"]["routes"] == {"docs-ci": CLAUDE}


@pytest.mark.parametrize(
    ("name", "slug"),
    [("Docs Team", "docs-team"), ("  A & B!  ", "a-b"), ("Ünïcode_x", "unicode-x"), ("日本", ""), ("x" * 60, "x" * 50)],
)
def test_the_slug_of_a_name(name: str, slug: str) -> None:
    assert slug_from(name) == slug
