"""Middleware of the pages and the management API; the proxy path has none."""

from __future__ import annotations

import uuid
from collections.abc import Callable

from django.conf import settings
from django.http import HttpRequest, HttpResponseBase, HttpResponsePermanentRedirect
from django.middleware.common import CommonMiddleware

from kilo_gateway import logs
from kilo_gateway.api_errors import ErrorType, GatewayError, error_response
from kilo_gateway.error_pages import is_of_the_api


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


class ApiOverHttpsMiddleware:
    """Refuses requests of the API over plain http, where people's browsers are led to https."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        if settings.SECURE_SSL_REDIRECT and is_of_the_api(request.path) and not request.is_secure():
            message = f"Only over https: use {settings.BASE_URL}. A key that was sent like this should be replaced."
            return error_response(GatewayError(ErrorType.ACCESS_DENIED, 403, message, code="https_required"))
        return self.get_response(request)


class HostCheckMiddleware(CommonMiddleware):
    """Refuses hosts that are not allowed; a load balancer asks for `/healthz` and `/readyz` by an address instead."""

    def process_request(self, request: HttpRequest) -> HttpResponsePermanentRedirect | None:
        return None if request.path in {"/healthz", "/readyz"} else super().process_request(request)
