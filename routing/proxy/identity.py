"""Who asks: one prepared statement tells, along with all that tells a remembered decision from a stale one."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any
from uuid import UUID

import psycopg
from psycopg_pool import PoolTimeout

from kilo_gateway.api_errors import ErrorType, GatewayError, authentication_required, invalid_token
from organizations.api_keys import MAX_LENGTH
from routing.proxy.connections import Prepared, drop_dead_connections

log = logging.getLogger(__name__)

# The organization is the one that the key is bound to, else the one that the request names.
_STATEMENT = Prepared(
    "kilo_identify",
    """
SELECT k.id, k.user_id, k.default_mode,
       u.is_active AND k.revoked_at IS NULL AND (k.expires_at IS NULL OR k.expires_at > statement_timestamp()),
       'inference' = ANY(k.scopes), k.organization_id IS NOT NULL,
       o.id, o.plan, o.routing_version, m.role, i.catalog_snapshot_id, i.tier_version, b.balance_microdollars,
       b.has_limits
FROM organizations_apikey k
JOIN organizations_user u ON u.id = k.user_id
CROSS JOIN routing_installation i
LEFT JOIN organizations_organization o ON o.id = COALESCE(k.organization_id, $1::uuid)
LEFT JOIN organizations_membership m ON m.organization_id = o.id AND m.user_id = k.user_id
LEFT JOIN routing_hostedbalance b ON b.organization_id = o.id
WHERE k.key_hash = decode($2, 'hex')
""",
)
_TRUE = b"t"
MAX_FAMILIAR = 4096
# Whose a key was when it was good the last time, by its hash; what anybody may do is decided by the statement alone.
_familiar: dict[bytes, Caller] = {}


@dataclass(frozen=True, slots=True)
class Stamp:
    """What a remembered decision depends on; it is used again only while all three are the same."""

    routing_version: int
    catalog_snapshot_id: int
    tier_version: int


@dataclass(frozen=True, slots=True)
class Caller:
    """The person behind a request and the organization that he acts for, if any."""

    key_id: UUID
    user_id: UUID
    default_mode: str
    organization_id: UUID | None
    plan: str
    role: str
    stamp: Stamp
    balance_microdollars: int | None
    has_spending_limits: bool

    @property
    def is_limited(self) -> bool:
        """Whether a balance is kept, or any limit, that hosted models are held against."""
        return self.balance_microdollars is not None or self.has_spending_limits

    @property
    def has_hosted_balance(self) -> bool:
        """Whether hosted models may be paid for; an organization for which no balance is kept has no limit."""
        return self.balance_microdollars is None or self.balance_microdollars > 0


def presented_key(environ: Mapping[str, Any], *, accept_x_api_key: bool) -> str:
    """The key that a request presents.

    Raises:
        GatewayError: nothing was presented, or nothing that could be a key.
    """
    scheme, _, token = str(environ.get("HTTP_AUTHORIZATION", "")).strip().partition(" ")
    token = token.strip()
    if scheme.lower() != "bearer" or not token:
        token = str(environ.get("HTTP_X_API_KEY", "")).strip() if accept_x_api_key else ""
    if not token:
        raise authentication_required()
    if len(token) > MAX_LENGTH:
        raise invalid_token()
    return token


def familiar_caller(key_hash: bytes) -> Caller | None:
    """Whom `identify` returned for a key the last time, if it did: the next request is likely to be his again, and is
    no stranger's. If it is, and nothing about him has changed, `identify` returns the very same object.
    """
    return _familiar.get(key_hash)


def identify(key_hash: bytes, organization_header: str, meanwhile: Callable[[], None] | None = None) -> Caller:
    """Authenticate a key for the organization that it is bound to or, unbound, that the header names.

    One query, no lock. A database that restarted costs one more, on a fresh connection.

    Args:
        key_hash: As `organizations.api_keys.key_hash` makes it.
        meanwhile: See `Prepared.fetch_row`.

    Raises:
        GatewayError: 401 for a key that is not valid, 400 for a malformed organization id, 403 for an organization
            that the person does not belong to or a key that is not for model requests.
        psycopg.OperationalError: the database does not answer.
    """
    organization_id, malformed = _parse_organization(organization_header)
    parameters = [str(organization_id).encode() if organization_id else None, key_hash.hex().encode()]
    row = _fetch(parameters, meanwhile)
    try:
        caller = _admitted(row, organization_id, malformed=malformed)
    except GatewayError:
        # Nothing is done ahead of time for whoever was refused, for whatever reason.
        _familiar.pop(key_hash, None)
        raise
    _remember(key_hash, caller)
    return caller


def _admitted(row: tuple[bytes | None, ...] | None, organization_id: UUID | None, *, malformed: bool) -> Caller:
    if row is None or row[3] != _TRUE:
        raise invalid_token()
    caller = _caller(row)
    for_inference, is_bound = row[4:6]
    if for_inference != _TRUE:
        raise GatewayError(
            ErrorType.ACCESS_DENIED, 403, "This API key is not for model requests: it lacks the scope 'inference'."
        )
    if malformed and is_bound != _TRUE:
        raise GatewayError(
            ErrorType.INVALID_ORGANIZATION_ID, 400, "X-KiloCode-OrganizationId must be the UUID of an organization."
        )
    if not caller.role and (is_bound == _TRUE or organization_id is not None):
        raise GatewayError(ErrorType.ACCESS_DENIED, 403, "You are not a member of this organization.")
    return caller


def _remember(key_hash: bytes, caller: Caller) -> None:
    if len(_familiar) >= MAX_FAMILIAR:
        _familiar.clear()
    _familiar[key_hash] = caller


@lru_cache(maxsize=4096)
def _caller(row: tuple[bytes | None, ...]) -> Caller:
    """What a row says. The same row comes again and again, and says the same."""
    key_id, user_id, default_mode, *rest = [None if value is None else value.decode() for value in row]
    organization, plan, routing_version, role, snapshot_id, tier_version, balance, has_limits = rest[3:]
    return Caller(
        key_id=UUID(str(key_id)),
        user_id=UUID(str(user_id)),
        default_mode=default_mode or "",
        organization_id=UUID(organization) if organization else None,
        plan=plan or "",
        role=role or "",
        stamp=Stamp(int(routing_version or 0), int(snapshot_id or 0), int(tier_version or 0)),
        balance_microdollars=None if balance is None else int(balance),
        has_spending_limits=has_limits == "t",
    )


def _parse_organization(header: str) -> tuple[UUID | None, bool]:
    """The id, and whether what was sent is none."""
    text = header.strip()
    if not text:
        return None, False
    try:
        return UUID(text), False
    except ValueError:
        return None, True


def _fetch(parameters: list[bytes | None], meanwhile: Callable[[], None] | None) -> tuple[bytes | None, ...] | None:
    try:
        return _STATEMENT.fetch_row(parameters, meanwhile)
    except PoolTimeout:
        # No connection for seconds: the database is away, and waiting once more would only double the delay.
        raise
    except psycopg.OperationalError as error:
        log.warning("The database closed a connection (%s); trying on another one", type(error).__name__)
        drop_dead_connections()
        return _STATEMENT.fetch_row(parameters)
