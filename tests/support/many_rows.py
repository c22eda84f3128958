"""A million usage records or audit rows, made by the database itself in seconds."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from django.db import connection, transaction

from organizations.models import Organization, User

MODES = ("code", "architect", "ask", "debug", "review", "")
MODELS = ("a/quick", "a/thorough", "b/small", "b/large", "c/coder", "neuralwatt/kimi-k2.6", "d/rare", "")
USAGE_BATCH = 250_000


def many_usage_rows(
    organization_ids: Sequence[UUID],
    user_ids: Sequence[UUID],
    *,
    count: int,
    days: int = 90,
    until: datetime | None = None,
    modes: Sequence[str] = MODES,
    models: Sequence[str] = MODELS,
    batch: int = USAGE_BATCH,
) -> None:
    """Requests spread evenly over so many days up to `until`, newest last, and over everything else.

    Every organization has every member's, in every mode with every model. Every fiftieth request fails, every
    hundredth is cancelled, every fourth is with a key of the organization's own, every twentieth has no known price.
    The roll-ups are made along with them, as always.
    """
    parameters: dict[str, Any] = {
        "organizations": list(organization_ids),
        "users": list(user_ids),
        "modes": list(modes),
        "models": list(models),
        "until": until or datetime.now(UTC),
        "step": f"{days * 86_400 / count} seconds",
        "count": count,
    }
    with transaction.atomic(), connection.cursor() as cursor, _indexes_made_afterwards("routing_usagerecord"):
        for start in range(1, count + 1, batch):
            cursor.execute(_USAGE, parameters | {"start": start, "end": min(start + batch - 1, count)})
    _analyze("routing_usagerecord", "routing_usagerollup")


def many_audit_rows(organization: Organization, user: User, *, count: int, until: datetime | None = None) -> None:
    """Rows an organization's log goes on with, a minute apart, the last one at `until`; their hashes are made up.

    Every thousandth is a mode's deletion by `user`, and every hundred-thousandth has `needle` in its message. The first
    tenth of them, and no other, is about routes.
    """
    with transaction.atomic(), connection.cursor() as cursor, _indexes_made_afterwards("organizations_auditlog"):
        # Without a look at the organization for each row.
        cursor.execute("SET LOCAL session_replication_role = replica")
        cursor.execute(
            _AUDIT,
            {
                "organization": organization.pk,
                "user": user.pk,
                "email": user.email,
                "until": until or datetime.now(UTC),
                "count": count,
            },
        )
        cursor.execute("SET LOCAL session_replication_role = origin")
    _analyze("organizations_auditlog")


@contextmanager
def _indexes_made_afterwards(table: str) -> Iterator[None]:
    """Drop the indexes that no constraint needs, and make them again: quicker than to extend them a million times."""
    with connection.cursor() as cursor:
        # What a test inserted before is not checked yet, and a table with checks to come cannot be altered.
        cursor.execute("SET CONSTRAINTS ALL IMMEDIATE; SET CONSTRAINTS ALL DEFERRED")
        cursor.execute(
            "SELECT indexrelid::regclass::text, pg_get_indexdef(indexrelid) FROM pg_index "
            "WHERE indrelid = %s::regclass AND NOT indisunique",
            [table],
        )
        definitions = dict(cursor.fetchall())
        cursor.execute(f"DROP INDEX {', '.join(definitions)}")
        yield
        cursor.execute("; ".join(definitions.values()))


def _analyze(*tables: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute(f"ANALYZE {', '.join(tables)}")


# Numbers are scattered by a multiplication, so that no column follows from another.
_USAGE = """
INSERT INTO routing_usagerecord (request_id, created_at, organization_id, user_id, api_key_id, api_kind,
    requested_model, auto_model, mode, route_kind, route, target, resolved_model, provider, is_byok, streamed,
    cancelled, status, error_type, input_tokens, output_tokens, hosted_cost_microdollars, market_cost_microdollars,
    time_to_first_byte_ms, duration_ms, task_id, editor, feature, routing_version)
SELECT lpad(to_hex(n), 32, '0')::uuid, %(until)s - (%(count)s - n) * %(step)s::interval,
    (%(organizations)s::uuid[])[1 + n %% cardinality(%(organizations)s::uuid[])],
    (%(users)s::uuid[])[1 + (n * 7919 / 13) %% cardinality(%(users)s::uuid[])], NULL, 'chat_completions',
    'kilo-auto/org', 'kilo-auto/org', (%(modes)s::text[])[1 + (n * 104729 / 101) %% cardinality(%(modes)s::text[])],
    'exact', 'exact', '', (%(models)s::text[])[1 + (n * 15485863 / 1009) %% cardinality(%(models)s::text[])],
    'openrouter', n %% 4 = 0, true, n %% 100 = 1, CASE WHEN n %% 50 = 0 THEN 502 ELSE 200 END,
    CASE WHEN n %% 50 = 0 THEN 'upstream_error' ELSE '' END, n %% 5000, n %% 900,
    CASE WHEN n %% 4 = 0 THEN 0 WHEN n %% 20 <> 7 THEN n %% 3000 END, CASE WHEN n %% 20 <> 7 THEN n %% 3000 END,
    n %% 700, 1 + n %% 9000, '', '', '', 1
FROM generate_series(%(start)s::bigint, %(end)s::bigint) AS n
"""
_AUDIT = """
INSERT INTO organizations_auditlog (organization_id, sequence, created_at, action, actor_id, actor_email, actor_name,
    via, request_id, target_kind, target_id, changes, message, previous_hash, hash)
SELECT %(organization)s, before.rows + n, %(until)s - (%(count)s - n) * interval '1 minute',
    CASE WHEN n %% 1000 = 0 THEN 'mode.deleted' WHEN n <= %(count)s / 10 THEN 'organization_auto.route.set'
        ELSE 'mode.updated' END,
    CASE WHEN n %% 1000 = 0 THEN %(user)s::uuid END, CASE WHEN n %% 1000 = 0 THEN %(email)s ELSE '' END, '',
    'web', '', 'mode', '', '{}',
    CASE WHEN n %% 100000 = 0 THEN 'A needle in row ' || n ELSE 'Mode number ' || n || ' updated' END,
    md5((n - 1)::text), md5(n::text)
FROM generate_series(1, %(count)s) AS n,
    (SELECT coalesce(max(sequence), 0) AS rows FROM organizations_auditlog WHERE organization_id = %(organization)s)
        AS before
"""
