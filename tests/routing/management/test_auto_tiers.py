"""What a change of the auto tiers does to the organizations whose settings lead to them."""

from __future__ import annotations

from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from organizations.audit import COMMAND
from organizations.models import Organization
from routing.models import AutoTierRule, Installation
from routing.services.auto_tiers import auto_tier_rule_delete, auto_tier_rule_save
from tests.factories import OrganizationFactory, organization_auto
from tests.routing.management.conftest import CLAUDE, GPT, KIMI, Team, refused

CONCERNED: dict[str, dict[str, Any]] = {
    "by a route": organization_auto({"code": CLAUDE, "docs": "kilo-auto/frontier"}, GPT),
    "by the fallback": organization_auto(fallback="kilo-auto/frontier"),
    "while it lies dormant": {"org_auto_model": {"routes": {"code": "kilo-auto/frontier"}}},
    "by a default of old": {"default_model": "kilo-auto/frontier"},
}
OTHERS: dict[str, dict[str, Any]] = {
    "another tier": organization_auto({"code": "kilo-auto/small"}),
    "the same word elsewhere": organization_auto({"kilo-auto-frontier": GPT}, KIMI) | {"note": "kilo-auto/frontier?"},
    "nothing": {},
}


@pytest.fixture
def rule(team: Team) -> AutoTierRule:
    for name, settings in {**CONCERNED, **OTHERS}.items():
        OrganizationFactory.create(name=name, settings=settings)
    return AutoTierRule.objects.get(tier="frontier")


def raised() -> dict[str, int]:
    return {row.name: row.routing_version for row in Organization.objects.exclude(routing_version=1)}


def test_a_change_raises_their_routing_version(rule: AutoTierRule) -> None:
    version = Installation.objects.get().tier_version
    rule.model_ids = [KIMI]
    auto_tier_rule_save(rule=rule, actor=COMMAND)
    assert raised() == dict.fromkeys(CONCERNED, 2)
    assert Installation.objects.get().tier_version == version + 1
    auto_tier_rule_save(rule=rule, actor=COMMAND)
    assert raised() == dict.fromkeys(CONCERNED, 2)


def test_a_new_rule_and_one_that_goes_do_too(rule: AutoTierRule) -> None:
    made = auto_tier_rule_save(rule=AutoTierRule(tier="frontier", mode="docs", model_ids=[GPT]), actor=COMMAND)
    assert raised() == dict.fromkeys(CONCERNED, 2)
    auto_tier_rule_delete(rule=made, actor=COMMAND)
    assert raised() == dict.fromkeys(CONCERNED, 3)


def test_a_rule_that_becomes_another_tiers_concerns_both(rule: AutoTierRule) -> None:
    moved = auto_tier_rule_save(rule=AutoTierRule(tier="frontier", mode="docs", model_ids=[GPT]), actor=COMMAND)
    moved.tier = "small"
    auto_tier_rule_save(rule=moved, actor=COMMAND)
    assert raised() == {**dict.fromkeys(CONCERNED, 3), "another tier": 2}


def test_the_rows_are_locked_in_one_order_after_the_installations(rule: AutoTierRule) -> None:
    rule.model_ids = [KIMI]
    with CaptureQueriesContext(connection) as queries:
        auto_tier_rule_save(rule=rule, actor=COMMAND)
    locks = [query["sql"] for query in queries if " FOR " in query["sql"] and "UPDATE" in query["sql"]]
    assert ["routing_installation" in lock for lock in locks] == [True, False]
    assert locks[1].endswith(" ASC FOR NO KEY UPDATE")


def test_whoever_saw_the_former_version_is_told(team: Team) -> None:
    team.configure(**organization_auto({"code": "kilo-auto/frontier"}))
    rule = AutoTierRule.objects.get(tier="frontier")
    rule.model_ids = [KIMI]
    auto_tier_rule_save(rule=rule, actor=COMMAND)
    response = team.api().put("organization-auto/fallback", {"model": GPT}, **{"If-Match": '"1"'})
    assert refused(response, 412, "routing_version_moved")["routing_version"] == 2
