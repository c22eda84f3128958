"""The audit log's pages."""

from __future__ import annotations

import html
import json
import re
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.db import connection, transaction
from django.test import Client
from django.urls import reverse
from pytest_django import DjangoAssertNumQueries

from organizations import audit
from organizations.audit import Actor
from organizations.audit_changes import changed_fields
from organizations.models import AuditAction, AuditLog, Membership, Role, Via
from organizations.pages import audit_logs
from tests.factories import MembershipFactory

pytestmark = pytest.mark.django_db


@pytest.fixture
def alice() -> Membership:
    return MembershipFactory.create(role=Role.OWNER, user__email="alice@example.com", user__name="Alice")


@pytest.fixture
def bob(alice: Membership) -> Membership:
    return MembershipFactory.create(organization=alice.organization, user__email="bob@example.com")


def note(member: Membership, message: str, *, action: AuditAction = AuditAction.MODE_UPDATED, **more: Any) -> AuditLog:
    actor = more.pop("actor", Actor.of(member.user, Via.WEB, "192.0.2.7"))
    with transaction.atomic():
        return audit.record(action, organization=member.organization, actor=actor, message=message, **more)


def get(member: Membership, sequence: int | None = None, target: str = "", **query: Any) -> Any:
    client = Client()
    client.force_login(member.user)
    headers = {"HX-Request": "true", "HX-Target": target} if target else {}
    more = {} if sequence is None else {"sequence": sequence}
    name = "audit-logs" if sequence is None else "audit-log"
    path = reverse(name, kwargs={"organization_id": member.organization_id, **more})
    return client.get(path, query, headers=headers)


def text(answer: Any) -> str:
    return " ".join(answer.content.decode().split())


def messages(answer: Any) -> list[str]:
    return [html.unescape(one) for one in re.findall(r'aria-haspopup="dialog">([^<]*)</a>', answer.content.decode())]


class TestList:
    def test_it_works(self, alice: Membership) -> None:
        note(alice, "Mode “docs” was updated")
        last = note(alice, "Route broke", action=AuditAction.ROUTE_BROKEN, actor=audit.SYSTEM)
        answer = get(alice)
        assert messages(answer) == ["Route broke", "Mode “docs” was updated"]
        (today,) = answer.context["days"]
        assert today.name.startswith("Today, ")
        assert [(entry.who, entry.action, entry.via) for entry in today.entries] == [
            ("The gateway", "Organization Auto route broken", "system"),
            ("Alice", "Mode updated", "web"),
        ]
        assert last.hash in text(answer)

    def test_nothing_yet(self, alice: Membership) -> None:
        assert "Nothing was changed yet" in text(get(alice))

    def test_a_member_is_told_who_may(self, bob: Membership) -> None:
        answer = get(bob)
        assert answer.status_code == 403
        assert "Only owners, admins and billing managers read the audit log." in text(answer)
        assert get(bob, 1).status_code == 403

    @pytest.mark.parametrize(
        ("query", "found"),
        [
            ({"text": "DOCS"}, ["Mode docs updated"]),
            ({"action": "member.added"}, ["Bob was added"]),
            ({"actor": "ALICE@example.com"}, ["Bob was added", "Mode docs updated"]),
            ({"actor": "nobody@example.com"}, []),
            ({"text": "mode", "action": "member.added"}, []),
            ({"from": "2020-01-01", "to": "2020-01-02"}, []),
        ],
    )
    def test_filters(self, alice: Membership, query: dict[str, str], found: list[str]) -> None:
        note(alice, "Mode docs updated")
        note(alice, "Bob was added", action=AuditAction.MEMBER_ADDED)
        note(alice, "Route broke", action=AuditAction.ROUTE_BROKEN, actor=audit.SYSTEM)
        answer = get(alice, **query)
        assert messages(answer) == found
        assert found or "Nothing matches" in text(answer)
        part = get(alice, target="audit-log", **query)
        assert messages(part) == found
        assert "<form" not in text(part)

    def test_the_last_day_is_included(self, alice: Membership) -> None:
        note(alice, "Mode docs updated")
        today = datetime.now(UTC).date().isoformat()
        answer = get(alice, **{"from": today, "to": today})
        assert messages(answer) == ["Mode docs updated"]
        client = Client()
        client.force_login(alice.user)
        lines = client.get(dict(answer.context["exports"])["JSONL"]).getvalue().decode().splitlines()
        assert [json.loads(line).get("message") for line in lines] == ["Mode docs updated", None]

    @pytest.mark.parametrize(
        "query",
        [{"action": "odd"}, {"from": "soon"}, {"from": "2026-02-01", "to": "2026-01-01"}, {"text": "a\0b"}],
    )
    def test_filters_that_make_no_sense(self, alice: Membership, query: dict[str, str]) -> None:
        note(alice, "Mode docs updated")
        answer = get(alice, **query)
        assert answer.status_code == 422
        assert 'aria-invalid="true"' in text(answer)

    @pytest.mark.parametrize("query", [{"cursor": "0"}, {"cursor": "x"}, {"cursor": "9" * 30}, {"to": "9999-12-31"}])
    def test_odd_places(self, alice: Membership, query: dict[str, str]) -> None:
        note(alice, "Mode docs updated")
        assert messages(get(alice, **query)) == ["Mode docs updated"]

    def test_page_by_page(self, alice: Membership, django_assert_num_queries: DjangoAssertNumQueries) -> None:
        for number in range(103):
            note(alice, f"Mode {number} updated")
        first = get(alice, text="mode")
        assert len(messages(first)) == 100
        assert first.context["newest"] == ""
        client = Client()
        client.force_login(alice.user)
        client.get(first.context["older"])
        since = (datetime.now(UTC) - timedelta(days=1)).date().isoformat()
        with django_assert_num_queries(6):
            client.get(first.context["older"])
        second = client.get(first.context["older"])
        assert messages(second) == ["Mode 2 updated", "Mode 1 updated", "Mode 0 updated"]
        assert second.context["older"] == ""
        assert "text=mode" in second.context["newest"]
        path = reverse("audit-logs", kwargs={"organization_id": alice.organization_id})
        with django_assert_num_queries(7):
            client.get(path, {"text": "mode", "action": "mode.updated", "actor": "alice@example.com", "from": since})


class TestShownAgain:
    """The newest page is kept as it was drawn: whatever it shows makes it another one."""

    def test_a_new_row(self, alice: Membership) -> None:
        note(alice, "first")
        before = get(alice)
        assert messages(get(alice)) == messages(before) == ["first"]
        newest = note(alice, "second")
        after = get(alice)
        assert messages(after) == ["second", "first"]
        assert newest.hash in text(after)
        assert "2 rows" in text(after)

    def test_a_row_that_somebody_rewrote(self, alice: Membership) -> None:
        note(alice, "as it was")
        assert messages(get(alice)) == ["as it was"]
        with connection.cursor() as cursor:
            cursor.execute("SET LOCAL session_replication_role = replica")
            cursor.execute("UPDATE organizations_auditlog SET message = 'rewritten'")
            cursor.execute("SET LOCAL session_replication_role = origin")
        assert messages(get(alice)) == ["rewritten"]

    def test_another_organization_with_the_same_rows(self, alice: Membership) -> None:
        other = MembershipFactory.create(role=Role.OWNER, user=alice.user)
        for member in (alice, other):
            note(member, "the same")
        for member in (alice, other, alice):
            shown = text(get(member))
            assert f'href="/organizations/{member.organization_id}/audit-logs/1"' in shown
            links = set(re.findall(r"/organizations/([0-9a-f-]+)/(?:audit-logs|api)", shown))
            assert links == {str(member.organization_id)}

    def test_tomorrow_it_is_not_today(self, alice: Membership, monkeypatch: pytest.MonkeyPatch) -> None:
        note(alice, "now")
        assert "Today, " in text(get(alice))

        class Tomorrow(datetime):
            @classmethod
            def now(cls, tz: Any = None) -> Any:
                return datetime.now(tz) + timedelta(days=1)

        monkeypatch.setattr(audit_logs, "datetime", Tomorrow)
        shown = text(get(alice))
        assert "Today, " not in shown
        assert "Yesterday, " in shown

    def test_the_members_to_choose_from(self, alice: Membership) -> None:
        assert "carol@example.com" not in text(get(alice))
        MembershipFactory.create(organization=alice.organization, user__email="carol@example.com")
        assert '<option value="carol@example.com">' in text(get(alice))

    def test_filters_of_one_person_are_not_shown_to_another(self, alice: Membership) -> None:
        dave = MembershipFactory.create(organization=alice.organization, role=Role.ADMIN)
        note(alice, "a row")
        assert "looked for by alice" in text(get(alice, text="looked for by alice"))
        assert "looked for" not in text(get(dave))
        assert "looked for" not in text(get(alice))
        assert messages(get(dave)) == ["a row"]

    def test_what_was_looked_for_is_not_kept(self, alice: Membership) -> None:
        note(alice, "a row")
        before = audit_logs._kept.cache_info()
        get(alice, text="a row")
        get(alice, cursor="7")
        assert audit_logs._kept.cache_info() == before
        get(alice)
        assert audit_logs._kept.cache_info().misses == before.misses + 1


class TestEntry:
    def test_it_works(self, alice: Membership) -> None:
        note(alice, "Before")
        row = note(
            alice,
            "Model policy changed",
            action=AuditAction.MODEL_POLICY_CHANGED,
            changes={"model_deny_list": (["a/b", "c/d"], ["c/d", "e/f"]), "provider_allow_list": (None, [])},
            target_kind="organization",
        )
        note(alice, "After")
        answer = get(alice, row.sequence)
        denied, allowed = answer.context["changes"]
        assert [(part.text, part.is_changed) for part in denied.before] == [("a/b", True), ("c/d", False)]
        assert [(part.text, part.is_changed) for part in denied.after] == [("c/d", False), ("e/f", True)]
        assert (allowed.before, [part.text for part in allowed.after]) == ((), ["none"])
        assert "hash fits" in text(answer)
        assert "192.0.2.7" in text(answer)
        assert answer.context["newer"].endswith("/3")
        assert answer.context["older"].endswith("/1")
        overlay = get(alice, row.sequence, target="overlay")
        assert '<dialog class="drawer"' in text(overlay)

    def test_a_row_that_was_rewritten(self, alice: Membership) -> None:
        row = note(alice, "Mode docs updated")
        note(alice, "After")
        with connection.cursor() as cursor:
            cursor.execute("SET LOCAL session_replication_role = replica")
            cursor.execute("UPDATE organizations_auditlog SET message = 'Nothing' WHERE id = %s", [row.pk])
            cursor.execute("SET LOCAL session_replication_role = origin")
        assert "hash does not fit" in text(get(alice, row.sequence))
        assert "hash fits" in text(get(alice, row.sequence + 1))

    def test_a_row_whose_forerunner_is_gone(self, alice: Membership) -> None:
        row = note(alice, "Mode docs updated")
        after = note(alice, "After")
        with connection.cursor() as cursor:
            cursor.execute("SET LOCAL session_replication_role = replica")
            cursor.execute("DELETE FROM organizations_auditlog WHERE id = %s", [row.pk])
            cursor.execute("SET LOCAL session_replication_role = origin")
        assert "hash does not fit" in text(get(alice, after.sequence))

    @pytest.mark.parametrize("sequence", [0, 2, 10**18, 10**30])
    def test_there_is_no_such_row(self, alice: Membership, sequence: int) -> None:
        note(alice, "Mode docs updated")
        assert get(alice, sequence).status_code == 404

    def test_another_organizations_row(self, alice: Membership) -> None:
        other = MembershipFactory.create(role=Role.OWNER)
        note(other, "Theirs")
        assert get(alice, 1).status_code == 404


class TestChanges:
    def test_objects_field_by_field(self) -> None:
        before, after = {"groups": ["read"], "roleDefinition": "x", "same": 1}, {"groups": ["read", "edit"], "same": 1}
        groups, role = changed_fields({"config": [before, after]})
        assert (groups.name, [part.text for part in groups.after]) == ("config · groups", ["read", "edit"])
        assert (role.name, role.after) == ("config · roleDefinition", ())

    def test_plain_values(self) -> None:
        enabled, name, long, number = changed_fields(
            {"is_enabled": [True, False], "name": ["", "Docs"], "text": [None, "a\nb"], "count": [None, 3]}
        )
        assert [enabled.before[0].text, enabled.after[0].text] == ["yes", "no"]
        assert name.before[0].text == "blank"
        assert long.is_long
        assert not number.is_long

    @pytest.mark.parametrize("changes", [None, [], "x", {"a": 1}, {"a": [1, 2, 3]}, {"a": [{}, None]}, {"a": [[], []]}])
    def test_odd_ones(self, changes: Any) -> None:
        changed_fields(changes)
