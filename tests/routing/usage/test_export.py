"""Usage as CSV."""

from __future__ import annotations

import csv
from datetime import timedelta

import pytest
from pytest_django import DjangoAssertNumQueries

from organizations.models import Membership
from routing.usage import export
from routing.usage.export import COLUMNS, usage_csv
from routing.usage.sums import UsageScope
from tests.factories import MembershipFactory
from tests.routing.usage.records import NOON, used

DAY = NOON.date()


@pytest.fixture
def bob(db: None) -> Membership:
    return MembershipFactory.create(user__email="bob@example.com")


def lines(scope: UsageScope, days: int = 5) -> list[dict[str, str]]:
    return list(csv.DictReader("".join(usage_csv(scope, DAY - timedelta(days=days), DAY)).splitlines()))


def test_it_works(bob: Membership) -> None:
    for _ in range(2):
        used(bob.organization_id, bob.user_id, input_tokens=5, hosted_cost_microdollars=3, market_cost_microdollars=3)
    used(bob.organization_id, bob.user_id, created_at=NOON - timedelta(days=6))
    used(None, bob.user_id)
    (line,) = lines(UsageScope(bob.organization_id))
    assert tuple(line) == COLUMNS
    assert [line[name] for name in COLUMNS[:6]] == [
        "2026-05-10",
        "code",
        "a/b",
        "bob@example.com",
        str(bob.user_id),
        "2",
    ]
    assert (line["input_tokens"], line["hosted_cost_microdollars"]) == ("10", "6")


def test_in_batches(
    bob: Membership, monkeypatch: pytest.MonkeyPatch, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    """None is left out and none comes twice, wherever a batch ends."""
    members = [bob, *MembershipFactory.create_batch(2, organization=bob.organization)]
    for ago in range(3):
        for member in members:
            for mode in ("ask", "code", "", "Zoo"):
                for model in ("a/b", ""):
                    at = NOON - timedelta(days=ago)
                    used(bob.organization_id, member.user_id, created_at=at, mode=mode, resolved_model=model)
    monkeypatch.setattr(export, "BATCH", 5)
    with django_assert_num_queries(2 * 15):
        found = lines(UsageScope(bob.organization_id))
    assert len({tuple(line.values())[:5] for line in found}) == len(found) == 72
    assert [line["day"] for line in found] == sorted(line["day"] for line in found)
    own = lines(UsageScope(bob.organization_id, bob.user_id))
    assert len(own) == 24
    assert {line["member"] for line in own} == {"bob@example.com"}


def test_no_spreadsheet_takes_a_mode_for_a_formula(bob: Membership) -> None:
    used(bob.organization_id, bob.user_id, mode="=1+1")
    assert lines(UsageScope(bob.organization_id))[0]["mode"] == "'=1+1"
