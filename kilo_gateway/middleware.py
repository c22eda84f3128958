"""Middleware of the pages and the management API; the proxy path has none."""

from __future__ import annotations

import uuid
from collections.abc import Callable

from django.http import HttpRequest, HttpResponseBase

from kilo_gateway import logs


class RequestIdMiddleware:
    """Gives each request an id, which its log lines and its answer (`x-request-id`) carry."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        token = logs.request_id.set(str(uuid.uuid4()))
        try:
            response = self.get_response(request)
            response.setdefault("x-request-id", logs.request_id.get())
            return response
        finally:
            logs.request_id.reset(token)
