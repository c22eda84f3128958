"""The staff's lists of many rows, and their style sheets."""

from __future__ import annotations

import re
from contextlib import closing
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from organizations.models import AuditLog, Organization
from routing.models import BrokenRoute, UsageRecord
from tests.factories import (
    ApiKeyFactory,
    CredentialFactory,
    CustomModeFactory,
    MembershipFactory,
    OrganizationFactory,
    UserFactory,
)
from tests.organizations.admin.helpers import (
    address,
    every_list,
    make_usage,
    text_of,
    write_audit,
)
from tests.support.examined import Examined

pytestmark = pytest.mark.django_db


ROWS = 100_000
MANY_AUDIT_ROWS = f"""
    INSERT INTO organizations_auditlog (organization_id, sequence, created_at, action, actor_id, actor_email,
        actor_name, via, request_id, target_kind, target_id, changes, message, previous_hash, hash)
    SELECT (%s::uuid[])[1 + n %% 10], n, now() - (n || ' seconds')::interval,
        CASE WHEN n %% 1000 = 0 THEN 'mode.deleted' ELSE 'mode.updated' END, gen_random_uuid(),
        'person' || n %% 500 || '@example.com', 'Person', 'web', '', 'mode', gen_random_uuid()::text, '{{}}',
        'Mode number ' || n || ' updated', '', ''
    FROM generate_series(1, {ROWS}) AS n
"""
MANY_USAGE_ROWS = f"""
    INSERT INTO routing_usagerecord (request_id, created_at, organization_id, user_id, api_kind, requested_model,
        auto_model, mode, route_kind, route, target, resolved_model, provider, is_byok, streamed, cancelled, status,
        error_type, duration_ms, task_id, editor, feature)
    SELECT gen_random_uuid(), now() - (n || ' seconds')::interval, (%s::uuid[])[1 + n %% 10], gen_random_uuid(),
        'chat_completions', 'kilo-auto/org', '', 'code', '', '', '', 'a/b', 'openrouter', false, true, false, 200, '',
        5, '', '', ''
    FROM generate_series(1, {ROWS}) AS n
"""


class TestManyRows:
    """A hundred thousand rows in each log: no count, few queries, and every filter on an index."""

    @pytest.fixture
    def organizations(self) -> list[Organization]:
        return OrganizationFactory.create_batch(10)

    def pages(self, page: Client, name: str, queries: list[dict[str, Any]]) -> list[str]:
        """Open the list with each of these filters, and a page further; the statements over the table."""
        statements: list[str] = []
        for query in queries:
            url = address(f"{name}_changelist", **query)
            for _ in range(2):
                with CaptureQueriesContext(connection) as captured:
                    content = text_of(page.get(url))
                texts = [row["sql"] for row in captured.captured_queries]
                assert len(texts) <= 12, (query, len(texts))
                assert not [sql for sql in texts if "COUNT(" in sql.upper()], query
                statements += [sql for sql in texts if f'FROM "{name}"' in sql]
                following = re.search(r'<a href="([^"]*)"\s+rel="next"', content)
                if following is None:
                    break
                url = address(f"{name}_changelist") + following[1].replace("&amp;", "&")
        return statements

    def assert_on_an_index(self, statements: list[str], table: str) -> None:
        assert statements
        with connection.cursor() as cursor:
            for sql in statements:
                cursor.execute(f"EXPLAIN {sql}")
                plan = "\n".join(line for (line,) in cursor.fetchall())
                assert f"Seq Scan on {table}" not in plan, f"{sql}\n{plan}"

    def fill(self, statement: str, organizations: list[Organization], table: str) -> None:
        with connection.cursor() as cursor:
            cursor.execute(statement, [[row.pk for row in organizations]])
            cursor.execute(f"ANALYZE {table}")

    def test_audit_log(self, page: Client, organizations: list[Organization]) -> None:
        self.fill(MANY_AUDIT_ROWS, organizations, "organizations_auditlog")
        yesterday = (datetime.now(UTC) - timedelta(days=1)).date()
        target = AuditLog.objects.order_by("pk")[500].target_id
        statements = self.pages(
            page,
            "organizations_auditlog",
            [
                {},
                {"organization": organizations[3].pk},
                {"action": "mode.deleted"},
                {"actor": "person77@example.com"},
                {"target": target},
                {"from": yesterday, "to": yesterday},
                {"organization": organizations[3].pk, "action": "mode.deleted", "to": yesterday},
                {"q": "number 99999 "},
                {"q": "updated"},
                {"q": "nothing like it", "organization": organizations[3].pk},
            ],
        )
        self.assert_on_an_index(statements, "organizations_auditlog")
        assert "about 100,000 in all" in text_of(page.get(address("organizations_auditlog_changelist")))

    def test_usage(self, page: Client, organizations: list[Organization]) -> None:
        quiet, person = OrganizationFactory.create(name="Quiet Inc"), UserFactory.create()
        for days in range(20, 25):
            make_usage(quiet, person, created_at=datetime.now(UTC) - timedelta(days=days))
        self.fill(MANY_USAGE_ROWS, organizations, "routing_usagerecord")
        yesterday = (datetime.now(UTC) - timedelta(days=1)).date()
        request_id = UsageRecord.objects.order_by("pk")[500].request_id
        statements = self.pages(
            page,
            "routing_usagerecord",
            [
                {},
                {"organization": organizations[3].pk},
                {"organization": organizations[3].name},
                {"from": yesterday, "to": yesterday},
                {"status": "5xx"},
                {"person": uuid4()},
                {"model": "c/d", "organization": organizations[3].pk},
                {"key": "byok"},
                {"q": request_id},
            ],
        )
        self.assert_on_an_index(statements, "routing_usagerecord")
        # Never a walk through what others did, or through what came later.
        for query, most in (
            ({"organization": quiet.pk}, 10),
            ({"organization": "Quiet Inc"}, 10),
            ({"organization": organizations[3].pk}, 110),
            ({"organization": quiet.pk, "status": "5xx", "to": yesterday}, 20),
            ({"to": yesterday - timedelta(days=10)}, 10),
            ({"to": yesterday}, 150),
        ):
            with CaptureQueriesContext(connection) as captured:
                content = text_of(page.get(address("routing_usagerecord_changelist", **query)))
            assert 'class="field-time' in content or "status" in query
            assert Examined(captured, "routing_usagerecord").rows <= most, query

    def test_other_lists_make_few_queries_too(self, page: Client) -> None:
        organizations = OrganizationFactory.create_batch(60)
        users = UserFactory.create_batch(60)
        for organization, user in zip(organizations, users, strict=True):
            MembershipFactory.create(organization=organization, user=user)
            ApiKeyFactory.create(organization=organization, user=user)
            CredentialFactory.create(organization=organization)
            CustomModeFactory.create(organization=organization, created_by=user)
            BrokenRoute.objects.create(organization=organization, slug="code", target="a/b")
            row = write_audit(organization)
            organization.settings_versions.create(routing_version=1, settings={}, audit_log=row)
        for name in every_list():
            for query in ({}, {"q": "a"}):
                with CaptureQueriesContext(connection) as captured:
                    assert page.get(address(name, **query)).status_code == 200
                assert len(captured) <= 12, (name, len(captured))


class TestStaticFiles:
    @pytest.mark.parametrize("path", ["admin/css/base.css", "admin_pages/admin.css"])
    def test_without_collecting_them(self, client: Client, path: str) -> None:
        with closing(client.get(f"/static/{path}")) as answer:
            assert answer.status_code == 200
            assert answer["Content-Type"].startswith("text/css")

    def test_nothing_else_is_served(self, client: Client) -> None:
        assert client.get("/static/../manage.py").status_code == 404
