"""What a load balancer asks: is the process alive, and can it serve."""

from __future__ import annotations

from django.db import DatabaseError, connection
from django.db.migrations.executor import MigrationExecutor
from django.http import HttpRequest, JsonResponse
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_safe

from kilo_gateway.stopping import is_stopping

_migrated = False


@never_cache
@require_safe
def healthz(request: HttpRequest) -> JsonResponse:
    """200 as long as the process answers; no query."""
    return JsonResponse({"status": "ok"})


@never_cache
@require_safe
def readyz(request: HttpRequest) -> JsonResponse:
    """200 when the database answers, is migrated and has a catalog; else 503 that says what is missing. One query.

    503 without one when the server is about to stop: what is in front sends the next request to another.
    """
    if is_stopping():
        return JsonResponse({"status": "stopping"}, status=503)
    checks = {"database": "ok", "migrations": "ok", "catalog": "ok"}
    try:
        if not _is_migrated():
            checks["migrations"] = "pending"
        elif not _has_catalog():
            checks["catalog"] = "missing"
    except DatabaseError:
        checks["database"] = "unreachable"
    ready = all(state == "ok" for state in checks.values())
    return JsonResponse({"status": "ok" if ready else "unavailable", **checks}, status=200 if ready else 503)


def _is_migrated() -> bool:
    """Looked up until it is true; a running process does not lose its migrations."""
    global _migrated  # noqa: PLW0603 - one flag for the process
    if not _migrated:
        executor = MigrationExecutor(connection)
        _migrated = not executor.migration_plan(executor.loader.graph.leaf_nodes())
    return _migrated


def _has_catalog() -> bool:
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1 FROM routing_installation")
        return cursor.fetchone() is not None
