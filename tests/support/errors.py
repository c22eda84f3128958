"""What every error of the gateway looks like, whoever finds it."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from typing import Any

from kilo_gateway.api_errors import ErrorType

ANTHROPIC_TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    405: "invalid_request_error",
    413: "request_too_large",
    429: "rate_limit_error",
    500: "api_error",
    503: "overloaded_error",
    504: "timeout_error",
}


def check_error(status: int, headers: Mapping[str, str], body: Any, path: str) -> str:
    """Fail unless this is an error answer of ours for that path; its `error_type`.

    Args:
        headers: With names in lower case.
    """
    assert headers["content-type"] == "application/json"
    uuid.UUID(headers["x-request-id"])
    error_type = body["error_type"]
    assert error_type in set(ErrorType)
    error = body["error"]
    assert set(error) == {"message", "type", "code"}
    assert body["message"] == error["message"] != ""
    assert error["code"]
    if "/messages" in path:
        assert set(body) == {"type", "error", "error_type", "message"}
        assert body["type"] == "error"
        assert error["type"] == ANTHROPIC_TYPES[status]
        assert headers["request-id"] == headers["x-request-id"]
    else:
        assert set(body) == {"error", "error_type", "message"}
        assert error["type"] == error_type
    if status == 401:
        assert headers["www-authenticate"].startswith("Bearer")
    if status == 405:
        assert headers["allow"] == "POST"
    if status in {429, 503}:
        assert int(headers["retry-after"]) > 0
    return str(error_type)
