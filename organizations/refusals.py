"""Why a change is refused, as errors with a stable code."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from kilo_gateway.api_errors import ErrorType, GatewayError


def role_required(message: str) -> GatewayError:
    """403: this person's role does not allow it."""
    return GatewayError(ErrorType.ACCESS_DENIED, 403, message, code="role_required")


def plan_required() -> GatewayError:
    """403: the organization's plan does not include it."""
    return GatewayError(ErrorType.ACCESS_DENIED, 403, "This needs the enterprise plan.", code="plan_required")


def invalid(field: str, message: str, *, code: str = "invalid", **details: Any) -> GatewayError:
    """400: one field has no valid value."""
    return GatewayError(
        ErrorType.INVALID_REQUEST, 400, message, code=code, details={"fields": {field: [message]}, **details}
    )


def invalid_fields(fields: Mapping[str, Sequence[str]]) -> GatewayError:
    """400: several fields have no valid value; the message is the first of them."""
    name, messages = next(iter(fields.items()))
    told = {field: list(texts) for field, texts in fields.items()}
    return GatewayError(
        ErrorType.INVALID_REQUEST, 400, f"{name}: {messages[0]}", code="invalid", details={"fields": told}
    )


def conflict(message: str, *, code: str) -> GatewayError:
    """409: the current state does not allow it."""
    return GatewayError(ErrorType.CONFLICT, 409, message, code=code)


def moved_on(expected: int, current: int) -> GatewayError:
    """412: somebody else changed the organization after the caller had read it."""
    return GatewayError(
        ErrorType.PRECONDITION_FAILED,
        412,
        f"The organization is at routing version {current}, no longer at {expected}. Read it again, then decide.",
        code="routing_version_moved",
        details={"routing_version": current},
    )


def changed_meanwhile(what: str, routing_version: int) -> GatewayError:
    """412: somebody else changed this one thing after the caller had read it; the routing version may be the same."""
    return GatewayError(
        ErrorType.PRECONDITION_FAILED,
        412,
        f"{what} was changed meanwhile. Read it again, then decide.",
        code="changed_meanwhile",
        details={"routing_version": routing_version},
    )
