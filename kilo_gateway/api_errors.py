"""Errors as clients see them: one closed set of types, one body, one place that makes it."""

from __future__ import annotations

import json
import logging
import math
import uuid
from collections.abc import Mapping
from enum import StrEnum
from http import HTTPStatus
from typing import Any

import psycopg
from django.core.exceptions import PermissionDenied
from django.db import InterfaceError, OperationalError
from django.http import Http404, HttpResponse
from rest_framework import exceptions
from rest_framework.settings import api_settings

from kilo_gateway import logs

log = logging.getLogger(__name__)


class ErrorType(StrEnum):
    """Every `error_type` that the gateway answers with or keeps in its records; `docs/api-errors.md` explains each."""

    AUTHENTICATION_REQUIRED = "authentication_required"
    INVALID_TOKEN = "invalid_token"  # noqa: S105 - a name, not a secret
    ACCESS_DENIED = "access_denied"
    NOT_FOUND = "not_found"
    METHOD_NOT_ALLOWED = "method_not_allowed"
    CONFLICT = "conflict"
    PRECONDITION_FAILED = "precondition_failed"
    REQUEST_TOO_LARGE = "request_too_large"
    RATE_LIMITED = "rate_limited"
    INVALID_REQUEST = "invalid_request"
    INVALID_ORGANIZATION_ID = "invalid_organization_id"
    UNSUPPORTED_FIELD = "unsupported_field"
    MODEL_NOT_FOUND = "model_not_found"
    MODEL_NOT_ALLOWED = "model_not_allowed"
    API_KIND_NOT_SUPPORTED = "api_kind_not_supported"
    ORGANIZATION_AUTO_CONFIGURATION = "organization_auto_configuration"
    BYOK_KEY_REQUIRED = "byok_key_required"
    BYOK_ERROR = "byok_error"
    USAGE_LIMIT_EXCEEDED = "usage_limit_exceeded"
    NO_FREE_MODELS_AVAILABLE = "no_free_models_available"
    TEMPORARILY_UNAVAILABLE = "temporarily_unavailable"
    UPSTREAM_TIMEOUT = "upstream_timeout"
    # The upstream's own error, which passes through, and an answer that ends in its middle: there is no body of ours.
    UPSTREAM_ERROR = "upstream_error"
    UPSTREAM_BROKE = "upstream_broke"
    INTERNAL_ERROR = "internal_error"


class GatewayError(Exception):
    """An answer of ours that is not a success. The message is for a person and safe to show.

    Args:
        code: What exactly went wrong within the type; the type itself when that says it all.
        details: More keys for `error` in the body, for example `fields` with what is wrong by field.
    """

    def __init__(
        self,
        error_type: ErrorType,
        status: int,
        message: str,
        *,
        code: str = "",
        headers: Mapping[str, str] | None = None,
        details: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(message)
        self.error_type = error_type
        self.status = status
        self.message = message
        self.code = code or error_type.value
        self.headers = dict(headers or {})
        self.details = dict(details or {})


# What Anthropic's clients expect in `error.type`, by status:
# https://docs.anthropic.com/en/api/errors
_ANTHROPIC_TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    503: "overloaded_error",
    504: "timeout_error",
}


def error_body(error: GatewayError, *, anthropic: bool = False) -> dict[str, Any]:
    """The JSON body of an error; for the messages API with the keys that Anthropic's clients read as well."""
    detail = {"message": error.message, "type": error.error_type.value, "code": error.code, **error.details}
    body: dict[str, Any] = {"error": detail, "error_type": error.error_type.value, "message": error.message}
    if anthropic:
        detail["type"] = _ANTHROPIC_TYPES.get(
            error.status, "api_error" if error.status >= 500 else "invalid_request_error"
        )
        body["type"] = "error"
    return body


def error_response(error: GatewayError, *, anthropic: bool = False) -> HttpResponse:
    """The answer for an error, with its headers."""
    content = json.dumps(error_body(error, anthropic=anthropic))
    return HttpResponse(content, status=error.status, content_type="application/json", headers=error.headers)


def outer_error_response(error: GatewayError, *, anthropic: bool = False) -> HttpResponse:
    """The answer for an error outside of middleware and of the proxy's exchange, with a request id of its own."""
    response = error_response(error, anthropic=anthropic)
    for name in ("x-request-id", "request-id") if anthropic else ("x-request-id",):
        response.headers[name] = response.headers.get("x-request-id") or str(uuid.uuid4())
    return response


def authentication_required() -> GatewayError:
    """Nothing was presented that could be a credential."""
    return GatewayError(
        ErrorType.AUTHENTICATION_REQUIRED,
        401,
        "An API key is required: send it as 'Authorization: Bearer <key>'.",
        headers={"WWW-Authenticate": "Bearer"},
    )


def invalid_token() -> GatewayError:
    """A key was presented that is unknown, revoked or expired; the answer does not say which."""
    return GatewayError(
        ErrorType.INVALID_TOKEN,
        401,
        "The API key is not valid: it is unknown, revoked or expired.",
        code="INVALID_TOKEN",
        headers={"WWW-Authenticate": 'Bearer error="invalid_token"'},
    )


def method_not_allowed(*allowed: str) -> GatewayError:
    """The address is right and the method is not."""
    methods = ", ".join(allowed)
    return GatewayError(
        ErrorType.METHOD_NOT_ALLOWED, 405, f"Only {methods} is possible here.", headers={"Allow": methods}
    )


def temporarily_unavailable(message: str, *, code: str = "", retry_after_seconds: int = 5) -> GatewayError:
    """Something that the gateway needs does not answer; the client may try again."""
    return GatewayError(
        ErrorType.TEMPORARILY_UNAVAILABLE,
        503,
        message,
        code=code,
        headers={"Retry-After": str(retry_after_seconds)},
    )


_BY_STATUS = {
    400: ErrorType.INVALID_REQUEST,
    401: ErrorType.AUTHENTICATION_REQUIRED,
    403: ErrorType.ACCESS_DENIED,
    404: ErrorType.NOT_FOUND,
    405: ErrorType.METHOD_NOT_ALLOWED,
    409: ErrorType.CONFLICT,
    413: ErrorType.REQUEST_TOO_LARGE,
    429: ErrorType.RATE_LIMITED,
}


def as_gateway_error(error: Exception) -> GatewayError:
    """Any exception of a view as an error of ours; one that nobody expected is logged and shown as nothing but that."""
    if isinstance(error, GatewayError):
        return error
    if isinstance(error, Http404):
        return GatewayError(ErrorType.NOT_FOUND, 404, "Not found.")
    if isinstance(error, PermissionDenied):
        return GatewayError(ErrorType.ACCESS_DENIED, 403, "You may not do this.")
    if isinstance(error, exceptions.ValidationError):
        return _validation_error(error)
    if isinstance(error, exceptions.APIException):
        error_type = _BY_STATUS.get(error.status_code, ErrorType.INVALID_REQUEST)
        return GatewayError(error_type, error.status_code, _sentence(error), headers=_headers(error))
    if isinstance(error, (OperationalError, InterfaceError, psycopg.OperationalError, psycopg.InterfaceError)):
        log.error("The database does not answer: %s", type(error).__name__)
        return temporarily_unavailable("The gateway's database does not answer. Try again shortly.", code="database")
    log.error("Unexpected error", exc_info=error)
    status = HTTPStatus.INTERNAL_SERVER_ERROR
    return GatewayError(
        ErrorType.INTERNAL_ERROR, status, f"Something went wrong in the gateway. Request id: {logs.request_id.get()}"
    )


def _validation_error(error: exceptions.ValidationError) -> GatewayError:
    """400 with what is wrong by field; the message is the first of it."""
    fields = _by_field(error.detail)
    name, messages = next(iter(fields.items()), ("body", ["It is not valid."]))
    message = f"{name}: {messages[0]}"
    return GatewayError(ErrorType.INVALID_REQUEST, 400, message, code="invalid", details={"fields": fields})


def _by_field(detail: Any, path: str = "") -> dict[str, list[str]]:
    """DRF's nested details with the path of each field as its name; what is about the whole is about the body."""
    if isinstance(detail, Mapping):
        found: dict[str, list[str]] = {}
        for name, inner in detail.items():
            parts = [path] if name == api_settings.NON_FIELD_ERRORS_KEY else [path, str(name)]
            found |= _by_field(inner, ".".join(filter(None, parts)))
        return found
    return {path or "body": [str(message) for message in (detail if isinstance(detail, list) else [detail])]}


def _headers(error: exceptions.APIException) -> dict[str, str]:
    """What DRF notes on its exceptions for the answer's head."""
    headers = {}
    if challenge := getattr(error, "auth_header", None):
        headers["WWW-Authenticate"] = str(challenge)
    if wait := getattr(error, "wait", None):
        headers["Retry-After"] = str(math.ceil(wait))
    return headers


def _sentence(error: exceptions.APIException) -> str:
    detail = error.detail
    return detail if isinstance(detail, str) else json.dumps(detail, default=str)


def exception_handler(error: Exception, context: dict[str, Any]) -> HttpResponse:
    """DRF's hook: every error of an API view in our body."""
    return error_response(as_gateway_error(error))
