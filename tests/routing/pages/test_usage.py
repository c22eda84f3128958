"""The pages about usage."""

from __future__ import annotations

import csv
import re
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest
from django.test import Client
from django.urls import reverse
from pytest_django import DjangoAssertNumQueries

from organizations.models import Membership, Role
from routing.models import UsageRecord
from routing.pages.wording import UNKNOWN
from tests.factories import MembershipFactory
from tests.routing.usage.records import used

pytestmark = pytest.mark.django_db
TODAY = datetime.now(UTC).replace(hour=0, minute=1)


@pytest.fixture
def alice() -> Membership:
    return MembershipFactory.create(role=Role.OWNER, user__email="alice@example.com", user__name="Alice")


@pytest.fixture
def bob(alice: Membership) -> Membership:
    return MembershipFactory.create(organization=alice.organization, user__email="bob@example.com")


def use(member: Membership, days_ago: int = 0, **fields: Any) -> UsageRecord:
    costs = {"hosted_cost_microdollars": 1_500_000, "market_cost_microdollars": 1_500_000}
    tokens = {"input_tokens": 1200, "cache_read_tokens": 200, "output_tokens": 34}
    at = TODAY - timedelta(days=days_ago)
    return used(member.organization_id, member.user_id, **{"created_at": at, **costs, **tokens, **fields})


def get(membership: Membership, name: str = "usage", target: str = "", **query: str) -> Any:
    client = Client()
    client.force_login(membership.user)
    headers = {"HX-Request": "true", "HX-Target": target} if target else {}
    path = reverse(name, kwargs={"organization_id": membership.organization_id})
    return client.get(path, query, headers=headers)


def text(answer: Any) -> str:
    return " ".join(answer.content.decode().split())


@pytest.fixture
def _used(alice: Membership, bob: Membership) -> None:
    use(alice, mode="ask")
    use(bob, mode="code", is_byok=True, hosted_cost_microdollars=0, market_cost_microdollars=2_250_000)
    use(bob, 1, mode="code", resolved_model="c/d", hosted_cost_microdollars=None, market_cost_microdollars=None)
    use(bob, 2, mode="", status=502, error_type="upstream_error", resolved_model="")
    use(alice, 40)


@pytest.mark.usefixtures("_used")
class TestSummary:
    def test_it_works(self, alice: Membership) -> None:
        context = get(alice).context
        assert context["numbers"].requests == "4"
        assert (context["numbers"].hosted, context["numbers"].own) == ("$3.00", "$2.25")
        assert context["numbers"].error_rate == "25%"
        assert context["changes"]["requests"].text == "+300%"
        assert context["unpriced"] == "1"
        assert [(row.name, row.numbers.requests, row.share) for row in context["breakdown"].rows] == [
            ("code", "2", 50.0),
            ("No mode said", "1", 25.0),
            ("ask", "1", 25.0),
        ]
        assert [(one.label, one.total) for one in context["chart"].legend] == [
            ("Hosted", "3"),
            ("Own provider keys", "1"),
        ]
        assert (context["tokens"][0].label, context["tokens"][0].count) == ("Input", "4,800")
        assert [row.name for row in context["errors"]] == ["upstream_error"]

    def test_what_is_unknown_is_said(self, alice: Membership) -> None:
        page = text(get(alice))
        assert "The price of 1 request is unknown" in page
        assert "1 unpriced" in page

    def test_its_rows_lead_to_their_requests(self, alice: Membership) -> None:
        path = reverse("usage-requests", kwargs={"organization_id": alice.organization_id})
        links = re.findall(r'href="([^"?]*)\?[^"]*\b(mode|error)=', text(get(alice)))
        assert {link for link, _ in links} == {path}
        assert {kind for _, kind in links} == {"mode", "error"}

    def test_what_makes_no_sense_is_not_repeated_at_length(self, alice: Membership) -> None:
        answer = get(alice, by="x" * 5000, sort="y" * 5000, chart="z" * 5000)
        assert answer.status_code == 200
        assert not any(letter * 41 in text(answer) for letter in "xyz")

    def test_a_member_sees_his_own_and_is_told_so(self, bob: Membership) -> None:
        answer = get(bob)
        assert "Your own usage." in text(answer)
        assert answer.context["numbers"].requests == "3"
        assert "alice@example.com" not in text(answer)
        assert [link.key for link in answer.context["breakdown_links"]] == ["mode", "model"]

    def test_tables_are_sorted_by_what_the_address_says(self, alice: Membership) -> None:
        by_cost = get(alice, by="member", sort="own").context["breakdown"]
        assert [row.name for row in by_cost.rows] == ["bob@example.com", "alice@example.com"]
        assert [head.order for head in by_cost.heads if head.order] == ["descending"]
        least = get(alice, by="member", sort="-own").context["breakdown"]
        assert [row.name for row in least.rows] == ["alice@example.com", "bob@example.com"]
        odd = get(alice, by="colour", sort="-shoe").context["breakdown"]
        assert (odd.by.key, odd.heads[0].order) == ("mode", "ascending")

    @pytest.mark.parametrize("kind", ["requests", "cost", "tokens", "errors"])
    def test_each_chart_has_its_table(self, alice: Membership, kind: str) -> None:
        answer = get(alice, target="usage-body", chart=kind)
        assert answer.context["chart"].kind.key == kind
        assert len(answer.context["chart"].rows) == 30
        assert "<html" not in text(answer)
        assert f'id="usage-body-{kind}"' in text(answer)

    def test_many_days_are_weeks(self, alice: Membership) -> None:
        context = get(alice, range="12m").context
        chart = context["chart"]
        assert (chart.unit, len(chart.rows)) == ("week", 53)
        assert (chart.rows[0][0], chart.rows[0][2]) == ((TODAY - timedelta(days=6)).date(), ("3", "1"))
        assert context["numbers"].requests == "5"

    def test_days_of_ones_own_choice(self, alice: Membership) -> None:
        yesterday = (TODAY - timedelta(days=1)).date().isoformat()
        answer = get(alice, **{"from": yesterday, "to": yesterday}, chart="cost")
        assert answer.context["numbers"].requests == "1"
        assert f'value="{yesterday}"' in text(answer)
        assert 'name="chart" value="cost"' in text(answer)
        until = get(alice, to=yesterday).context["days"]
        assert (until.count, until.last.isoformat()) == (30, yesterday)
        assert get(alice, **{"from": yesterday}).context["days"].count == 2

    @pytest.mark.parametrize(
        ("query", "said"),
        [
            ({"from": "2026-02-01", "to": "2026-01-01"}, "It is before the first day."),
            ({"from": "2020-01-01", "to": "2026-01-01"}, "A range has at most 366 days."),
            ({"from": "soon"}, "Enter a valid date."),
        ],
    )
    def test_days_that_make_no_sense(self, alice: Membership, query: dict[str, str], said: str) -> None:
        answer = get(alice, **query)
        assert answer.status_code == 422
        assert said in text(answer)
        assert answer.context["days"].preset == "30d"

    @pytest.mark.parametrize(
        "end", [{"from": "0001-01-01", "to": "0001-01-02"}, {"from": "9999-12-31"}, {"to": "0001-01-01"}]
    )
    def test_the_ends_of_the_calendar(self, alice: Membership, end: dict[str, str]) -> None:
        assert get(alice, **end).status_code == 200
        assert get(alice, "usage-requests", **end).status_code == 200

    def test_as_a_file(self, alice: Membership, bob: Membership) -> None:
        answer = get(alice, "usage-export", range="90d")
        lines = list(csv.DictReader(answer.getvalue().decode().splitlines()))
        assert sum(int(line["requests"]) for line in lines) == 5
        assert answer["Content-Disposition"].endswith(f'{TODAY:%Y-%m-%d}.csv"')
        own = list(csv.DictReader(get(bob, "usage-export").getvalue().decode().splitlines()))
        assert {line["member"] for line in own} == {"bob@example.com"}

    def test_few_queries(self, alice: Membership, django_assert_num_queries: DjangoAssertNumQueries) -> None:
        client = Client()
        client.force_login(alice.user)
        path = reverse("usage", kwargs={"organization_id": alice.organization_id})
        client.get(path)
        with django_assert_num_queries(4):
            client.get(path)


def test_nothing_was_used(alice: Membership, bob: Membership) -> None:
    assert "Nobody requested anything" in text(get(alice))
    assert "Nothing was requested with your API keys" in text(get(bob))
    assert "No requests in these days" in text(get(alice, "usage-requests"))


@pytest.mark.usefixtures("_used")
class TestRequests:
    def test_it_works(self, alice: Membership) -> None:
        answer = get(alice, "usage-requests")
        rows = answer.context["rows"]
        assert [(row.member, row.outcome, row.cost) for row in rows] == [
            ("bob@example.com", "answered", "$2.25"),
            ("alice@example.com", "answered", "$1.50"),
            ("bob@example.com", "answered", "unknown"),
            ("bob@example.com", "failed, 502", UNKNOWN),
        ]
        assert f'href="{rows[0].href}"' in text(answer)
        assert rows[0].tokens == "1.2K → 34"

    @pytest.mark.parametrize(
        ("query", "count"),
        [
            ({"mode": "code"}, 2),
            ({"mode": "(none)"}, 1),
            ({"model": "c/d"}, 1),
            ({"model": "(none)"}, 1),
            ({"outcome": "failed"}, 1),
            ({"outcome": "answered"}, 3),
            ({"outcome": "cancelled"}, 0),
            ({"error": "upstream_error"}, 1),
            ({"paid_by": "own"}, 1),
            ({"paid_by": "hosted", "mode": "ask"}, 1),
            ({"range": "90d"}, 5),
            ({"range": "7d", "mode": "never-used"}, 0),
            ({"member": str(uuid4())}, 0),
        ],
    )
    def test_filters(self, alice: Membership, query: dict[str, str], count: int) -> None:
        answer = get(alice, "usage-requests", **query)
        assert answer.status_code == 200
        assert len(answer.context["rows"]) == count
        part = get(alice, "usage-requests", target="requests", **query)
        assert part.content.count(b'<th scope="row">') == count
        assert "<h1" not in text(part)

    def test_by_member(self, alice: Membership, bob: Membership) -> None:
        answer = get(alice, "usage-requests", member=str(bob.user_id))
        assert len(answer.context["rows"]) == 3
        assert f'<option value="{bob.user_id}" selected>bob@example.com</option>' in text(answer)

    def test_a_member_cannot_ask_for_anothers(self, alice: Membership, bob: Membership) -> None:
        """Of his own list there is nothing to choose, and so nothing that could leave it empty unseen."""
        answer = get(bob, "usage-requests", member=str(alice.user_id))
        assert [row.member for row in answer.context["rows"]] == ["bob@example.com"] * 3
        assert "alice@example.com" not in text(answer)
        assert str(alice.user_id) not in text(answer)

    @pytest.mark.parametrize("query", [{"outcome": "odd"}, {"mode": "a\0b"}, {"error": "\0"}, {"member": "\0"}])
    def test_filters_that_make_no_sense(self, alice: Membership, query: dict[str, str]) -> None:
        assert get(alice, "usage-requests", **query).status_code == 422

    def test_page_by_page(self, alice: Membership) -> None:
        for minutes in range(60):
            use(alice, 3, created_at=TODAY - timedelta(days=3, minutes=minutes))
        first = get(alice, "usage-requests", mode="code")
        assert (len(first.context["rows"]), first.context["newer"]) == (50, "")
        client = Client()
        client.force_login(alice.user)
        older = client.get(first.context["older"])
        assert len(older.context["rows"]) == 12
        assert older.context["older"] == ""
        newer = client.get(older.context["newer"])
        assert [row.href for row in newer.context["rows"]] == [row.href for row in first.context["rows"]]

    def test_few_queries(self, alice: Membership, django_assert_num_queries: DjangoAssertNumQueries) -> None:
        client = Client()
        client.force_login(alice.user)
        path = reverse("usage-requests", kwargs={"organization_id": alice.organization_id})
        client.get(path)
        with django_assert_num_queries(6):
            client.get(path, {"mode": "code"})


@pytest.mark.usefixtures("_used")
class TestWhatIsKept:
    """Pages are drawn once for what they show, so whatever they show must matter."""

    def test_a_new_request_is_there_at_once(self, alice: Membership, bob: Membership) -> None:
        for member in (alice, bob):
            assert "debug" not in text(get(member)) + text(get(member, "usage-requests"))
        use(bob, mode="debug", created_at=datetime.now(UTC), input_tokens=7_654_321)
        for member in (alice, bob):
            summary, listed = text(get(member)), text(get(member, "usage-requests"))
            assert "7,65" in summary
            assert "debug: show the requests" in summary
            assert '<option value="debug">debug</option>' in listed
            assert "just now" in listed
            assert "7.65M" in listed

    def test_the_same_sums_of_others_are_not_theirs(self) -> None:
        first, second = (MembershipFactory.create(role=Role.OWNER) for _ in range(2))
        for member in (first, second):
            use(member, created_at=TODAY)
        for member, other in ((first, second), (second, first)):
            below = f"/organizations/{member.organization_id}/usage"
            assert f'href="{below}?by=model#usage-body"' in text(get(member))
            for name, query in (("usage", {}), ("usage", {"by": "member"}), ("usage-requests", {})):
                page = text(get(member, name, **query))
                assert f"{below}/requests" in page
                assert str(other.organization_id) not in page
                assert other.user.email not in page

    def test_a_member_who_is_gone_is_not_named_any_more(self, alice: Membership, bob: Membership) -> None:
        assert "bob@example.com" in text(get(alice, by="member"))
        assert "bob@example.com" in text(get(alice, "usage-requests"))
        bob.user.delete()
        assert "bob@example.com" not in text(get(alice, by="member"))
        assert "bob@example.com" not in text(get(alice, "usage-requests"))

    def test_each_address_has_its_own(self, alice: Membership) -> None:
        asked: list[dict[str, str]] = [
            {},
            {"by": "model"},
            {"sort": "-time"},
            {"chart": "cost"},
            {"range": "7d"},
            {"range": "90d"},
        ]
        pages = [get(alice, target="usage-body", **query).content for query in asked]
        assert len(set(pages)) == len(asked)
        assert pages == [get(alice, target="usage-body", **query).content for query in asked]
        lists = [get(alice, "usage-requests", target="requests", **query).content for query in ({}, {"range": "90d"})]
        assert lists[0] != lists[1]

    def test_what_was_typed_is_not_kept(self, alice: Membership) -> None:
        assert 'value="yesterday-ish"' in text(get(alice, **{"from": "yesterday-ish"}))
        assert "yesterday-ish" not in text(get(alice))
        assert "selected>no-such-mode<" in text(get(alice, "usage-requests", mode="no-such-mode"))
        assert "no-such-mode" not in text(get(alice, "usage-requests"))


def test_a_colleagues_request_shows_how_it_was_decided_and_no_more(alice: Membership, bob: Membership) -> None:
    secrets = {"task_id": "task-of-alice", "editor": "editor-of-alice", "status": 502, "error_type": "upstream_error"}
    row = use(alice, route="exact:code", target="a/b", provider="openrouter", **secrets)
    path = reverse("request-receipt", kwargs={"organization_id": bob.organization_id, "request_id": row.request_id})
    pages = {}
    for member in (alice, bob):
        client = Client()
        client.force_login(member.user)
        answer = client.get(path)
        assert answer.status_code == 200
        pages[member.pk] = text(answer)
    private = ("alice@example.com", "task-of-alice", "editor-of-alice", "$1.5", "1,200", "upstream_error", "failed")
    shown = pages[bob.pk]
    assert {word for word in private if word not in pages[alice.pk]} == set()
    assert {word for word in private if word in shown} == set()
    assert all(word in shown for word in ("exact:code", "a/b", "openrouter", "x-kilo-route", "decision only"))
