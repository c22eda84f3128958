"""Two who write to the audit log of no organization at the same time: one after the other, the chain intact."""

from __future__ import annotations

import threading

import pytest
from django.db import connection, connections, transaction

from organizations.audit import COMMAND, record, verify_chain
from organizations.models import AuditAction, AuditLog
from tests.e2e.lab import eventually

pytestmark = pytest.mark.usefixtures("committed_db")

_WAITING = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"


def write(message: str) -> AuditLog:
    return record(AuditAction.MODE_UPDATED, organization=None, actor=COMMAND, message=message)


def test_the_second_waits_for_the_first() -> None:
    failures: list[Exception] = []

    def second() -> None:
        try:
            with transaction.atomic():
                write("second")
        except Exception as error:
            failures.append(error)
        finally:
            connections.close_all()

    def is_waiting() -> bool:
        with connection.cursor() as cursor:
            cursor.execute(_WAITING)
            (waiting,) = cursor.fetchone()
        return bool(waiting)

    other = threading.Thread(target=second)
    with transaction.atomic():
        write("first")
        other.start()
        assert eventually(is_waiting, 10)
    other.join(20)
    assert failures == []
    rows = AuditLog.objects.filter(organization=None).order_by("sequence")
    assert [row.message for row in rows] == ["first", "second"]
    assert verify_chain(None) == (2, None)
