"""Why a change of routing is refused, as errors with a stable code."""

from __future__ import annotations

from kilo_gateway.api_errors import GatewayError
from organizations.refusals import (
    changed_meanwhile,
    conflict,
    invalid,
    invalid_fields,
    moved_on,
    plan_required,
    role_required,
)
from routing.domain.types import Refusal

__all__ = [
    "changed_meanwhile",
    "conflict",
    "invalid",
    "invalid_fields",
    "invalid_target",
    "moved_on",
    "plan_required",
    "role_required",
]


def invalid_target(field: str, refusal: Refusal, *, slug: str = "") -> GatewayError:
    """400: a target that the rules refuse, in the words of the rule; `slug` names the route when the field does not."""
    message = f'Route "{slug}": {refusal.message}' if slug else refusal.message
    return invalid(field, message, code=refusal.code.value)
