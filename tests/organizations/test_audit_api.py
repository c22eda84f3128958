from __future__ import annotations

import csv
import io
import json
from datetime import UTC, datetime, timedelta
from typing import Any
from unittest import mock

import pytest
from django.db import connection, transaction
from django.test.utils import CaptureQueriesContext
from pytest_django import DjangoAssertNumQueries

from organizations import audit_selectors
from organizations.audit import COMMAND, SYSTEM, Actor, record, row_hash
from organizations.audit_export import as_csv
from organizations.audit_selectors import AuditFilter, ChainHead, audit_batches, audit_page, chain_head
from organizations.models import AuditAction, AuditLog, Organization, User, Via
from tests.factories import OrganizationFactory, UserFactory
from tests.organizations.conftest import ROLES
from tests.routing.management.conftest import Api, Team, refused
from tests.support.examined import Examined

NOON = datetime(2026, 5, 1, 12, tzinfo=UTC)
PLENTY = 100_000


def write(
    organization: Organization,
    message: str = "changed",
    action: AuditAction = AuditAction.MODE_UPDATED,
    user: User | None = None,
    at: datetime | None = None,
    **fields: Any,
) -> AuditLog:
    actor = Actor.of(user, Via.WEB, "192.0.2.1") if user else COMMAND
    with mock.patch("organizations.audit.timezone.now", return_value=at or datetime.now(UTC)):
        return record(action, organization=organization, actor=actor, message=message, **fields)


def write_plenty(organization: Organization, user: User) -> None:
    """A row a minute; every hundredth is somebody's deletion of a mode, every ten-thousandth says so."""
    with connection.cursor() as cursor:
        cursor.execute(
            """
            INSERT INTO organizations_auditlog (organization_id, sequence, created_at, action, actor_id, actor_email,
                actor_name, via, request_id, target_kind, target_id, changes, message, previous_hash, hash)
            SELECT %(organization)s, n, %(noon)s + n * interval '1 minute',
                CASE WHEN n %% 100 = 0 THEN 'mode.deleted' ELSE 'mode.updated' END,
                CASE WHEN n %% 100 = 0 THEN %(user)s::uuid END,
                CASE WHEN n %% 100 = 0 THEN %(email)s ELSE '' END,
                '', 'web', '', 'mode', '', '{}',
                CASE WHEN n %% 10000 = 0 THEN 'A Needle here' ELSE 'hay' END,
                md5((n - 1)::text), md5(n::text)
            FROM generate_series(1, %(plenty)s) n
            """,
            {"organization": organization.pk, "noon": NOON, "user": user.pk, "email": user.email, "plenty": PLENTY},
        )
        cursor.execute("ANALYZE organizations_auditlog")


def messages(api: Api, query: str = "") -> list[str]:
    response = api.get(f"audit-logs{query}")
    assert response.status_code == 200
    return [row["message"] for row in response.json()["audit_logs"]]


class TestReading:
    def test_it_works(self, team: Team) -> None:
        write(team.organization, "first")
        row = write(
            team.organization,
            'Route "code" set',
            AuditAction.ROUTE_SET,
            team.dave,
            changes={"routes.code": (None, "a/b")},
            target_kind="route",
            target_id="code",
        )
        write(OrganizationFactory.create(), "of others")
        response = team.api(team.carol).get("audit-logs")
        body = response.json()
        assert [found["message"] for found in body["audit_logs"]] == ['Route "code" set', "first"]
        assert body["next_cursor"] is None
        newest, oldest = body["audit_logs"]
        created_at = datetime.fromisoformat(newest.pop("created_at"))
        assert created_at == row.created_at
        assert newest == {
            "id": row.pk,
            "sequence": 2,
            "action": "organization_auto.route.set",
            "actor": {"id": str(team.dave.pk), "email": "dave@acme.example", "name": "Dave"},
            "via": "web",
            "address": "192.0.2.1",
            "request_id": "",
            "target_kind": "route",
            "target_id": "code",
            "changes": {"routes.code": [None, "a/b"]},
            "message": 'Route "code" set',
            "previous_hash": oldest["hash"],
            "hash": row.hash,
        }
        assert (oldest["actor"], oldest["via"], oldest["address"]) == (None, "command", None)

    def test_who_may(self, team: Team, mallory: User) -> None:
        for path in ("audit-logs", "audit-logs/export?format=csv"):
            refused(team.api(team.bob).get(path), 403, "role_required", says="billing managers")
            refused(Api(mallory, team.organization).get(path), 404, "not_found")
        # Whoever may not read it is not told what is wrong with his question.
        for query in ("audit-logs/export", "audit-logs?cursor=x", "members?a=b", "spending-limits?a=b"):
            refused(team.api(team.bob).get(query), 403, "role_required")
        for name in set(ROLES) - {"bob"}:
            assert team.api(getattr(team, name)).get("audit-logs").status_code == 200

    def test_filters(self, team: Team) -> None:
        at = [NOON + timedelta(days=day) for day in range(4)]
        write(team.organization, "zero 100%", AuditAction.MODE_CREATED, team.alice, at[0])
        write(team.organization, "one", AuditAction.MODE_UPDATED, team.alice, at[1])
        write(team.organization, "Two", AuditAction.MODE_CREATED, team.dave, at[2])
        write(team.organization, "three", AuditAction.MODE_UPDATED, None, at[3])
        api = team.api()
        for query, found in {
            "": ["three", "Two", "one", "zero 100%"],
            "?action=mode.created": ["Two", "zero 100%"],
            "?action=mode.deleted": [],
            "?actor=ALICE@acme.example": ["one", "zero 100%"],
            f"?actor={team.alice.pk}": ["one", "zero 100%"],
            "?actor=nobody@acme.example": [],
            "?text=TWO": ["Two"],
            "?text=%25": ["zero 100%"],
            "?text=_": [],
            "?from=2026-05-02T12:00:00Z": ["three", "Two", "one"],
            "?to=2026-05-02T12:00:00Z": ["zero 100%"],
            "?from=2026-05-02T12:00:00Z&to=2026-05-03T12:00:00.000001Z": ["Two", "one"],
            "?from=2026-05-03": ["three", "Two"],
            "?from=2026-05-03&to=2026-05-03": ["Two"],
            "?from=2026-05-03&to=2026-05-04": ["three", "Two"],
            "?from=2026-05-02&to=2026-05-03T00:00:00Z": ["one"],
            "?from=2030-01-01": [],
            "?to=2020-01-01": [],
            "?from=0001-01-01": ["three", "Two", "one", "zero 100%"],
            "?to=9999-12-31": ["three", "Two", "one", "zero 100%"],
            "?action=mode.created&actor=dave@acme.example": ["Two"],
            "?action=mode.created&actor=dave@acme.example&text=zero": [],
            "?cursor=3": ["one", "zero 100%"],
            "?cursor=1": [],
        }.items():
            assert messages(api, query) == found, query

    def test_clocks_that_differ(self, team: Team) -> None:
        """Rows are in the order of their numbers, and times are exact, even where the two disagree."""
        for message, seconds in (("a", 0), ("b", 120), ("c", 60), ("d", 180)):
            write(team.organization, message, at=NOON + timedelta(seconds=seconds))
        api = team.api()
        assert messages(api, "?from=2026-05-01T12:01:00Z&to=2026-05-01T12:02:00Z") == ["c"]
        assert messages(api, "?from=2026-05-01T12:02:00Z") == ["d", "b"]
        assert messages(api, "?to=2026-05-01T12:02:00Z") == ["c", "a"]

    @pytest.mark.parametrize(
        ("query", "field"),
        [
            ("action=mode.exploded", "action"),
            ("action=", "action"),
            ("cursor=0", "cursor"),
            ("cursor=x", "cursor"),
            ("cursor=99999999999999999999", "cursor"),
            ("from=yesterday", "from"),
            ("from=2026-05-02&to=2026-05-01", "to"),
            ("from=2026-05-02&to=2026-05-02T00:00:00Z", "to"),
            ("from=2026-05-32", "from"),
            ("text=", "text"),
            ("text=%00", "text"),
            (f"text={'x' * 201}", "text"),
            ("limit=5", "limit"),
            ("actor=a&actor=b", "actor"),
        ],
    )
    def test_a_query_that_is_not_valid(self, team: Team, query: str, field: str) -> None:
        error = refused(team.api().get(f"audit-logs?{query}"), 400, "invalid", field=field)
        if field == "from":
            assert error["fields"]["from"] == [
                "It must be a date or a time in ISO 8601, such as 2026-05-01 or 2026-05-01T12:00:00Z."
            ]
        refused(team.api().get(f"audit-logs/export?format=csv&{query}"), 400, "invalid", field=field)

    def test_pages(self, team: Team) -> None:
        for number in range(250):
            write(team.organization, str(number))
        api, read, query, sizes = team.api(), [], "", []
        while True:
            body = api.get(f"audit-logs{query}").json()
            sizes.append(len(body["audit_logs"]))
            read += [int(row["message"]) for row in body["audit_logs"]]
            # What is written meanwhile moves no page.
            write(team.organization, "-1")
            if body["next_cursor"] is None:
                break
            query = f"?cursor={body['next_cursor']}"
        assert read == list(reversed(range(250)))
        assert sizes == [100, 100, 50]

    def test_a_page_that_is_exactly_full_is_the_last(self, team: Team) -> None:
        for number in range(100):
            write(team.organization, str(number))
        body = team.api().get("audit-logs").json()
        assert (len(body["audit_logs"]), body["next_cursor"]) == (100, None)

    def test_a_long_search_goes_on_from_page_to_page(self, team: Team, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(audit_selectors, "WINDOW", 10)
        for number in range(35):
            write(team.organization, "needle" if number in {0, 14, 34} else "hay")
        found, cursor, pages = [], None, 0
        while True:
            page = audit_page(team.organization.pk, AuditFilter(text="needle"), cursor=cursor)
            found += [row.sequence for row in page.rows]
            pages += 1
            cursor = page.next_cursor
            if cursor is None:
                break
        assert (found, pages) == ([35, 15, 1], 4)


class TestPlenty:
    """A hundred thousand rows cost no more than a few."""

    def test_it_is_bounded(self, team: Team) -> None:
        write_plenty(team.organization, team.dave)
        write_plenty(OrganizationFactory.create(), team.dave)
        api = team.api()
        late, early = "2026-07-08T00:00:00Z", "2026-05-01T14:00:00Z"
        bound = 1_000
        for query, count, most in (
            ("", 100, bound),
            ("?cursor=50000", 100, bound),
            ("?cursor=50", 49, bound),
            ("?action=mode.deleted", 100, bound),
            ("?action=mode.deleted&cursor=50000", 100, bound),
            ("?action=byok.created", 0, bound),
            (f"?actor={team.dave.email}", 100, bound),
            ("?actor=nobody@acme.example", 0, bound),
            (f"?from={late}", 100, bound),
            (f"?to={early}", 100, bound),
            (f"?from={early}&to=2026-05-01T15:00:00Z", 60, bound),
            (f"?action=mode.deleted&to={late}", 100, bound),
            ("?text=needle", 2, audit_selectors.WINDOW + bound),
            ("?text=nothing", 0, audit_selectors.WINDOW + bound),
            ("?text=needle&action=mode.deleted", 2, bound),
            (f"?actor={team.dave.pk}&action=byok.created", 0, bound),
            (f"?actor={team.dave.email}&action=mode.updated", 0, audit_selectors.WINDOW + bound),
        ):
            with CaptureQueriesContext(connection) as captured:
                response = api.get(f"audit-logs{query}")
            assert len(response.json()["audit_logs"]) == count, query
            examined = Examined(captured, "auditlog")
            assert len(examined.queries) <= 6, query
            assert not any("COUNT(" in sql.upper() or "OFFSET" in sql.upper() for sql in examined.queries)
            assert examined.rows <= most, (query, examined.rows)

    def test_the_export_reads_batch_by_batch(self, team: Team) -> None:
        write_plenty(team.organization, team.dave)
        with CaptureQueriesContext(connection) as captured:
            response = team.api().client.get(
                f"/api/organizations/{team.organization.pk}/audit-logs/export?format=jsonl&from=2026-07-08"
            )
            lines = response.getvalue().decode().splitlines()
        assert len(lines) > 1_000
        assert json.loads(lines[-1])["head"]["sequence"] == PLENTY
        examined = Examined(captured, "auditlog")
        assert len(examined.queries) < 20
        assert examined.rows < len(lines) + 100


class TestExport:
    def export(self, team: Team, kind: str, query: str = "", user: User | None = None) -> Any:
        path = f"/api/organizations/{team.organization.pk}/audit-logs/export?format={kind}{query}"
        response = team.api(user).client.get(path)
        assert response.status_code == 200
        assert response.streaming
        return response

    def rows(self, response: Any) -> list[dict[str, str]]:
        return list(csv.DictReader(io.StringIO(response.getvalue().decode(), newline="")))

    def test_csv(self, team: Team) -> None:
        write(team.organization, "first", at=NOON)
        last = write(team.organization, 'Zwölf, "quoted"', user=team.dave, changes={"name": ("ä", None)})
        response = self.export(team, "csv", user=team.carol)
        assert response["Content-Type"] == "text/csv; charset=utf-8"
        filename = f'attachment; filename="audit-log-{team.organization.pk}-2.csv"'
        assert response["Content-Disposition"] == filename
        assert response["X-Audit-Head-Hash"] == last.hash
        assert response["Cache-Control"] == "private, no-store"
        first, second, head = self.rows(response)
        assert (first["sequence"], first["message"], first["actor_id"]) == ("1", "first", "")
        assert first["created_at"] == "2026-05-01T12:00:00.000000+00:00"
        assert (second["message"], second["actor_email"]) == ('Zwölf, "quoted"', "dave@acme.example")
        assert json.loads(second["changes"]) == {"name": ["ä", None]}
        assert second["previous_hash"] == first["hash"]
        assert (head["sequence"], head["action"], head["hash"]) == ("2", "chain.head", last.hash)

    def test_jsonl(self, team: Team) -> None:
        write(team.organization, "first\u2028line")
        last = write(team.organization, "second", user=team.dave, changes={"name": ("ä", None)})
        response = self.export(team, "jsonl")
        assert response["Content-Type"] == "application/x-ndjson; charset=utf-8"
        first, second, head = (json.loads(line) for line in response.getvalue().decode().splitlines())
        assert (first["sequence"], first["message"], first["actor_id"]) == (1, "first line", None)
        assert second["changes"] == {"name": ["ä", None]}
        assert head == {"head": {"organization_id": str(team.organization.pk), "sequence": 2, "hash": last.hash}}

    def test_a_reader_can_check_the_chain(self, team: Team) -> None:
        for number in range(5):
            write(team.organization, f"change {number}", user=team.dave if number % 2 else None)
        *rows, head = (json.loads(line) for line in self.export(team, "jsonl").getvalue().decode().splitlines())
        previous = ""
        for row in rows:
            assert row["previous_hash"] == previous
            made = AuditLog(**{name: value for name, value in row.items() if name != "created_at"})
            made.organization_id = head["head"]["organization_id"]
            made.created_at = datetime.fromisoformat(row["created_at"])
            assert row_hash(made) == row["hash"]
            previous = row["hash"]
        assert previous == head["head"]["hash"]

    @pytest.mark.parametrize("start", ["=", "+", "-", "@", "\t=", "\r=", " =", "\uff1d"])
    def test_no_cell_is_a_formula(self, team: Team, start: str) -> None:
        evil = f'{start}cmd|" /C calc"!A1'
        person = UserFactory.create(email="+evil@acme.example", name=evil)
        write(team.organization, evil, user=person, target_id=evil, changes={"=x": ("=1", "=2")})
        row, _ = self.rows(self.export(team, "csv"))
        for column, text in row.items():
            assert not text.lstrip(" ").startswith(("=", "+", "-", "@", "\t", "\r", "\uff1d")), column
        assert row["target_id"] == f"'{evil}"
        # Programs read what was written.
        line = self.export(team, "jsonl").getvalue().decode().splitlines()[0]
        assert json.loads(line)["target_id"] == evil

    def test_filters(self, team: Team) -> None:
        write(team.organization, "one", AuditAction.MODE_CREATED, at=NOON)
        write(team.organization, "two", AuditAction.MODE_DELETED, team.dave, at=NOON + timedelta(days=1))
        write(team.organization, "three", AuditAction.MODE_CREATED, at=NOON + timedelta(days=2))
        for query, found in {
            "": ["one", "two", "three"],
            "&action=mode.created": ["one", "three"],
            "&actor=dave@acme.example": ["two"],
            "&text=T": ["two", "three"],
            "&from=2026-05-02&to=2026-05-02": ["two"],
            "&from=2030-01-01": [],
        }.items():
            *rows, head = self.rows(self.export(team, "csv", query))
            assert [row["message"] for row in rows] == found
            assert head["sequence"] == "3"

    def test_nothing_of_other_organizations(self, team: Team) -> None:
        write(OrganizationFactory.create(), "theirs")
        write(team.organization, "ours")
        assert b"theirs" not in self.export(team, "csv").getvalue()

    def test_an_empty_log(self, team: Team) -> None:
        assert chain_head(team.organization.pk) == ChainHead()
        (head,) = self.rows(self.export(team, "csv"))
        assert (head["action"], head["sequence"], head["hash"]) == ("chain.head", "0", "")

    def test_what_is_written_meanwhile_waits_for_the_next(self, team: Team) -> None:
        for number in range(3):
            write(team.organization, str(number))
        head = chain_head(team.organization.pk)
        lines = as_csv(team.organization.pk, AuditFilter(), head)
        next(lines)
        write(team.organization, "late")
        assert "late" not in "".join(lines)

    def test_batches(self, team: Team, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(audit_selectors, "BATCH", 2)
        for number in range(7):
            write(team.organization, str(number))
        *rows, _ = self.rows(self.export(team, "csv"))
        assert [row["message"] for row in rows] == [str(number) for number in range(7)]

    @pytest.mark.parametrize("query", ["", "?format=xml", "?format=", "?format=csv&cursor=3"])
    def test_a_query_that_is_not_valid(self, team: Team, query: str) -> None:
        refused(team.api().get(f"audit-logs/export{query}"), 400, "invalid")

    def test_head_reads_nothing_but_the_head(
        self, team: Team, django_assert_num_queries: DjangoAssertNumQueries
    ) -> None:
        record(AuditAction.ROUTE_BROKEN, organization=team.organization, actor=SYSTEM, message="broken")
        client = team.api().client
        with django_assert_num_queries(3):
            response = client.head(f"/api/organizations/{team.organization.pk}/audit-logs/export?format=csv")
        assert (response.status_code, response.getvalue()) == (200, b"")

    @pytest.mark.usefixtures("committed_db")
    def test_no_connection_is_kept_while_it_is_sent(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(audit_selectors, "BATCH", 2)
        organization = OrganizationFactory.create()
        for number in range(5):
            with transaction.atomic():
                write(organization, str(number))
        head, batches = chain_head(organization.pk), 0
        for rows in audit_batches(organization.pk, AuditFilter(), head):
            batches += len(rows) > 0
            assert connection.connection is None
        assert batches == 3
