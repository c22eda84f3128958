"""Examining an installation: what is right, what is not, and how to mend it. Nothing here changes anything."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final

from django.db import DatabaseError
from psycopg_pool import PoolTimeout

from routing.doctor.catalog import check_catalog
from routing.doctor.credentials import check_credentials
from routing.doctor.database import check_database
from routing.doctor.files import check_files
from routing.doctor.findings import Finding, Level, failed
from routing.doctor.redis import check_redis
from routing.doctor.security import check_security
from routing.doctor.upstreams import check_upstreams

__all__ = ["Finding", "Level", "examine"]

_WITH_DATABASE: Final[tuple[Callable[[], Iterator[Finding]], ...]] = (check_credentials, check_catalog)
_WITHOUT: Final[tuple[Callable[[], Iterator[Finding]], ...]] = (
    check_security,
    check_files,
    check_redis,
    check_upstreams,
)


def examine() -> list[Finding]:
    """Everything that can be found out in some ten seconds; asks the database and the hosted upstreams.

    Without a database, or with one that lacks migrations, what lies in it is left out. No finding holds a secret.
    """
    findings = list(check_database())
    if all(finding.level is not Level.FAIL for finding in findings):
        for check in _WITH_DATABASE:
            try:
                findings += check()
            except (DatabaseError, PoolTimeout) as error:
                problem = f"The database broke off while it was asked ({type(error).__name__})."
                findings.append(failed("database", problem, "Look into PostgreSQL's log."))
    for check in _WITHOUT:
        findings += check()
    return findings
