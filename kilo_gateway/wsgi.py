"""The WSGI application: model requests go a short way, everything else goes Django's usual one."""

from __future__ import annotations

import gc
import os
from collections.abc import Iterable
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse

from kilo_gateway.memory import share_one_arena

# Before anything starts a thread.
share_one_arena()
os.environ.setdefault("DJANGO_SETTINGS_MODULE", "kilo_gateway.settings")

from django.core.wsgi import get_wsgi_application

_pages = get_wsgi_application()

from django.core.handlers.wsgi import WSGIRequest, get_path_info
from django.http import HttpResponse
from django.urls import is_valid_path

from kilo_gateway.api_errors import ErrorType, GatewayError, outer_error_response
from kilo_gateway.error_pages import is_of_the_api
from routing.catalog.background import start_background_sync
from routing.proxy.reply import Reply
from routing.proxy.urls import PROXY_VIEWS
from routing.telemetry import start_sampling
from routing.usage.background import start_background_pruning

start_background_sync()
start_background_pruning()
start_sampling()

# What is loaded by now stays: the collector need not look at it again and again. What a request leaves behind is freed
# by reference counts, so cycles can wait for longer than the default of a few hundred objects.
gc.collect()
gc.freeze()
gc.set_threshold(20_000, 20, 50)


class Request(WSGIRequest):
    """A request whose `Content-Type` may be anything: one that cannot be parsed counts as none, and is no failure."""

    def _set_content_type_params(self, meta: dict[str, Any]) -> None:
        try:
            super()._set_content_type_params(meta)  # type: ignore[misc]  # the stubs leave it out
        except (TypeError, ValueError):
            self.content_type, self.content_params = "", {}


_pages.request_class = Request

_STATUS_LINES = {status.value: f"{status.value} {status.phrase}" for status in HTTPStatus}


class ModelRequest(Request):
    """A request to one of the proxy's views, which look at its environment and at nothing that is made from that."""

    def __init__(self, environ: dict[str, Any]) -> None:
        self.environ = self.META = environ
        self.method = environ["REQUEST_METHOD"].upper()


def application(environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
    """Serve one request.

    The proxy's views are called without middleware, resolver and signals: they need no session, no cookie and no
    browser's protection, and they close what they open themselves.
    """
    view = PROXY_VIEWS.get(environ["PATH_INFO"])
    if view is not None:
        answer = view(ModelRequest(environ))
    elif (unknown := _unknown_api_address(environ)) is not None:
        answer = unknown
    else:
        return _pages(environ, start_response)
    if not isinstance(answer, Reply):
        answer = Reply(answer.status_code, answer.headers, [answer.content])
    status = _STATUS_LINES.get(answer.status) or f"{answer.status} Unknown"
    start_response(status, list(answer.headers.items()))
    return answer.body


def _unknown_api_address(environ: dict[str, Any]) -> HttpResponse | None:
    """404 as clients of the API read it: Django's own is a page for people."""
    path = get_path_info(environ)
    if not is_of_the_api(path) or is_valid_path(path):
        return None
    error = GatewayError(ErrorType.NOT_FOUND, 404, "There is no such address in this API.")
    return outer_error_response(error, anthropic="/messages" in path)
