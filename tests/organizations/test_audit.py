from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any
from unittest import mock

import pytest
from django.db import IntegrityError, connection, transaction
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kilo_gateway import logs
from organizations import audit
from organizations.audit import COMMAND, SYSTEM, Actor, record, row_hash, verify_chain
from organizations.models import AuditAction, AuditLog, Organization, Plan, SettingsVersion, Via
from organizations.services import organization_create, organization_settings_write
from tests.factories import OrganizationFactory, UserFactory

pytestmark = pytest.mark.django_db


def write(organization: Organization | None, message: str = "changed", **fields: Any) -> AuditLog:
    return record(AuditAction.MODE_UPDATED, organization=organization, actor=COMMAND, message=message, **fields)


@contextmanager
def triggers_off() -> Iterator[None]:
    """As somebody with every right at the database would do it."""
    with connection.cursor() as cursor:
        cursor.execute("SET LOCAL session_replication_role = replica")
        try:
            yield
        finally:
            cursor.execute("SET LOCAL session_replication_role = origin")


def change(row: AuditLog, **fields: Any) -> None:
    with triggers_off():
        AuditLog.objects.filter(pk=row.pk).update(**fields)


class TestRecord:
    def test_it_works(self) -> None:
        alice = UserFactory.create(email="alice@example.com", name="Alice")
        organization = OrganizationFactory.create()
        token = logs.request_id.set("request-1")
        try:
            row = record(
                AuditAction.ROUTE_UPDATED,
                organization=organization,
                actor=Actor.of(alice, Via.WEB, "192.0.2.1"),
                message='Organization Auto route for "code" changed from "a/b" to "c/d"',
                changes={"org_auto_model.routes.code": ("a/b", "c/d")},
                target_kind="route",
                target_id="code",
            )
        finally:
            logs.request_id.reset(token)
        row.refresh_from_db()
        assert row.action == "organization_auto.route.updated"
        assert (row.actor_id, row.actor_email, row.actor_name) == (alice.pk, "alice@example.com", "Alice")
        assert (row.via, row.address, row.request_id) == ("web", "192.0.2.1", "request-1")
        assert (row.target_kind, row.target_id) == ("route", "code")
        assert row.changes == {"org_auto_model.routes.code": ["a/b", "c/d"]}
        assert str(row) == row.message == 'Organization Auto route for "code" changed from "a/b" to "c/d"'

    def test_it_outlives_the_person(self) -> None:
        alice = UserFactory.create(email="alice@example.com")
        row = record(AuditAction.USER_LOGIN, organization=None, actor=Actor.of(alice, Via.WEB), message="signed in")
        person = alice.pk
        alice.delete()
        row.refresh_from_db()
        assert (row.actor_id, row.actor_email) == (person, "alice@example.com")
        assert verify_chain(None)[1] is None

    def test_a_message_is_one_line(self) -> None:
        assert write(None, "one\r\ntwo\u2028three\n").message == "one two three"

    def test_a_long_target_is_cut(self) -> None:
        assert len(write(None, target_id="x" * 300).target_id) == 200

    def test_the_system_has_no_name(self) -> None:
        row = record(AuditAction.ROUTE_BROKEN, organization=None, actor=SYSTEM, message="broken")
        assert (row.actor_id, row.actor_email, row.via) == (None, "", "system")

    def test_an_action_that_is_none(self) -> None:
        with pytest.raises(IntegrityError, match="audit_log_action_known"), transaction.atomic():
            record("mode.painted", organization=None, actor=COMMAND, message="x")  # type: ignore[arg-type]


class TestChain:
    def test_each_organization_has_its_own(self) -> None:
        one, two = OrganizationFactory.create_batch(2)
        rows = [write(organization) for organization in (one, two, None, one, one, None)]
        assert [row.sequence for row in rows] == [1, 1, 1, 2, 3, 2]
        assert rows[0].previous_hash == rows[1].previous_hash == rows[2].previous_hash == ""
        assert rows[3].previous_hash == rows[0].hash
        assert rows[4].previous_hash == rows[3].hash
        assert [verify_chain(chain) for chain in (one.pk, two.pk, None)] == [(3, None), (1, None), (2, None)]

    def test_an_empty_one(self) -> None:
        assert verify_chain(OrganizationFactory.create().pk) == (0, None)

    @settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=25)
    @given(
        st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), max_size=50),
        st.recursive(
            st.none()
            | st.booleans()
            | st.integers(-(2**53), 2**53)
            | st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00")),
            lambda inner: st.lists(inner, max_size=3),
            max_leaves=5,
        ),
    )
    def test_what_is_read_has_the_hash_that_was_written(self, message: str, value: Any) -> None:
        row = write(None, message, changes={"field": (None, value)})
        assert row_hash(AuditLog.objects.get(pk=row.pk)) == row.hash

    def test_two_rows_cannot_have_one_place(self) -> None:
        row = write(None)
        for organization in (None, OrganizationFactory.create()):
            kept = write(organization)
            copy = AuditLog(
                **{
                    field.attname: getattr(kept, field.attname)
                    for field in AuditLog._meta.concrete_fields
                    if field.attname != "id"
                }
            )
            with pytest.raises(IntegrityError, match="audit_log_sequence_unique"), transaction.atomic():
                copy.save(force_insert=True)
        assert row.sequence == 1

    def test_outside_a_transaction(self) -> None:
        outside = SimpleNamespace(in_atomic_block=False)
        with (
            mock.patch.object(transaction, "get_connection", return_value=outside),
            pytest.raises(transaction.TransactionManagementError),
        ):
            write(None)


@pytest.fixture
def chain() -> list[AuditLog]:
    organization = OrganizationFactory.create()
    return [write(organization, f"change {number}") for number in range(1, 6)]


class TestVerification:
    @pytest.mark.parametrize(
        "fields",
        [
            {"message": "nothing happened"},
            {"changes": {"a": [1, 2]}},
            {"actor_email": "mallory@example.com"},
            {"actor_id": "0efa1733-8d9b-588f-a4a0-7f3e721a7f85"},
            {"action": AuditAction.MODE_CREATED},
            {"via": Via.WEB},
            {"address": "192.0.2.7"},
            {"target_id": "x"},
            {"request_id": "x"},
            {"created_at": "2020-01-01T00:00:00Z"},
        ],
        ids=lambda fields: next(iter(fields)),
    )
    def test_a_row_changed_behind_its_back(self, chain: list[AuditLog], fields: dict[str, Any]) -> None:
        change(chain[2], **fields)
        count, link = verify_chain(chain[0].organization_id)
        assert count == 2
        assert link is not None
        assert (link.sequence, link.row_id, link.reason) == (3, chain[2].pk, "its content was changed")

    def test_a_row_changed_with_its_hash(self, chain: list[AuditLog]) -> None:
        chain[2].message = "nothing happened"
        change(chain[2], message=chain[2].message, hash=row_hash(chain[2]))
        count, link = verify_chain(chain[0].organization_id)
        assert count == 3
        assert link is not None
        assert (link.sequence, link.reason) == (4, "it does not follow the row before it")

    @pytest.mark.parametrize("missing", [1, 3])
    def test_a_row_taken_out(self, chain: list[AuditLog], missing: int) -> None:
        with triggers_off():
            AuditLog.objects.filter(pk=chain[missing - 1].pk).delete()
        count, link = verify_chain(chain[0].organization_id)
        assert count == missing - 1
        assert link is not None
        assert (link.sequence, link.reason) == (missing + 1, f"row {missing} is missing")

    def test_a_row_of_another_organization(self, chain: list[AuditLog]) -> None:
        other = OrganizationFactory.create()
        change(chain[4], organization_id=other.pk, sequence=1)
        assert verify_chain(other.pk)[1] is not None
        assert verify_chain(chain[0].organization_id) == (4, None)

    def test_the_others_are_intact(self, chain: list[AuditLog]) -> None:
        write(None)
        change(chain[0], message="x")
        assert verify_chain(None) == (1, None)


class TestAppendOnly:
    """The database itself refuses, whoever asks."""

    @pytest.mark.parametrize("table", ["organizations_auditlog", "organizations_settingsversion"])
    @pytest.mark.parametrize(
        ("statement", "operation"),
        [
            ("UPDATE {} SET created_at = now()", "UPDATE"),
            ("DELETE FROM {}", "DELETE"),
            ("TRUNCATE {} CASCADE", "TRUNCATE"),
        ],
    )
    def test_it_is_refused(self, table: str, statement: str, operation: str) -> None:
        organization_create(name="Acme", plan=Plan.TEAMS, owner=UserFactory.create(), actor=COMMAND)
        with connection.cursor() as cursor:
            cursor.execute("SET CONSTRAINTS ALL IMMEDIATE")
        with (
            pytest.raises(IntegrityError, match=f"append-only: {operation} is refused"),
            transaction.atomic(),
            connection.cursor() as cursor,
        ):
            cursor.execute(statement.format(table))
        assert AuditLog.objects.count() == 2
        assert SettingsVersion.objects.count() == 1

    def test_an_organization_with_a_log_stays(self) -> None:
        row = write(OrganizationFactory.create())
        with connection.cursor() as cursor:
            # Foreign keys are checked at the end of the transaction otherwise.
            cursor.execute("SET CONSTRAINTS ALL IMMEDIATE")
        with pytest.raises(IntegrityError, match="foreign key"), transaction.atomic():
            Organization.objects.filter(pk=row.organization_id)._raw_delete(using="default")


class TestSettingsWrite:
    def test_it_works(self) -> None:
        alice = UserFactory.create()
        organization = organization_create(name="Acme", plan=Plan.ENTERPRISE, owner=alice, actor=COMMAND)
        written = organization_settings_write(
            organization=organization,
            settings={"default_model": "a/b"},
            actor=Actor.of(alice, Via.API),
            action=AuditAction.DEFAULT_MODEL_CHANGED,
            message='Default model set to "a/b"',
            changes={"default_model": (None, "a/b")},
        )
        assert (written.settings, written.routing_version) == ({"default_model": "a/b"}, 2)
        organization.refresh_from_db()
        assert (organization.settings, organization.routing_version) == ({"default_model": "a/b"}, 2)
        first, second = SettingsVersion.objects.order_by("routing_version")
        assert (first.routing_version, first.settings, first.actor_id) == (1, {}, None)
        assert (second.routing_version, second.settings, second.actor_id) == (2, {"default_model": "a/b"}, alice.pk)
        assert second.audit_log.message == 'Default model set to "a/b"'

    def test_no_change_writes_nothing(self) -> None:
        organization = OrganizationFactory.create(settings={"a": 1})
        written = organization_settings_write(
            organization=organization,
            settings={"a": 1},
            actor=COMMAND,
            action=AuditAction.DEFAULT_MODEL_CHANGED,
            message="x",
            changes={},
        )
        assert written.routing_version == 1
        assert not AuditLog.objects.exists()
        assert not SettingsVersion.objects.exists()

    def test_all_or_nothing(self, monkeypatch: pytest.MonkeyPatch) -> None:
        organization = OrganizationFactory.create()

        def fail(*args: Any, **kwargs: Any) -> None:
            raise RuntimeError("the log is full")

        monkeypatch.setattr(audit, "record", fail)
        with pytest.raises(RuntimeError), transaction.atomic():
            organization_settings_write(
                organization=organization,
                settings={"a": 1},
                actor=COMMAND,
                action=AuditAction.DEFAULT_MODEL_CHANGED,
                message="x",
                changes={},
            )
        organization.refresh_from_db()
        assert (organization.settings, organization.routing_version) == ({}, 1)
