"""Spending limits: who sets them, what is stored, what is told."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime
from typing import Any

import pytest

from organizations.audit import verify_chain
from organizations.models import AuditLog, Membership, User
from routing.models import HostedBalance, MemberSpending, UsageRecord
from routing.proxy.usage_writer import Usage, UsageWriter
from tests.factories import MembershipFactory, UserFactory
from tests.routing.management.conftest import Team, refused

pytestmark = pytest.mark.usefixtures("no_leftovers")

NONE = {"day_microdollars": None, "month_microdollars": None}


def body(organization: Any = None, each_member: Any = None, members: Any = ()) -> dict[str, Any]:
    return {
        "organization": {**NONE, **(organization or {})},
        "each_member": {**NONE, **(each_member or {})},
        "members": [{**NONE, **member} for member in members],
    }


def state(team: Team) -> tuple[Any, ...]:
    columns = ("day_limit_microdollars", "month_limit_microdollars")
    return (
        list(HostedBalance.objects.values_list(*columns, "has_limits", "member_day_limit_microdollars")),
        list(MemberSpending.objects.order_by("pk").values_list("user_id", "has_own_limits", *columns)),
        team.routing_version,
        AuditLog.objects.count(),
    )


class TestReading:
    def test_nothing_is_limited_at_first(self, team: Team) -> None:
        answer = team.api(team.carol).get("spending-limits")
        assert answer.status_code == 200
        told = answer.json()
        assert {name: told[name] for name in body()} == body()
        spent = told["spending"]
        assert (spent["day_microdollars"], spent["reserved_microdollars"], spent["members"]) == (0, 0, [])
        assert spent["balance_microdollars"] is None
        assert datetime.fromisoformat(spent["day_ends_at"]) > datetime.now(UTC)

    def test_what_was_spent(self, team: Team) -> None:
        team.api().put("spending-limits", body(members=[{"user_id": str(team.dave.pk), "day_microdollars": 9}]))
        HostedBalance.objects.update(balance_microdollars=1000)
        gone = UserFactory.create()
        own = UsageWriter()
        own._unwritten = [
            Usage(
                request_id=uuid.uuid4(),
                created_at=datetime.now(UTC),
                organization_id=team.organization.pk,
                user_id=user.pk,
                api_key_id=uuid.uuid4(),
                api_kind="chat_completions",
                requested_model="m",
                status=200,
                hosted_cost_microdollars=cost,
            )
            for user, cost in ((team.bob, 30), (team.bob, 5), (gone, 7))
        ]
        own._write_batch()
        assert UsageRecord.objects.count() == 3
        spent = team.api().get("spending-limits").json()["spending"]
        assert (spent["day_microdollars"], spent["month_microdollars"]) == (42, 42)
        assert spent["balance_microdollars"] == 958
        assert [(row["email"], row["day_microdollars"]) for row in spent["members"]] == [
            (team.bob.email, 35),
            (team.dave.email, 0),
        ]

    def test_queries(self, team: Team, django_assert_max_num_queries: Any) -> None:
        api = team.api()
        for user in UserFactory.create_batch(10):
            MembershipFactory.create(user=user, organization=team.organization)
            MemberSpending.objects.create(organization=team.organization, user_id=user.pk)
        with django_assert_max_num_queries(7):
            assert len(api.get("spending-limits").json()["spending"]["members"]) == 10

    def test_members_do_not_see_them(self, team: Team) -> None:
        refused(team.api(team.bob).get("spending-limits"), 403, "role_required")


class TestSetting:
    def test_it_works(self, team: Team) -> None:
        wanted = body(
            {"day_microdollars": 5_000_000, "month_microdollars": 100_000_000},
            {"day_microdollars": 1_000_000},
            [{"user_id": str(team.bob.pk), "month_microdollars": 0}],
        )
        answer = team.api(team.carol).put("spending-limits", wanted, **{"If-Match": '"1"'})
        assert answer.status_code == 200
        told = answer.json()
        assert {name: told[name] for name in wanted} == wanted
        assert told["routing_version"] == team.routing_version == 2
        assert HostedBalance.objects.get().has_limits
        row = AuditLog.objects.get(action="settings.spending_limits.changed")
        assert row.actor_email == team.carol.email
        assert row.message == (
            "Spending limits changed: organization a day from none to $5.00; "
            "organization a month from none to $100.00; "
            f"each member a day from none to $1.00; {team.bob.email} from none to none a day and $0.00 a month"
        )
        assert row.changes == {
            "organization a day": [None, 5_000_000],
            "organization a month": [None, 100_000_000],
            "each member a day": [None, 1_000_000],
            team.bob.email: [None, {"day_microdollars": None, "month_microdollars": 0}],
        }
        assert verify_chain(team.organization.pk)[1] is None
        assert team.api().get("spending-limits").json() == told

    def test_all_are_taken_away_again_and_counters_stay(self, team: Team) -> None:
        team.api().put("spending-limits", body({"day_microdollars": 5}, members=[{"user_id": str(team.bob.pk)}]))
        HostedBalance.objects.update(day_spent_microdollars=7, reserved_microdollars=3, balance_microdollars=11)
        MemberSpending.objects.update(day_spent_microdollars=7, reserved_microdollars=3)
        assert team.api().put("spending-limits", body()).status_code == 200
        account, member = HostedBalance.objects.get(), MemberSpending.objects.get()
        assert (account.has_limits, account.day_limit_microdollars, member.has_own_limits) == (False, None, False)
        assert (account.day_spent_microdollars, account.reserved_microdollars, account.balance_microdollars) == (
            7,
            3,
            11,
        )
        assert (member.day_spent_microdollars, member.reserved_microdollars) == (7, 3)

    def test_what_does_not_change_writes_nothing(self, team: Team) -> None:
        wanted = body({"day_microdollars": 5}, members=[{"user_id": str(team.bob.pk), "day_microdollars": 1}])
        for content in (body(), wanted):
            assert team.api().put("spending-limits", content).status_code == 200
            before = state(team)
            assert team.api().put("spending-limits", content).status_code == 200
            assert state(team) == before

    @pytest.mark.parametrize("name", ["alice", "dave", "carol"])
    def test_who_may(self, team: Team, name: str) -> None:
        assert team.api(getattr(team, name)).put("spending-limits", body({"day_microdollars": 1})).status_code == 200

    def test_members_may_not(self, team: Team) -> None:
        before = state(team)
        refused(team.api(team.bob).put("spending-limits", body({"day_microdollars": 1})), 403, "role_required")
        assert state(team) == before

    def test_of_two_who_read_the_same_one_is_told(self, team: Team) -> None:
        tag = team.api().get("spending-limits").headers["ETag"]
        first = team.api().put("spending-limits", body({"day_microdollars": 1}), **{"If-Match": tag})
        second = team.api(team.dave).put("spending-limits", body({"day_microdollars": 2}), **{"If-Match": tag})
        assert (first.status_code, second.status_code) == (200, 412)
        assert HostedBalance.objects.get().day_limit_microdollars == 1

    @pytest.mark.parametrize(
        ("content", "field"),
        [
            ({}, "organization"),
            ({**body(), "each_member": {"day_microdollars": 1}}, "each_member.month_microdollars"),
            ({**body(), "users": []}, "users"),
            (body({"day_microdollars": -1}), "organization.day_microdollars"),
            (body({"day_microdollars": 10**15 + 1}), "organization.day_microdollars"),
            (body({"day_microdollars": "5"}), "organization.day_microdollars"),
            (body({"day_microdollars": 5.5}), "organization.day_microdollars"),
            (body({"day_microdollars": True}), "organization.day_microdollars"),
            ({**body(), "members": None}, "members"),
        ],
    )
    def test_shape(self, team: Team, content: Any, field: str) -> None:
        before = state(team)
        refused(team.api().put("spending-limits", content), 400, "invalid", field=field)
        assert state(team) == before

    def test_somebody_else(self, team: Team, mallory: User) -> None:
        before = state(team)
        content = body(members=[{"user_id": str(mallory.pk), "day_microdollars": 1}])
        refused(team.api().put("spending-limits", content), 400, "invalid", field="members")
        twice = body(members=[{"user_id": str(team.bob.pk)}] * 2)
        refused(team.api().put("spending-limits", twice), 400, "invalid", field="members")
        assert state(team) == before

    def test_limits_of_somebody_who_left_are_no_obstacle(self, team: Team) -> None:
        wanted = body(members=[{"user_id": str(team.bob.pk), "day_microdollars": 1}])
        team.api().put("spending-limits", wanted)
        Membership.objects.filter(user=team.bob).delete()
        told = team.api().get("spending-limits").json()
        assert told["members"] == []
        still = {**wanted, "organization": {**NONE, "day_microdollars": 5}}
        assert team.api().put("spending-limits", still).status_code == 200
        assert MemberSpending.objects.get().day_limit_microdollars == 1
        assert team.api().put("spending-limits", body()).status_code == 200
        assert not MemberSpending.objects.get().has_own_limits
