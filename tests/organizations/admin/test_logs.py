"""The audit log and the usage records on the staff's pages."""

from __future__ import annotations

import csv
import io
import json
import re
from datetime import UTC, datetime, timedelta
from typing import Any
from unittest import mock

import pytest
from django.test import Client

from kilo_gateway import newest_first
from organizations import audit
from organizations.audit import verify_chain
from organizations.models import AuditAction, Organization
from tests.factories import (
    CredentialFactory,
    OrganizationFactory,
    UserFactory,
)
from tests.organizations.admin.helpers import (
    address,
    make_usage,
    text_of,
    write_audit,
)

pytestmark = pytest.mark.django_db


class TestAuditLog:
    @pytest.fixture
    def acme(self) -> Organization:
        return OrganizationFactory.create(name="Acme")

    def shown(self, page: Client, **query: Any) -> list[str]:
        content = text_of(page.get(address("organizations_auditlog_changelist", **query)))
        return re.findall(r'class="field-message">([^<]*)<', content)

    def test_filters(self, page: Client, acme: Organization) -> None:
        write_audit(acme, "one", action=AuditAction.ROUTE_SET)
        write_audit(OrganizationFactory.create(name="Other"), "two")
        write_audit(None, "three", actor=audit.SYSTEM, target_kind="user", target_id="u-1")
        assert self.shown(page) == ["three", "two", "one"]
        assert self.shown(page, organization="acm") == ["one"]
        assert self.shown(page, organization=acme.pk) == ["one"]
        assert self.shown(page, organization="-") == ["three"]
        assert self.shown(page, action="organization_auto.route.set") == ["one"]
        assert self.shown(page, actor="Alice@example.com") == ["two", "one"]
        assert self.shown(page, target="u-1") == ["three"]
        today = datetime.now(UTC).date()
        assert self.shown(page, **{"from": today, "to": today}) == ["three", "two", "one"]
        assert self.shown(page, to=today - timedelta(days=1)) == []
        assert self.shown(page, **{"from": today + timedelta(days=1)}) == []

    def test_search(self, page: Client, acme: Organization) -> None:
        write_audit(acme, 'Route for "code" set to "a/b"')
        write_audit(acme, "100% of it", target_id="T-77", actor=audit.SYSTEM)
        assert self.shown(page, q="ROUTE FOR") == ["Route for &quot;code&quot; set to &quot;a/b&quot;"]
        assert self.shown(page, q="alice@") == ["Route for &quot;code&quot; set to &quot;a/b&quot;"]
        assert self.shown(page, q="t-77") == ["100% of it"]
        assert self.shown(page, q="0% o") == ["100% of it"]
        assert self.shown(page, q="_oute") == []

    @pytest.mark.parametrize(
        "query",
        [{"from": "yesterday"}, {"to": "9999-12-31"}, {"action": "nothing"}, {"before": "x"}, {"after": "987654321"}],
    )
    def test_nonsense_in_the_address_leads_back_to_the_list(self, page: Client, query: dict[str, str]) -> None:
        answer = page.get(address("organizations_auditlog_changelist", **query))
        assert answer.status_code == 302
        assert page.get(answer["Location"]).status_code == 200

    def test_nul_is_no_server_error(self, page: Client) -> None:
        for name in ("organization", "actor", "target", "q"):
            assert page.get(address("organizations_auditlog_changelist", **{name: "a\0b"})).status_code in {200, 302}

    def test_pages_lead_through_all_rows_and_back(self, page: Client, acme: Organization) -> None:
        moment = datetime.now(UTC)
        with mock.patch("django.utils.timezone.now", return_value=moment):
            for number in range(7):
                write_audit(acme, f"row {number}")
        with mock.patch("organizations.admin.audit_log.AuditLogAdmin.list_per_page", 3):
            expected = [["row 6", "row 5", "row 4"], ["row 3", "row 2", "row 1"], ["row 0"]]
            url, seen = address("organizations_auditlog_changelist"), []
            while url:
                content = text_of(page.get(url))
                seen.append(re.findall(r'class="field-message">([^<]*)<', content))
                last, url = url, self.link(content, "next")
            assert seen == expected
            back = text_of(page.get(self.link(text_of(page.get(last)), "prev")))
            assert re.findall(r'class="field-message">([^<]*)<', back) == expected[1]

    def link(self, content: str, rel: str) -> str:
        found = re.search(rf'<a href="([^"]*)"\s+rel="{rel}"', content)
        base = address("organizations_auditlog_changelist")
        return base + found[1].replace("&amp;", "&") if found else ""

    def test_a_search_looks_through_a_bounded_number_of_rows(self, page: Client, acme: Organization) -> None:
        write_audit(acme, "needle")
        for number in range(9):
            write_audit(acme, f"hay {number}")
        with mock.patch.object(newest_first, "WINDOW", 4):
            url, pages, found = address("organizations_auditlog_changelist", q="needle"), 0, []
            while url:
                content = text_of(page.get(url))
                found += re.findall(r'class="field-message">([^<]*)<', content)
                pages, url = pages + 1, self.link(content, "next")
        assert found == ["needle"]
        assert pages == 3

    def test_a_row_links_to_what_it_is_about(self, page: Client, acme: Organization) -> None:
        credential = CredentialFactory.create(organization=acme)
        about = write_audit(acme, target_kind="credential", target_id=str(credential.pk))
        route = write_audit(acme, target_kind="route", target_id="code")
        content = text_of(page.get(address("organizations_auditlog_changelist")))
        assert f'href="{address("byok_credential_change", credential.pk)}"' in content
        shown = text_of(page.get(address("organizations_auditlog_change", route.pk)))
        assert f'href="{address("organizations_organization_change", acme.pk)}"' in shown
        strange = write_audit(None, target_kind="user", target_id="../../evil")
        assert "evil</a>" not in text_of(page.get(address("organizations_auditlog_change", strange.pk)))
        assert page.get(address("organizations_auditlog_change", about.pk)).status_code == 200

    def test_changes_are_shown_as_text(self, page: Client, acme: Organization) -> None:
        row = write_audit(acme, "<b>bold</b>", changes={"<i>field": ("<script>x", {"a": ["<img>"]})})
        for url in (address("organizations_auditlog_changelist"), address("organizations_auditlog_change", row.pk)):
            content = text_of(page.get(url))
            assert not re.search(r"<b>bold|<script>x|<img>|<i>field", content)

    def test_the_history_of_an_object_is_its_audit_log(self, page: Client) -> None:
        bob = UserFactory.create(name="Bob")
        page.post(address("organizations_user_change", bob.pk), {"name": "Rob", "is_active": "on"})
        answer = page.get(address("organizations_user_history", bob.pk), follow=True)
        assert f"User {bob.email} renamed" in text_of(answer)

    def test_export_as_csv(self, page: Client, acme: Organization) -> None:
        write_audit(acme, "=HYPERLINK(1)", changes={"a": (1, "b")})
        write_audit(acme, "  @SUM(1)")
        write_audit(None, "other", actor=audit.SYSTEM)
        answer = page.get(address("organizations_auditlog_export", "csv", organization=acme.pk))
        assert answer.streaming
        assert "attachment" in answer["Content-Disposition"]
        rows = list(csv.DictReader(io.StringIO(text_of(answer))))
        assert [row["message"] for row in rows] == ["'  @SUM(1)", "'=HYPERLINK(1)", "Head of the chain"]
        assert {row["organization_id"] for row in rows} == {str(acme.pk)}
        assert json.loads(rows[1]["changes"]) == {"a": [1, "b"]}
        assert rows[2]["hash"] == rows[0]["hash"]

    def test_export_as_jsonl(self, page: Client, acme: Organization) -> None:
        write_audit(acme, "one")
        write_audit(None, "two")
        answer = page.get(address("organizations_auditlog_export", "jsonl"))
        lines = [json.loads(line) for line in text_of(answer).splitlines()]
        assert [line["message"] for line in lines[:2]] == ["two", "one"]
        heads = {line["head"]["organization_id"]: line["head"]["hash"] for line in lines[2:]}
        assert heads == {None: lines[0]["hash"], str(acme.pk): lines[1]["hash"]}

    def test_export_of_what_was_searched(self, page: Client, acme: Organization) -> None:
        for number in range(9):
            write_audit(acme, f"hay {number}" if number % 4 else "needle")
        with mock.patch.object(newest_first, "WINDOW", 2), mock.patch.object(newest_first, "BATCH", 2):
            lines = text_of(page.get(address("organizations_auditlog_export", "jsonl", q="needle"))).splitlines()
        assert [json.loads(line).get("message") for line in lines] == ["needle", "needle", "needle", None]

    def test_there_are_no_other_formats(self, page: Client) -> None:
        assert page.get(address("organizations_auditlog_export", "xlsx")).status_code == 404

    def test_reading_leaves_the_chain_intact(self, page: Client, acme: Organization) -> None:
        row = write_audit(acme)
        page.post(address("organizations_auditlog_change", row.pk), {"message": "rewritten"})
        assert verify_chain(acme.pk) == (1, None)


class TestUsage:
    def shown(self, page: Client, **query: Any) -> int:
        content = text_of(page.get(address("routing_usagerecord_changelist", **query)))
        return len(re.findall(r'class="field-time', content))

    def test_filters_and_search(self, page: Client) -> None:
        acme, bob = OrganizationFactory.create(name="Acme"), UserFactory.create(email="bob@example.com")
        row = make_usage(acme, bob, status=404, is_byok=True)
        make_usage(OrganizationFactory.create(), UserFactory.create(), resolved_model="c/d")
        make_usage(acme, UserFactory.create(), organization_id=None)
        assert self.shown(page) == 3
        for query in (
            {"organization": "Acme"},
            {"person": "bob@example.com"},
            {"person": bob.pk},
            {"status": "404"},
            {"status": "4xx"},
            {"key": "byok"},
            {"model": "C/D"},
            {"organization": "-"},
            {"q": row.request_id},
        ):
            assert self.shown(page, **query) == 1, query
        assert self.shown(page, q="bob") == 0
        assert page.get(address("routing_usagerecord_changelist", status="40")).status_code == 302

    def test_an_unknown_cost_is_not_zero(self, page: Client) -> None:
        row = make_usage(OrganizationFactory.create(), UserFactory.create(), market_cost_microdollars=None)
        shown = text_of(page.get(address("routing_usagerecord_change", row.pk)))
        assert "$0.001234" in shown
        assert "unknown" in shown
