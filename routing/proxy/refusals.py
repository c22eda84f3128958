"""Refusals of resolution as errors that clients see."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from byok.providers import Provider
from kilo_gateway.api_errors import ErrorType, GatewayError, temporarily_unavailable
from routing.direct import unusable_header, unusable_key
from routing.domain.resolve import Decision
from routing.domain.types import Refusal, RefusalCode
from routing.proxy.outgoing import UnusableHeaderError

# For a model that the client named itself. Inside Organization Auto it is always the organization's configuration.
_ASKED_FOR: Final[Mapping[RefusalCode, tuple[ErrorType, int]]] = {
    RefusalCode.NO_CREDENTIAL: (ErrorType.BYOK_KEY_REQUIRED, 400),
    RefusalCode.API_KIND_NOT_SUPPORTED: (ErrorType.API_KIND_NOT_SUPPORTED, 400),
    RefusalCode.MODEL_DENIED: (ErrorType.MODEL_NOT_ALLOWED, 404),
    RefusalCode.PROVIDER_NOT_ALLOWED: (ErrorType.MODEL_NOT_ALLOWED, 404),
    RefusalCode.ROUTER_UNDER_POLICY: (ErrorType.MODEL_NOT_ALLOWED, 404),
    RefusalCode.MALFORMED_SETTINGS: (ErrorType.MODEL_NOT_ALLOWED, 404),
}


def refusal_error(decision: Decision, refusal: Refusal) -> GatewayError:
    """The error for a refused decision; its code is the refusal's own, which is stable."""
    if refusal.code is RefusalCode.NO_FREE_MODELS:
        return GatewayError(
            ErrorType.NO_FREE_MODELS_AVAILABLE, 503, refusal.message, code=refusal.code, headers={"Retry-After": "60"}
        )
    if decision.asked.is_organization_auto:
        return GatewayError(ErrorType.ORGANIZATION_AUTO_CONFIGURATION, 400, refusal.message, code=refusal.code)
    if refusal.code in {RefusalCode.CATALOG_UNAVAILABLE, RefusalCode.TIER_UNDEFINED}:
        return temporarily_unavailable(refusal.message, code=refusal.code)
    error_type, status = _ASKED_FOR.get(refusal.code, (ErrorType.MODEL_NOT_FOUND, 404))
    return GatewayError(error_type, status, refusal.message, code=refusal.code)


def unusable_error(decision: Decision, provider: Provider, problem: Exception) -> GatewayError:
    """The error for a stored key, or a stored header of a provider, that cannot be opened or sent."""
    found = unusable_header(provider) if isinstance(problem, UnusableHeaderError) else unusable_key(provider)
    inside = decision.asked.is_organization_auto
    error_type = ErrorType.ORGANIZATION_AUTO_CONFIGURATION if inside else ErrorType.BYOK_KEY_REQUIRED
    return GatewayError(error_type, 400, found.message, code=found.code)
