"""Single requests, page by page and by their id."""

from __future__ import annotations

from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest
from pytest_django import DjangoAssertNumQueries

from kilo_gateway import newest_first
from organizations.models import Membership, Role
from routing.models import UsageRecord
from routing.usage.requests import Outcome, RequestFilter, usage_receipt, usage_requests
from routing.usage.sums import UsageScope, usage_scope
from tests.factories import ApiKeyFactory, MembershipFactory
from tests.routing.usage.records import NOON, used


@pytest.fixture
def bob(db: None) -> Membership:
    return MembershipFactory.create(user__email="bob@example.com")


@pytest.fixture
def alice(bob: Membership) -> Membership:
    return MembershipFactory.create(organization=bob.organization, role=Role.OWNER)


def use(member: Membership, minute: int = 0, **fields: Any) -> UsageRecord:
    at = NOON + timedelta(minutes=minute)
    return used(member.organization_id, member.user_id, created_at=at, **fields)


def walk(scope: UsageScope, wanted: RequestFilter, size: int) -> list[list[UsageRecord]]:
    pages = [usage_requests(scope, wanted, size=size)]
    while pages[-1].older:
        pages.append(usage_requests(scope, wanted, before=pages[-1].older, size=size))
    return [page.rows for page in pages]


class TestList:
    def test_page_by_page(self, alice: Membership, bob: Membership) -> None:
        """Also those of one moment; there and back."""
        rows = [use(bob, number // 3) for number in range(10)]
        use(MembershipFactory.create(user=bob.user))
        rows.reverse()
        scope = usage_scope(alice)
        assert walk(scope, RequestFilter(), 4) == [rows[:4], rows[4:8], rows[8:]]
        first = usage_requests(scope, RequestFilter(), size=4)
        assert (first.newer, first.emails) == ("", {str(bob.user_id): "bob@example.com"})
        last = usage_requests(scope, RequestFilter(), before=usage_requests(scope, RequestFilter(), size=8).older)
        back = usage_requests(scope, RequestFilter(), after=last.newer, size=8)
        assert (back.rows, back.newer) == (rows[:8], "")

    def test_filters(self, alice: Membership, bob: Membership) -> None:
        mine = use(alice, 0, mode="ask", is_byok=True)
        failed = use(bob, 1, status=502, error_type="upstream_error", resolved_model="")
        gone = use(bob, 2, cancelled=True, mode="")
        for wanted, found in [
            (RequestFilter(), [gone, failed, mine]),
            (RequestFilter(user_id=alice.user_id), [mine]),
            (RequestFilter(mode="ask"), [mine]),
            (RequestFilter(mode=""), [gone]),
            (RequestFilter(model=""), [failed]),
            (RequestFilter(model="a/b"), [gone, mine]),
            (RequestFilter(outcome=Outcome.ANSWERED), [mine]),
            (RequestFilter(outcome=Outcome.FAILED), [failed]),
            (RequestFilter(outcome=Outcome.CANCELLED), [gone]),
            (RequestFilter(error_type="upstream_error"), [failed]),
            (RequestFilter(is_byok=True), [mine]),
            (RequestFilter(is_byok=False, model="a/b"), [gone]),
            (RequestFilter(since=NOON + timedelta(minutes=1)), [gone, failed]),
            (RequestFilter(until=NOON + timedelta(minutes=1)), [mine]),
        ]:
            assert usage_requests(usage_scope(alice), wanted).rows == found, wanted

    def test_a_member_sees_the_own(self, alice: Membership, bob: Membership) -> None:
        use(alice)
        own = use(bob)
        assert usage_requests(usage_scope(bob), RequestFilter()).rows == [own]
        assert usage_requests(usage_scope(bob), RequestFilter(user_id=alice.user_id)).rows == []

    def test_a_search_ends(self, alice: Membership, bob: Membership, monkeypatch: pytest.MonkeyPatch) -> None:
        """A page looks through so many rows and no more; the next one goes on from there."""
        monkeypatch.setattr(newest_first, "WINDOW", 4)
        rows = [use(bob, number, mode="rare" if number == 2 else "code") for number in range(10)]
        assert walk(usage_scope(alice), RequestFilter(mode="rare"), 100) == [[], [rows[2]], []]

    @pytest.mark.parametrize(
        "cursor", ["x", "1", "-", "1-", "99999999999999999-1", "1-9999999999999999999", "\uff11-\uff11"]
    )
    def test_a_cursor_that_is_none_of_ours(self, alice: Membership, cursor: str) -> None:
        row = use(alice)
        assert usage_requests(usage_scope(alice), RequestFilter(), before=cursor).rows == [row]

    def test_few_queries(
        self, alice: Membership, bob: Membership, django_assert_num_queries: DjangoAssertNumQueries
    ) -> None:
        for member in (alice, bob, bob):
            use(member)
        with django_assert_num_queries(2):
            usage_requests(usage_scope(alice), RequestFilter(user_id=bob.user_id))
        with django_assert_num_queries(1):
            known = {str(bob.user_id): "bob@example.com", str(alice.user_id): ""}
            page = usage_requests(usage_scope(alice), RequestFilter(user_id=bob.user_id), known=known)
            assert page.emails == {str(bob.user_id): "bob@example.com"}
        with django_assert_num_queries(3):
            usage_requests(usage_scope(alice), RequestFilter(outcome=Outcome.ANSWERED))


class TestReceipt:
    def test_it_works(self, alice: Membership, bob: Membership) -> None:
        key = ApiKeyFactory.create(user=bob.user, name="Laptop")
        row = use(bob, api_key_id=key.pk, route="exact:code", target="a/b", provider="openrouter", routing_version=7)
        receipt = usage_receipt(usage_scope(alice), row.request_id)
        assert receipt is not None
        assert (receipt.record, receipt.email, receipt.key_name) == (row, "bob@example.com", "Laptop")
        assert receipt.headers == {
            "x-request-id": str(row.request_id),
            "x-kilo-mode": "code",
            "x-kilo-route": "exact:code",
            "x-kilo-target": "a/b",
            "x-kilo-model": "a/b",
            "x-kilo-provider": "openrouter",
            "x-kilo-byok": "false",
            "x-kilo-routing-version": "7",
        }

    def test_who_sees_it(self, alice: Membership, bob: Membership) -> None:
        of_alice, of_bob = use(alice), use(bob)
        stranger = MembershipFactory.create(role=Role.OWNER)
        for member, row in ((alice, of_bob), (bob, of_bob)):
            receipt = usage_receipt(usage_scope(member), row.request_id)
            assert receipt is not None
            assert (receipt.is_whole, receipt.email) == (True, "bob@example.com")
        of_a_colleague = usage_receipt(usage_scope(bob), of_alice.request_id)
        assert of_a_colleague is not None
        assert (of_a_colleague.is_whole, of_a_colleague.email, of_a_colleague.key_name) == (False, "", "")
        assert usage_receipt(usage_scope(stranger), of_bob.request_id) is None
        assert usage_receipt(usage_scope(alice), uuid4()) is None

    def test_what_was_refused_has_no_more_than_was_decided(self, bob: Membership) -> None:
        row = use(bob, status=404, resolved_model="", mode="")
        bob.user.delete()
        receipt = usage_receipt(UsageScope(bob.organization_id), row.request_id)
        assert receipt is not None
        assert (receipt.headers, receipt.email) == ({"x-request-id": str(row.request_id)}, "")
