"""Hosted balance and spending limits on the request path: what a request may cost is reserved before it is sent.

One statement, and only for an organization that has a balance or limits, when a hosted model is asked that costs
something. `routing.proxy.settlement` gives back what was reserved, with the usage record that says what it did cost.
"""

from __future__ import annotations

import math
import time
from datetime import datetime
from typing import Final
from uuid import UUID

from django.conf import settings

from kilo_gateway.api_errors import ErrorType, GatewayError, temporarily_unavailable
from kilo_gateway.api_kinds import ApiKind
from routing.domain.estimates import Expected, estimated_input
from routing.domain.spending import (
    Allowance,
    Period,
    Scope,
    dollars,
    largest_cost,
    most_output_tokens,
    used_up,
    usual_output_tokens,
)
from routing.domain.targets import ModelChoice
from routing.proxy.body import JsonBody
from routing.proxy.connections import Prepared, release_connection
from routing.proxy.costs import hosted_model, pricing_of
from routing.proxy.identity import Caller
from routing.proxy.settlement import release_expired
from routing.proxy.usage_writer import FLUSH_SECONDS
from routing.spending_selectors import allowances_of

# So long a reservation lasts whose request never ends, because its worker was killed. What a longer request costs still
# counts at its end.
RESERVATION_SECONDS: Final = 900
# A request that has ended gives back what it had reserved when its usage is written. Whoever finds everything reserved
# waits that long, and then tries again.
TRIES: Final = 3
PAUSE_SECONDS: Final = FLUSH_SECONDS + 0.05
RETRY_AFTER_SECONDS: Final = 5
_NOBODYS: Final = (
    "Hosted models are paid by an organization. Name yours in the header X-KiloCode-OrganizationId (the Kilo CLI: "
    "KILO_ORG_ID, or choose the organization there), or use a key that is bound to it. To let the installation pay for "
    "requests of no organization, its operator sets HOSTED_WITHOUT_ORGANIZATION=1."
)

# All or nothing. The organization's row is locked first and read as it is then; a member's row is judged as it is when
# the insert meets it. Each limit lets the request pass that is not used up yet.
_RESERVE = Prepared(
    "kilo_reserve",
    """
WITH account AS MATERIALIZED (
    SELECT * FROM routing_hostedbalance WHERE organization_id = $1::uuid FOR NO KEY UPDATE
), passed AS (
    SELECT * FROM account AS a
    WHERE COALESCE(a.reserved_microdollars < a.balance_microdollars, TRUE)
      AND COALESCE(CASE WHEN a.day >= $4::date THEN a.day_spent_microdollars ELSE 0 END
                   + a.reserved_microdollars < a.day_limit_microdollars, TRUE)
      AND COALESCE(CASE WHEN a.month >= $5::date THEN a.month_spent_microdollars ELSE 0 END
                   + a.reserved_microdollars < a.month_limit_microdollars, TRUE)
), member AS (
    INSERT INTO routing_memberspending AS m (organization_id, user_id, reserved_microdollars)
    SELECT p.organization_id, $2::uuid, $3::bigint FROM passed AS p
    WHERE COALESCE(LEAST(p.member_day_limit_microdollars, p.member_month_limit_microdollars) > 0, TRUE)
       OR EXISTS (SELECT FROM routing_memberspending WHERE organization_id = $1::uuid AND user_id = $2::uuid)
    ON CONFLICT (organization_id, user_id) DO UPDATE
    SET reserved_microdollars = m.reserved_microdollars + excluded.reserved_microdollars
    WHERE COALESCE(CASE WHEN m.day >= $4::date THEN m.day_spent_microdollars ELSE 0 END + m.reserved_microdollars
                   < CASE WHEN m.has_own_limits THEN m.day_limit_microdollars
                          ELSE (SELECT member_day_limit_microdollars FROM passed) END, TRUE)
      AND COALESCE(CASE WHEN m.month >= $5::date THEN m.month_spent_microdollars ELSE 0 END + m.reserved_microdollars
                   < CASE WHEN m.has_own_limits THEN m.month_limit_microdollars
                          ELSE (SELECT member_month_limit_microdollars FROM passed) END, TRUE)
    RETURNING m.organization_id
), noted AS (
    INSERT INTO routing_spendingreservation (request_id, organization_id, user_id, amount_microdollars, expires_at)
    SELECT $6::uuid, organization_id, $2::uuid, $3::bigint, now() + $7::interval FROM member
)
UPDATE routing_hostedbalance AS b SET reserved_microdollars = b.reserved_microdollars + $3::bigint
FROM member WHERE b.organization_id = member.organization_id
RETURNING b.reserved_microdollars
""",
)


def check(
    caller: Caller,
    choice: ModelChoice,
    body: JsonBody,
    *,
    api_kind: ApiKind,
    request_id: UUID,
    at: datetime,
    catalog_snapshot_id: int,
) -> None:
    """Reserve what a request for a hosted model may cost, unless nothing limits it: a free model, no limit.

    When nothing but running requests stand in the way, it waits until those that have just ended have given back what
    they had reserved: about half a second at most.

    Raises:
        GatewayError: 402 `usage_limit_exceeded`, which says what is left of which limit, and when it begins anew; or
            that an organization has to be named, where the installation pays for nobody.
        psycopg.OperationalError: the database does not answer.
    """
    if choice.is_free:
        return
    if caller.organization_id is None:
        if not settings.HOSTED_WITHOUT_ORGANIZATION:
            raise GatewayError(ErrorType.USAGE_LIMIT_EXCEEDED, 402, _NOBODYS, code="organization_required")
        return
    if not caller.is_limited:
        return
    model = hosted_model(choice.id, catalog_snapshot_id)
    amount = largest_cost(
        pricing_of(choice.id, catalog_snapshot_id),
        body_bytes=len(body.encode()),
        output_tokens=usual_output_tokens(body.values, api_kind, model),
        context_length=model.context_length if model else None,
    )
    found: Allowance | None = None
    for attempt in range(TRIES):
        if attempt:
            release_expired(caller.organization_id)
            time.sleep(PAUSE_SECONDS)
        if reserve(caller.organization_id, caller.user_id, request_id, amount, at):
            return
        found = used_up(allowances_of(caller.organization_id, caller.user_id, at))
        # Whoever waits, or is sent away, needs none.
        release_connection()
        if found is not None and found.is_spent:
            break
    if found is None:
        raise temporarily_unavailable("The spending limits are changing at the moment. Try again.", code="spending")
    raise limit_exceeded(found, at)


def expected(choice: ModelChoice, api_kind: ApiKind, body: JsonBody, content: bytes, snapshot_id: int) -> Expected:
    """What a hosted request will take, for the case that its upstream does not tell.

    Args:
        content: The body as it goes upstream.
        snapshot_id: Of the catalog.
    """
    model = hosted_model(choice.id, snapshot_id)
    return Expected(
        estimated_input(content, model.context_length if model else None),
        most_output_tokens(body.values, api_kind, model),
    )


def reserve(organization_id: UUID, user_id: UUID, request_id: UUID, microdollars: int, at: datetime) -> bool:
    """Reserve an amount for a request, if no limit is used up; whether it was. One statement.

    Raises:
        psycopg.Error: the database did not take it.
    """
    parameters = (
        organization_id,
        user_id,
        microdollars,
        Period.DAY.start(at),
        Period.MONTH.start(at),
        request_id,
        f"{RESERVATION_SECONDS} seconds",
    )
    return _RESERVE.fetch_row([str(parameter).encode() for parameter in parameters]) is not None


def limit_exceeded(allowance: Allowance, at: datetime) -> GatewayError:
    """402 that says which limit it is and what is left of it; `Retry-After` says when there will be more, if ever."""
    if not allowance.is_spent:
        message = (
            f"{_name(allowance)} has {dollars(allowance.left)} left, which running requests may need. "
            "Try again when they have ended."
        )
        return _usage_limit_exceeded(message, RETRY_AFTER_SECONDS)
    others_work = "Free models and the organization's own provider keys still work."
    if allowance.period is None:
        return _usage_limit_exceeded(f"{_name(allowance)} is used up. {others_work}")
    reset_at = allowance.period.reset_at(at)
    message = f"{_name(allowance)} is used up until {reset_at:%Y-%m-%d %H:%M} UTC. {others_work}"
    return _usage_limit_exceeded(message, math.ceil((reset_at - at).total_seconds()))


def _usage_limit_exceeded(message: str, retry_after_seconds: int | None = None) -> GatewayError:
    headers = {} if retry_after_seconds is None else {"Retry-After": str(retry_after_seconds)}
    return GatewayError(ErrorType.USAGE_LIMIT_EXCEEDED, 402, message, headers=headers)


def _name(allowance: Allowance) -> str:
    if allowance.scope is Scope.BALANCE or allowance.period is None:
        return "The organization's balance for hosted models"
    whose = "Your" if allowance.scope is Scope.MEMBER else "The organization's"
    return f"{whose} limit of {dollars(allowance.limit)} a {allowance.period.value} for hosted models"
