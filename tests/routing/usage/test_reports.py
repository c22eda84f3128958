"""What the pages about usage show."""

from __future__ import annotations

from datetime import date, timedelta
from typing import Any

import pytest
from django.db import connection
from pytest_django import DjangoAssertNumQueries

from organizations.models import Membership, Role, User
from routing import usage_selectors
from routing.models import UsageRecord
from routing.usage.sums import SUMS, Group, SumBy, UsageScope, usage_scope
from routing.usage_selectors import UsageRead, usage_offered, usage_overview, usage_read
from tests.factories import MembershipFactory, OrganizationFactory
from tests.routing.usage.records import NOON, used

DAY = NOON.date()


@pytest.fixture
def bob(db: None) -> Membership:
    return MembershipFactory.create(organization=OrganizationFactory.create(), user__email="bob@example.com")


@pytest.fixture
def alice(bob: Membership) -> Membership:
    return MembershipFactory.create(
        organization=bob.organization, role=Role.OWNER, user__email="alice@example.com", user__name="Alice"
    )


def use(member: Membership, days_ago: int = 0, **fields: Any) -> UsageRecord:
    at = NOON - timedelta(days=days_ago)
    return used(member.organization_id, member.user_id, created_at=at, **fields)


def requests(groups: list[Group]) -> dict[Any, int]:
    return {group.label or group.key: group.sums["requests"] for group in groups}


@pytest.fixture
def _used(alice: Membership, bob: Membership) -> None:
    use(alice, mode="ask", market_cost_microdollars=9, hosted_cost_microdollars=9)
    use(bob, 1, is_byok=True, hosted_cost_microdollars=0, market_cost_microdollars=30, duration_ms=50)
    use(bob, 2, status=502, error_type="upstream_error", resolved_model="c/d", time_to_first_byte_ms=7)
    use(bob, 2, status=402, error_type="usage_limit_exceeded")
    use(alice, 2, error_type="upstream_broke", mode="")
    for days_ago in (3, 4, 5, 5):
        use(alice, days_ago)
    use(bob, 6)
    use(bob, -1)
    use(MembershipFactory.create(user=bob.user))


@pytest.mark.usefixtures("_used")
class TestPage:
    def test_it_works(self, alice: Membership) -> None:
        page = usage_read(usage_scope(alice), DAY - timedelta(days=2), DAY).page()
        assert requests(page.days) == {DAY - timedelta(days=2): 3, DAY - timedelta(days=1): 1, DAY: 1}
        assert requests(page.table.groups) == {"code": 3, "ask": 1, "": 1}
        assert page.counts == {SumBy.MODE: 3, SumBy.MODEL: 2, SumBy.MEMBER: 2}
        assert requests(page.errors.groups) == {
            "upstream_broke": 1,
            "upstream_error": 1,
            "usage_limit_exceeded": 1,
        }
        assert {name: value for name, value in page.totals.items() if value} == {
            "requests": 5,
            "failed_requests": 2,
            "byok_requests": 1,
            "unpriced_requests": 1,
            "hosted_cost_microdollars": 9,
            "market_cost_microdollars": 39,
            "byok_market_cost_microdollars": 30,
            "duration_ms": 70,
            "first_byte_requests": 1,
            "first_byte_ms": 7,
        }
        assert page.previous["requests"] == 4
        assert page.change("requests") == 0.25
        assert page.change("hosted_cost_microdollars") is None

    def test_a_member_sees_the_own(self, alice: Membership, bob: Membership) -> None:
        page = usage_read(usage_scope(bob), DAY - timedelta(days=2), DAY).page()
        assert requests(page.days) == {DAY - timedelta(days=2): 2, DAY - timedelta(days=1): 1, DAY: 0}
        assert requests(page.table.groups) == {"code": 3}
        assert page.counts == {SumBy.MODE: 1, SumBy.MODEL: 2}
        assert requests(page.errors.groups) == {"upstream_error": 1, "usage_limit_exceeded": 1}
        assert (page.totals["requests"], page.previous["requests"]) == (3, 0)

    @pytest.mark.parametrize(
        ("by", "table"),
        [
            (SumBy.MODE, {"code": 3, "ask": 1, "": 1}),
            (SumBy.MODEL, {"a/b": 4, "c/d": 1}),
            (SumBy.MEMBER, {"bob@example.com": 3, "alice@example.com": 2}),
        ],
    )
    def test_one_table_is_read_and_the_others_are_counted(
        self, alice: Membership, by: SumBy, table: dict[str, int]
    ) -> None:
        page = usage_read(usage_scope(alice), DAY - timedelta(days=2), DAY, by).page()
        assert requests(page.table.groups) == table
        assert page.counts == {SumBy.MODE: 3, SumBy.MODEL: 2, SumBy.MEMBER: 2}

    def test_what_is_read_is_equal_until_something_is_used(self, alice: Membership, bob: Membership) -> None:
        """Pages are kept by it."""

        def read(by: SumBy) -> UsageRead:
            return usage_read(usage_scope(alice), DAY - timedelta(days=2), DAY, by)

        before = read(SumBy.MODE)
        assert read(SumBy.MODE) == before
        use(bob, 4)  # among the days before
        assert read(SumBy.MODE) != before
        before = read(SumBy.MEMBER)
        User.objects.filter(pk=bob.user_id).update(email="robert@example.com")
        assert read(SumBy.MEMBER) != before

    def test_days_without_a_request_are_there(self, bob: Membership) -> None:
        page = usage_read(UsageScope(bob.organization_id), date(2020, 1, 1), date(2020, 1, 31)).page()
        assert len(page.days) == 31
        assert page.totals == dict.fromkeys(SUMS, 0)
        first = usage_read(UsageScope(bob.organization_id), date.min, date.min).page()
        assert (len(first.days), first.previous["requests"]) == (1, 0)
        with pytest.raises(ValueError, match="ends before"):
            usage_read(UsageScope(bob.organization_id), DAY, DAY - timedelta(days=1))

    def test_too_many_groups(self, alice: Membership, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(usage_selectors, "MAX_GROUPS", 1)
        page = usage_read(usage_scope(alice), DAY - timedelta(days=2), DAY).page()
        assert (requests(page.table.groups), page.table.is_cut) == ({"code": 3}, True)
        assert set(page.counts.values()) == {1}
        assert (page.totals["requests"], page.errors.is_cut) == (5, True)

    def test_few_queries(
        self, alice: Membership, bob: Membership, django_assert_num_queries: DjangoAssertNumQueries
    ) -> None:
        with django_assert_num_queries(1):
            usage_read(usage_scope(alice), DAY - timedelta(days=365), DAY).page()
        with django_assert_num_queries(1):
            usage_read(usage_scope(bob), DAY, DAY).page()

    def test_without_the_records(self, alice: Membership) -> None:
        """Nothing but the roll-ups is read."""
        before = usage_read(usage_scope(alice), DAY - timedelta(days=2), DAY).page()
        with connection.cursor() as cursor:
            cursor.execute("DELETE FROM routing_usagerecord")
        assert usage_read(usage_scope(alice), DAY - timedelta(days=2), DAY).page() == before


@pytest.mark.usefixtures("_used")
class TestOffered:
    def test_it_works(
        self, alice: Membership, bob: Membership, django_assert_num_queries: DjangoAssertNumQueries
    ) -> None:
        with django_assert_num_queries(1):
            offered = usage_offered(usage_scope(alice), DAY - timedelta(days=2), DAY + timedelta(days=1))
        assert [*offered.labels(SumBy.MODE)] == ["", "ask", "code"]
        assert [*offered.labels(SumBy.MODEL)] == ["a/b", "c/d"]
        assert [*offered.labels(SumBy.ERROR)] == ["upstream_broke", "upstream_error", "usage_limit_exceeded"]
        people = {str(one.user_id): one.user.email for one in (alice, bob)}
        assert offered.labels(SumBy.MEMBER) == people
        own = usage_offered(usage_scope(bob), DAY - timedelta(days=2), DAY + timedelta(days=1))
        assert [*own.labels(SumBy.MODE)] == ["code"]
        assert SumBy.MEMBER not in {one.by for one in own.wanted}

    def test_of_too_many_it_is_those_that_are_used_most(
        self, alice: Membership, monkeypatch: pytest.MonkeyPatch, django_assert_num_queries: DjangoAssertNumQueries
    ) -> None:
        monkeypatch.setattr(usage_selectors, "MAX_GROUPS", 2)
        with django_assert_num_queries(2):
            offered = usage_offered(usage_scope(alice), DAY - timedelta(days=6), DAY + timedelta(days=1))
        assert len(offered.labels(SumBy.MODE)) == 2
        assert next(iter(offered.labels(SumBy.MODE))) == "code"


@pytest.mark.usefixtures("_used")
class TestOverview:
    def test_it_works(
        self, alice: Membership, bob: Membership, django_assert_num_queries: DjangoAssertNumQueries
    ) -> None:
        with django_assert_num_queries(1):
            days = usage_overview(usage_scope(alice), today=DAY)
        assert [group.key for group in days] == [DAY - timedelta(days=ago) for ago in range(29, -1, -1)]
        assert sum(group.sums["requests"] for group in days) == 10
        assert sum(group.sums["requests"] for group in usage_overview(usage_scope(bob), today=DAY)) == 4


@pytest.mark.parametrize("role", Role)
def test_who_sees_what(bob: Membership, role: Role) -> None:
    member = MembershipFactory.create(organization=bob.organization, role=role)
    own = role is Role.MEMBER
    assert usage_scope(member) == UsageScope(bob.organization_id, member.user_id if own else None)
