from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from pytest_django import DjangoAssertNumQueries

from organizations.models import User
from routing import usage_selectors
from routing.models import UsageRecord
from tests.factories import OrganizationFactory
from tests.routing.management.conftest import Api, Team, refused
from tests.support.examined import Examined

NOON = datetime(2026, 5, 10, 12, tzinfo=UTC)
MAY = "from=2026-05-01&to=2026-05-31"


def use(team: Team, user: User | None = None, at: datetime = NOON, **fields: Any) -> UsageRecord:
    values: dict[str, Any] = {
        "request_id": uuid4(),
        "created_at": at,
        "organization_id": team.organization.pk,
        "user_id": (user or team.bob).pk,
        "api_kind": "chat_completions",
        "requested_model": "kilo-auto/org",
        "mode": "code",
        "resolved_model": "a/b",
        "status": 200,
        "duration_ms": 5,
        "input_tokens": 100,
        "output_tokens": 10,
        "hosted_cost_microdollars": 7,
        "market_cost_microdollars": 9,
    }
    return UsageRecord.objects.create(**values | fields)


def usage(api: Api, query: str = MAY) -> dict[str, Any]:
    response = api.get(f"usage?{query}")
    assert response.status_code == 200, response.content
    found: dict[str, Any] = response.json()
    return found


def counts(api: Api, by: str, query: str = MAY) -> dict[str, int]:
    return {group["key"]: group["requests"] for group in usage(api, f"{query}&group_by={by}")["groups"]}


@pytest.fixture
def _used(team: Team) -> None:
    use(team, team.alice, mode="code", resolved_model="a/b")
    use(team, team.bob, mode="code", resolved_model="c/d", at=NOON - timedelta(days=2), is_byok=True)
    use(team, team.bob, mode="ask", resolved_model="", status=404, input_tokens=None, hosted_cost_microdollars=None)
    use(team, team.bob, mode="", resolved_model="a/b", cancelled=True, at=datetime(2026, 5, 31, 23, 59, tzinfo=UTC))
    # Neither of the range, nor of the organization, nor of any.
    use(team, at=datetime(2026, 4, 30, 23, 59, 59, tzinfo=UTC))
    use(team, at=datetime(2026, 6, 1, tzinfo=UTC))
    use(team, organization_id=OrganizationFactory.create().pk)
    use(team, organization_id=None)


@pytest.mark.usefixtures("_used")
class TestGroups:
    def test_it_works(self, team: Team) -> None:
        answer = usage(team.api())
        assert (answer["scope"], answer["group_by"], answer["is_cut"]) == ("organization", "day", False)
        assert [datetime.fromisoformat(answer[end]) for end in ("from", "to")] == [
            datetime(2026, 5, 1, tzinfo=UTC),
            datetime(2026, 6, 1, tzinfo=UTC),
        ]
        assert [(group["key"], group["requests"]) for group in answer["groups"]] == [
            ("2026-05-08", 1),
            ("2026-05-10", 2),
            ("2026-05-31", 1),
        ]
        assert answer["totals"] == {
            "requests": 4,
            "failed_requests": 1,
            "cancelled_requests": 1,
            "byok_requests": 1,
            "input_tokens": 300,
            "output_tokens": 40,
            "cache_read_tokens": 0,
            "cache_write_tokens": 0,
            "reasoning_tokens": 0,
            "hosted_cost_microdollars": 21,
            "market_cost_microdollars": 36,
        }

    def test_by_mode(self, team: Team) -> None:
        assert list(counts(team.api(), "mode").items()) == [("code", 2), ("", 1), ("ask", 1)]

    def test_by_model(self, team: Team) -> None:
        assert list(counts(team.api(), "model").items()) == [("a/b", 2), ("", 1), ("c/d", 1)]

    def test_by_member(self, team: Team) -> None:
        groups = usage(team.api(), f"{MAY}&group_by=member")["groups"]
        assert [(group["key"], group["email"], group["requests"]) for group in groups] == [
            (str(team.bob.pk), "bob@acme.example", 3),
            (str(team.alice.pk), "alice@acme.example", 1),
        ]
        assert groups[0]["output_tokens"] == 30
        gone = team.bob.pk
        team.bob.delete()
        first = usage(team.api(), f"{MAY}&group_by=member")["groups"][0]
        assert (first["key"], first["email"]) == (str(gone), None)

    def test_who_sees_what(self, team: Team, mallory: User) -> None:
        for user in (team.alice, team.dave, team.carol):
            assert (usage(team.api(user))["scope"], usage(team.api(user))["totals"]["requests"]) == ("organization", 4)
        own = usage(team.api(team.bob))
        assert (own["scope"], own["totals"]["requests"]) == ("own", 3)
        assert list(counts(team.api(team.bob), "member")) == [str(team.bob.pk)]
        assert counts(team.api(team.bob), "model") == {"": 1, "a/b": 1, "c/d": 1}
        refused(Api(mallory, team.organization).get("usage"), 404, "not_found")
        assert usage(Api(mallory, mallory.memberships.get().organization))["totals"]["requests"] == 0

    def test_too_many_groups(self, team: Team, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(usage_selectors, "MAX_GROUPS", 2)
        answer = usage(team.api(), f"{MAY}&group_by=mode")
        assert [group["key"] for group in answer["groups"]] == ["code", ""]
        assert (answer["is_cut"], answer["totals"]["requests"]) == (True, 4)

    @pytest.mark.parametrize(("by", "queries"), [("day", 3), ("mode", 3), ("model", 3), ("member", 3)])
    def test_queries(
        self, team: Team, by: str, queries: int, django_assert_num_queries: DjangoAssertNumQueries
    ) -> None:
        api = team.api()
        with django_assert_num_queries(queries):
            usage(api, f"{MAY}&group_by={by}")


class TestRange:
    def test_the_last_thirty_days(self, team: Team) -> None:
        now = datetime.now(UTC)
        for days in (0, 1, 29, 33, 400):
            use(team, at=now - timedelta(days=days, seconds=1))
        assert usage(team.api(), "")["totals"]["requests"] == 3
        yesterday = (now - timedelta(hours=12)).isoformat().replace("+00:00", "Z")
        assert usage(team.api(), f"from={yesterday}")["totals"]["requests"] == 1
        assert usage(team.api(), f"to={yesterday}")["totals"]["requests"] == 2
        assert usage(team.api(), "to=0001-01-01")["totals"]["requests"] == 0

    def test_a_range_inside_days(self, team: Team) -> None:
        """It begins and ends in the middle of one: what is left of the two is counted record by record."""
        for hour in (1, 11, 13, 30, 50, 61, 71):
            use(team, at=datetime(2026, 5, 1, tzinfo=UTC) + timedelta(hours=hour), resolved_model=f"a/{hour}")
        use(team, team.alice, at=NOON, mode="ask", status=500)
        for query, found in {
            "from=2026-05-01T12:00:00Z&to=2026-05-03T13:00:00Z": ["13", "30", "50"],
            "from=2026-05-01T12:00:00Z&to=2026-05-01T13:00:00Z": [],
            "from=2026-05-01T11:00:00Z&to=2026-05-01T13:00:00Z": ["11"],
            "from=2026-05-01T12:00:00Z&to=2026-05-02T00:00:00Z": ["13"],
            "from=2026-05-01T12:00:00Z&to=2026-05-01": ["13"],
            "from=2026-05-03&to=2026-05-03": ["50", "61", "71"],
            "from=2026-05-03&to=2026-05-03T13:00:00Z": ["50"],
            "from=2026-05-01T14:00:00%2B02:00&to=2026-05-02T14:00:00%2B02:00": ["13", "30"],
        }.items():
            for user in (team.alice, team.bob):
                assert sorted(counts(team.api(user), "model", query)) == [f"a/{hour}" for hour in found], query
        inside = "from=2026-05-10T11:00:00Z&to=2026-05-10T13:00:00Z"
        assert counts(team.api(), "mode", inside) == {"ask": 1}
        assert usage(team.api(), inside)["totals"]["failed_requests"] == 1
        assert usage(team.api(team.bob), inside)["totals"]["requests"] == 0

    def test_a_day_is_one_of_utc(self, team: Team) -> None:
        use(team, at=datetime(2026, 5, 10, 23, 59, 59, tzinfo=UTC))
        use(team, at=datetime(2026, 5, 11, 0, 0, tzinfo=UTC))
        with connection.cursor() as cursor:
            cursor.execute("SET LOCAL TIME ZONE 'Pacific/Auckland'")
        assert counts(team.api(), "day") == {"2026-05-10": 1, "2026-05-11": 1}

    @pytest.mark.parametrize(
        ("query", "field"),
        [
            ("group_by=hour", "group_by"),
            ("group_by=", "group_by"),
            ("from=2025-05-31&to=2026-06-01", "from"),
            ("from=2024-01-01", "from"),
            ("from=9999-01-01", "from"),
            ("from=x", "from"),
            ("to=2026-02-30", "to"),
            ("from=2026-05-02&to=2026-05-01", "to"),
            ("user_id=1", "user_id"),
            ("group_by=day&group_by=mode", "group_by"),
        ],
    )
    def test_a_query_that_is_not_valid(self, team: Team, query: str, field: str) -> None:
        refused(team.api().get(f"usage?{query}"), 400, "invalid", field=field)


class TestPlenty:
    def test_only_the_range_is_read(self, team: Team) -> None:
        """Beside a hundred thousand records of other days and of another organization."""
        with connection.cursor() as cursor:
            cursor.execute(
                """
                INSERT INTO routing_usagerecord (request_id, created_at, organization_id, user_id, api_kind,
                    requested_model, auto_model, mode, route_kind, route, target, resolved_model, provider, is_byok,
                    streamed, cancelled, status, error_type, duration_ms, task_id, editor, feature)
                SELECT gen_random_uuid(), %(noon)s - n * interval '1 hour',
                    CASE WHEN n %% 2 = 0 THEN %(organization)s ELSE %(other)s END, %(user)s, 'messages', '', '',
                    'mode-' || n %% 7, '', '', '', 'a/b', '', false, false, false, 200, '', 1, '', '', ''
                FROM generate_series(0, 99999) n
                """,
                {"noon": NOON, "organization": team.organization.pk, "other": uuid4(), "user": team.bob.pk},
            )
            cursor.execute("ANALYZE routing_usagerecord")
        api = team.api()
        with CaptureQueriesContext(connection) as captured:
            answer = usage(api, "from=2026-05-01&group_by=mode&to=2026-05-10")
        assert answer["totals"]["requests"] == 115
        assert len(answer["groups"]) == 7
        assert Examined(captured, "routing_usage").rows < 200
