"""Errors as pages for people. They read no database and no session, because those may be what failed.

Addresses of the API get their JSON here too, and HTMX a toast instead of a page in the middle of another one.
"""

from __future__ import annotations

import json
import sys
from typing import Any, Final

from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse
from django.template.loader import render_to_string

from kilo_gateway import logs
from kilo_gateway.api_errors import ErrorType, GatewayError, as_gateway_error, error_response

# Title and what to do, by status; others are told as their class is.
WORDS: Final = {
    400: ("This request cannot be read", "The address or the form has something in it that does not belong there."),
    403: ("You may not see this", "Ask an owner or an admin of the organization if you need it."),
    404: (
        "There is nothing here",
        "The address is wrong, what was here is gone, or it belongs to an organization that you are not a member of.",
    ),
    405: ("That is not how this page works", "It does not take what was sent to it."),
    500: (
        "Something went wrong",
        "It is not your doing, and it was noted. Try again; if it stays, tell your operator.",
    ),
    503: (
        "The gateway is not ready",
        "It cannot reach its database at the moment. Nothing was changed; try again soon.",
    ),
}
CSRF_WORDS: Final = (
    "This form is out of date",
    (
        "Its protection against forgery does not fit your session any more, so nothing was changed. Go back, load the "
        "page again and repeat it. If that does not help, allow cookies for this site."
    ),
)


def is_of_the_api(path: str) -> bool:
    """Whether programs read what is there."""
    return path == "/api" or path.startswith("/api/")


def error_page(
    request: HttpRequest,
    error: GatewayError,
    *,
    words: tuple[str, str] | None = None,
    page: object | None = None,
) -> HttpResponse:
    """The answer to a request of a browser for an error of ours.

    Args:
        page: The page that the person was at, which keeps its frame around the error.
    """
    if is_of_the_api(request.path):
        return error_response(error)
    title, advice = words or WORDS.get(error.status) or WORDS[500 if error.status >= 500 else 400]
    headers = {**error.headers, "Cache-Control": "no-store"}
    if request.headers.get("HX-Request") == "true":
        text = error.message if error.status in {403, 409} and words is None else f"{title}. {advice}"
        headers |= {"HX-Reswap": "none", "HX-Trigger": json.dumps({"toast": {"text": text, "tone": "error"}})}
        return HttpResponse(status=error.status, headers=headers)
    context: dict[str, Any] = {
        "status": error.status,
        "title": title,
        "advice": advice,
        "reason": error.message if error.status == 403 and words is None else "",
        "request_id": logs.request_id.get(),
    }
    if page is not None:
        context["page"] = page
        content = render_to_string("forbidden.html", context, request)
    else:
        content = render_to_string("error.html", context)
    return HttpResponse(content, status=error.status, headers=headers)


def bad_request(request: HttpRequest, exception: Exception) -> HttpResponse:
    """400: what Django finds wrong with a request before a view sees it."""
    return error_page(request, GatewayError(ErrorType.INVALID_REQUEST, 400, "The request is not valid."))


def forbidden(request: HttpRequest, exception: Exception) -> HttpResponse:
    """403."""
    return error_page(request, as_gateway_error(PermissionDenied()))


def not_found(request: HttpRequest, exception: Exception) -> HttpResponse:
    """404: no such address, or nothing there for this person."""
    return error_page(request, as_gateway_error(Http404()))


def server_error(request: HttpRequest) -> HttpResponse:
    """500, or 503 when the database does not answer. It is logged here, with its request id."""
    error = sys.exc_info()[1]
    return error_page(request, as_gateway_error(error if isinstance(error, Exception) else RuntimeError("unknown")))


def csrf_failure(request: HttpRequest, reason: str = "") -> HttpResponse:
    """403: a form without the token that belongs to its session."""
    error = GatewayError(ErrorType.ACCESS_DENIED, 403, "The CSRF token is missing or wrong.", code="csrf_failed")
    return error_page(request, error, words=CSRF_WORDS)
