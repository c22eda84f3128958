from __future__ import annotations

import pytest
from django.http import Http404

from kilo_gateway.api_errors import GatewayError
from organizations.acting import Acting
from organizations.audit import COMMAND, Actor
from organizations.models import Plan, Via
from routing.services.plan import organization_plan_change
from tests.factories import OrganizationFactory, organization_auto
from tests.routing.management.conftest import CLAUDE, KIMI, Team

STAFF = Acting(COMMAND)


def change(team: Team, plan: str, acting: Acting = STAFF) -> None:
    organization_plan_change(organization_id=team.organization.pk, plan=plan, acting=acting)


def test_routing_lies_dormant_and_comes_back(team: Team) -> None:
    settings = organization_auto({"code": CLAUDE}, model_deny_list=[KIMI], other=1)
    team.configure(**settings)
    api = team.api()
    with team.audited(
        (
            "organization.plan.changed",
            "Plan changed from enterprise to teams",
            {"plan": ("enterprise", "teams")},
        ),
        via="command",
    ):
        change(team, Plan.TEAMS)
    assert team.settings == settings
    assert api.get("organization-auto").json()["configured"] is False
    assert api.get("model-policy").json()["enforced"] is False
    refusal = api.post("explain", {"mode": "code"}).json()["refusal"]
    assert refusal["code"] == "organization_auto_not_available"
    with team.audited(("organization.plan.changed", "Plan changed from teams to enterprise", None), via="command"):
        change(team, Plan.ENTERPRISE)
    assert team.settings == settings
    assert api.get("organization-auto").json()["enabled"] is True
    assert api.post("explain", {"mode": "code"}).json()["target"] == CLAUDE


def test_no_op(team: Team) -> None:
    with team.nothing_changes():
        change(team, Plan.ENTERPRISE)


def test_an_unknown_plan(team: Team) -> None:
    with team.nothing_changes(), pytest.raises(GatewayError) as raised:
        change(team, "free")
    assert (raised.value.status, list(raised.value.details["fields"])) == (400, ["plan"])


def test_it_is_for_staff(team: Team) -> None:
    owner = Acting(Actor.of(team.alice, Via.API), team.alice)
    with team.nothing_changes(), pytest.raises(GatewayError) as raised:
        change(team, Plan.TEAMS, owner)
    assert (raised.value.status, raised.value.code) == (403, "role_required")


def test_no_such_organization(team: Team) -> None:
    missing = OrganizationFactory.build()
    with pytest.raises(Http404):
        organization_plan_change(organization_id=missing.pk, plan=Plan.TEAMS, acting=STAFF)


def test_somebody_was_quicker(team: Team) -> None:
    with team.nothing_changes(), pytest.raises(GatewayError) as raised:
        change(team, Plan.TEAMS, Acting(COMMAND, expected_version=7))
    assert raised.value.status == 412
