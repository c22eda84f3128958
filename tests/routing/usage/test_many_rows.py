"""Usage and audit log with very many rows: few queries, each on an index, and few rows in the database's hands.

Two hundred thousand of each, or as many as `MANY_ROWS` says.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from organizations.audit_selectors import WINDOW, AuditFilter, audit_page, chain_head
from organizations.models import AuditAction, Membership, Role
from routing.usage.export import usage_csv
from routing.usage.requests import Outcome, RequestFilter, usage_receipt, usage_requests
from routing.usage.retention import usage_prune
from routing.usage.sums import usage_scope
from routing.usage_selectors import UsageBy, usage_overview, usage_read, usage_report
from tests.factories import MembershipFactory, OrganizationFactory
from tests.routing.usage.records import NOON, used
from tests.support.examined import Examined
from tests.support.many_rows import many_audit_rows, many_usage_rows

ROWS = int(os.environ.get("MANY_ROWS", "200000"))
DAY = NOON.date()


@pytest.fixture
def members(db: None) -> list[Membership]:
    organization = OrganizationFactory.create()
    alice = MembershipFactory.create(organization=organization, role=Role.OWNER)
    return [alice, *MembershipFactory.create_batch(19, organization=organization)]


def looked_at(read: Callable[[], Any], *tables: str, queries: int) -> tuple[Any, int]:
    """What is read, and how many rows of the tables the database had in its hands for it."""
    with CaptureQueriesContext(connection) as captured:
        found = read()
    assert len(captured) <= queries
    with connection.cursor() as cursor:
        for query in captured.captured_queries:
            assert "COUNT(" not in query["sql"].upper()
            cursor.execute(f"EXPLAIN {query['sql']}")
            plan = "\n".join(line for (line,) in cursor.fetchall())
            assert not [table for table in tables if f"Seq Scan on {table}" in plan], plan
    return found, Examined(captured, tables[0]).rows


def page_of(reader: Membership, path: str) -> str:
    """A page as this person's browser gets it, which may ask twelve queries at most."""
    browser = Client()
    browser.force_login(reader.user)
    with CaptureQueriesContext(connection) as captured:
        answer = browser.get(f"/organizations/{reader.organization_id}/{path}")
    assert answer.status_code == 200
    assert len([query for query in captured if "SAVEPOINT" not in query["sql"]]) <= 12
    return answer.content.decode()


def test_usage(members: list[Membership]) -> None:
    alice, bob = members[:2]
    # They made five requests, long ago, and others many since.
    quiet = MembershipFactory.create(role=Role.OWNER)
    silent = MembershipFactory.create(organization=alice.organization)
    for member in (quiet, silent):
        for days in range(70, 75):
            used(member.organization_id, member.user_id, created_at=NOON - timedelta(days=days))
    other = OrganizationFactory.create()
    many_usage_rows([alice.organization_id, other.pk], [row.user_id for row in members], count=ROWS, until=NOON)
    tables = ("routing_usage", "routing_usagerecord", "routing_usagerollup")
    month = DAY - timedelta(days=29)
    everybody, own = usage_scope(alice), usage_scope(bob)

    page, rows = looked_at(lambda: usage_read(everybody, month, DAY).page(), *tables, queries=1)
    assert page.totals["requests"] > ROWS / 9
    assert rows < 3_000
    page, rows = looked_at(lambda: usage_read(own, month, DAY).page(), *tables, queries=1)
    assert page.totals["requests"] > ROWS / 300
    assert rows < 6_000
    days, rows = looked_at(lambda: usage_overview(everybody, today=DAY), *tables, queries=1)
    assert (len(days), rows) == (30, 30)
    for by in UsageBy:
        report, rows = looked_at(
            lambda by=by: usage_report(everybody, by, since=NOON - timedelta(days=365), until=NOON), *tables, queries=2
        )
        assert report.totals["requests"] >= ROWS / 2 - 1
        # The records of half a day, and the roll-ups of ninety.
        assert rows < ROWS / 90 + 2_000

    for scope, wanted, found in [
        (everybody, RequestFilter(), 100),
        (own, RequestFilter(), 100),
        (everybody, RequestFilter(user_id=bob.user_id, until=NOON - timedelta(days=40)), 100),
        (everybody, RequestFilter(mode="code", outcome=Outcome.FAILED), 25),
        (everybody, RequestFilter(model="none such"), 0),
        (own, RequestFilter(error_type="none_such"), 0),
        (usage_scope(quiet), RequestFilter(), 5),
        (usage_scope(silent), RequestFilter(until=NOON), 5),
        (everybody, RequestFilter(user_id=silent.user_id, since=NOON - timedelta(days=80)), 5),
    ]:
        before = ""
        for _ in range(2):
            listed, rows = looked_at(
                lambda scope=scope, wanted=wanted, before=before: usage_requests(scope, wanted, before=before),
                *tables,
                queries=4,
            )
            assert len(listed.rows) >= found, wanted
            assert rows < (110 if wanted.has_index else 4 * WINDOW + 500), (wanted, rows)
            if not listed.older:
                break
            before = listed.older
    request_id = usage_requests(own, RequestFilter(), size=1).rows[0].request_id
    receipt, rows = looked_at(lambda: usage_receipt(own, request_id), *tables, queries=3)
    assert receipt is not None
    assert rows == 1
    head, rows = looked_at(
        lambda: [next(file) for file in [usage_csv(everybody, month, DAY)] for _ in range(3)], *tables, queries=4
    )
    assert head[1].count("\n") == head[2].count("\n") == 1_000
    assert rows < 5_000
    with CaptureQueriesContext(connection) as captured:
        assert usage_prune(DAY - timedelta(days=100)).is_complete
    assert Examined(captured, "routing_usagerecord").rows == 0
    assert "a/thorough" in page_of(alice, f"usage?from={month}&to={DAY}&by=model")
    assert str(request_id) in page_of(alice, f"usage/requests?to={DAY}&member={bob.user_id}")


def test_audit_log(members: list[Membership]) -> None:
    alice, bob = members[:2]
    organization = alice.organization
    many_audit_rows(organization, bob.user, count=ROWS, until=NOON)
    assert chain_head(organization.pk).sequence == ROWS
    recently, rarely = NOON - timedelta(minutes=5_000), AuditAction.ROUTE_SET
    for wanted, found, most in [
        (AuditFilter(), 100, 300),
        (AuditFilter(action=AuditAction.MODE_DELETED), 100, 300),
        # All of them are at the other end of the log.
        (AuditFilter(action=rarely), 100, 300),
        (AuditFilter(action=AuditAction.BYOK_CREATED), 0, 300),
        (AuditFilter(actor=bob.user.email), 100, 300),
        (AuditFilter(actor=bob.user_id), 100, 300),
        (AuditFilter(actor=alice.user_id), 0, 300),
        (AuditFilter(since=recently), 100, 300),
        (AuditFilter(until=recently), 100, 300),
        (AuditFilter(action=rarely, since=NOON - timedelta(minutes=ROWS), until=recently), 100, 300),
        (AuditFilter(text="mode number", until=recently), 100, WINDOW + 300),
        (AuditFilter(text="none such"), 0, WINDOW + 300),
        (AuditFilter(action=AuditAction.MODE_DELETED, actor=bob.user_id), 20, WINDOW + 300),
        (AuditFilter(action=rarely, actor=bob.user.email), 0, WINDOW + 300),
    ]:
        page, rows = looked_at(
            lambda wanted=wanted: audit_page(organization.pk, wanted), "organizations_auditlog", queries=4
        )
        assert len(page.rows) >= found, wanted
        assert rows <= most, wanted
        if page.next_cursor is not None:
            _, rows = looked_at(
                lambda wanted=wanted, cursor=page.next_cursor: audit_page(organization.pk, wanted, cursor=cursor),
                "organizations_auditlog",
                queries=4,
            )
            assert rows <= most, wanted
    for query, shown in (("", f"number {ROWS - 1}"), ("?text=needle", f"row {ROWS}"), (f"?action={rarely}", "Older")):
        assert shown in page_of(alice, f"audit-logs{query}")
