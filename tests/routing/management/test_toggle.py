"""The release toggle is off: nothing can be set up, and everything can be taken back."""

from __future__ import annotations

from typing import Any

import pytest

from organizations.models import Role
from tests.factories import CustomModeFactory, organization_auto
from tests.routing.management.conftest import CLAUDE, GPT, KIMI, Team, refused
from tests.routing.management.test_history import keep

pytestmark = pytest.mark.usefixtures("toggle_off")

CONFIG = {"roleDefinition": "You help.", "groups": ["read"]}


@pytest.fixture
def configured(team: Team) -> Team:
    team.configure(**organization_auto({"docs": CLAUDE, "code": GPT}, fallback=KIMI))
    return team


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("PUT", "default-model", {"behavior": "auto"}),
        ("PUT", "default-model", {"behavior": "auto", "fallback_model": GPT}),
        ("PUT", "organization-auto/routes/code", {"model": CLAUDE}),
        ("DELETE", "organization-auto/routes/code", None),
        ("PUT", "organization-auto/fallback", {"model": GPT}),
        ("POST", "modes", {"name": "A", "slug": "a", "config": CONFIG, "route_model": GPT}),
        ("POST", "modes", {"name": "A", "slug": "a", "config": CONFIG, "route_model": None}),
    ],
)
@pytest.mark.parametrize("who", ["alice", "dave"])
def test_setting_up_is_refused(configured: Team, who: str, method: str, path: str, body: Any) -> None:
    with configured.nothing_changes():
        response = configured.api(getattr(configured, who)).request(method, path, body)
    error = refused(response, 403, "release_toggle_off")
    assert error["type"] == "access_denied"


def test_setting_a_route_with_a_mode_is_refused(configured: Team) -> None:
    docs = CustomModeFactory.create(organization=configured.organization, slug="docs")
    override = CustomModeFactory.create(organization=configured.organization, slug="code")
    with configured.nothing_changes():
        for route_model in (GPT, None):
            body = {"route_model": route_model}
            refused(configured.api().patch(f"modes/{docs.pk}", body), 403, "release_toggle_off")
            refused(configured.api().delete(f"modes/{override.pk}", body), 403, "release_toggle_off")


def test_a_route_for_a_mode_that_is_deleted_is_refused_for_what_it_is(configured: Team) -> None:
    docs = CustomModeFactory.create(organization=configured.organization, slug="docs")
    with configured.nothing_changes():
        response = configured.api().delete(f"modes/{docs.pk}", {"route_model": GPT})
        refused(response, 400, "invalid", field="route_model")


def test_restoring_what_sets_something_up_is_refused(configured: Team) -> None:
    keep(configured.organization, 1, organization_auto({"docs": KIMI}))
    with configured.nothing_changes():
        refused(configured.api().post("history/1/restore", {}), 403, "release_toggle_off")


def test_turning_it_off_works(configured: Team) -> None:
    message = f'Organization Auto disabled; the default model is "{GPT}"'
    with configured.audited(("organization_auto.disabled", message, None)):
        configured.api().put("default-model", {"behavior": "specific", "specific_model": GPT})
    with configured.audited(
        ("settings.default_model.changed", "Default model changed to the installation's default", None)
    ):
        configured.api().put("default-model", {"behavior": "global"})


def test_restoring_what_takes_back_works(configured: Team) -> None:
    keep(configured.organization, 1, {"default_model": GPT})
    with configured.audited(("settings.restored", "Settings of routing version 1 restored", None)):
        configured.api().post("history/1/restore", {})


def test_renaming_and_deleting_routed_modes_works(configured: Team) -> None:
    docs = CustomModeFactory.create(organization=configured.organization, slug="docs")
    with configured.audited(
        ("mode.updated", 'Mode "team" updated', None),
        ("organization_auto.route.migrated", f'Organization Auto route moved from "docs" to "team" ("{CLAUDE}")', None),
    ):
        configured.api().patch(f"modes/{docs.pk}", {"slug": "team"})
    with configured.audited(
        ("mode.deleted", 'Mode "team" deleted', None),
        (
            "organization_auto.route.removed",
            f'Organization Auto route for "team" removed with its mode (was "{CLAUDE}")',
            None,
        ),
    ):
        configured.api().delete(f"modes/{docs.pk}")


@pytest.mark.parametrize("query", ["", "?preserve_route=true"])
def test_reverting_works(configured: Team, query: str) -> None:
    override = CustomModeFactory.create(organization=configured.organization, slug="code")
    assert configured.api().delete(f"modes/{override.pk}{query}").status_code == 200


def test_what_has_nothing_to_do_with_it_works(configured: Team) -> None:
    api = configured.api()
    assert api.post("modes", {"name": "A", "slug": "a", "config": CONFIG}).status_code == 201
    assert api.put("data-collection", {"data_collection": "deny"}).status_code == 200
    assert api.put("model-policy", {"provider_allow_list": None, "model_deny_list": ["a/b"]}).status_code == 200
    assert api.get("organization-auto").json()["enabled"] is True


def test_what_is_configured_keeps_routing(configured: Team) -> None:
    answer = configured.api().post("explain", {"mode": "docs"}).json()
    assert (answer["target"], answer["refusal"]) == (CLAUDE, None)


def test_who_may_not_anyway_is_told_the_same(configured: Team) -> None:
    """The toggle is asked before the lock is taken, so before the role is looked at."""
    assert configured.organization.memberships.get(user=configured.bob).role == Role.MEMBER
    with configured.nothing_changes():
        response = configured.api(configured.bob).put("organization-auto/fallback", {"model": GPT})
    refused(response, 403, "release_toggle_off")
