"""What migrations make of what is there, and that they keep nobody waiting."""

from __future__ import annotations

from datetime import timedelta
from importlib import import_module
from io import StringIO

import pytest
from allauth.socialaccount.models import SocialAccount
from django.apps import apps
from django.core.management import call_command
from django.db import connection
from django.utils import timezone

from organizations.audit import COMMAND, Actor
from organizations.models import User, Via
from organizations.users import user_create


@pytest.fixture
def people(db: None) -> dict[str, User]:
    """Accounts of before, by how they came to be; of none was noted whether its address is proven."""
    ways = {"invitation": Via.WEB, "staff": Via.ADMIN, "command": Via.COMMAND, "connected": Via.WEB}
    made = {
        name: user_create(
            email=f"{name}@example.com", name=name, password=None, actor=COMMAND if way is Via.COMMAND else Actor(way)
        )
        for name, way in ways.items()
    }
    made["unknown"] = User.objects.create_user("unknown@example.com")
    long_ago = timezone.now() - timedelta(days=30)
    User.objects.update(email_proven_at=None, created_at=long_ago)
    account = SocialAccount.objects.create(user=made["connected"], provider="oidc", uid="person-1")
    SocialAccount.objects.filter(pk=account.pk).update(date_joined=long_ago + timedelta(days=1))
    return made


def test_whose_address_was_proven_before_that_was_noted(people: dict[str, User]) -> None:
    with connection.schema_editor() as editor:
        import_module("organizations.migrations.0013_email_proven").note_known(apps, editor)
    since = dict(User.objects.values_list("email", "email_proven_at"))
    created = User.objects.get(pk=people["staff"].pk).created_at
    assert since == {
        "invitation@example.com": None,
        "unknown@example.com": None,
        "staff@example.com": created,
        "command@example.com": created,
        "connected@example.com": created + timedelta(days=1),
    }


def sql_of(migration: str) -> str:
    out = StringIO()
    call_command("sqlmigrate", "organizations", migration, stdout=out)
    return out.getvalue()


def test_the_actions_of_the_audit_log_are_checked_without_a_lock_that_others_feel(db: None) -> None:
    added = [line for line in sql_of("0014").splitlines() if "ADD CONSTRAINT" in line]
    assert len(added) == 1
    assert added[0].endswith("NOT VALID;")
    assert "BEGIN" not in sql_of("0016")
    assert 'VALIDATE CONSTRAINT "audit_log_action_known"' in sql_of("0016")
    with connection.cursor() as cursor:
        cursor.execute("SELECT convalidated FROM pg_constraint WHERE conname = 'audit_log_action_known'")
        assert cursor.fetchall() == [(True,)]
