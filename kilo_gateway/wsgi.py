"""The WSGI application: model requests go a short way, everything else goes Django's usual one."""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "kilo_gateway.settings")

from django.core.wsgi import get_wsgi_application

_pages = get_wsgi_application()

from django.core.handlers.wsgi import WSGIRequest
from django.http import HttpResponseBase, StreamingHttpResponse

from routing.catalog.background import start_background_sync
from routing.proxy.urls import PROXY_VIEWS

start_background_sync()



def application(environ: dict[str, Any], start_response: StartResponse) -> Iterable[bytes]:
    """Serve one request.

    The proxy's views are called without middleware, resolver and signals: they need no session, no cookie and no
    browser's protection, and they close what they open themselves.
    """
    view = PROXY_VIEWS.get(environ["PATH_INFO"])
    if view is None:
        return _pages(environ, start_response)
    response: HttpResponseBase = view(WSGIRequest(environ))
    start_response(f"{response.status_code} {response.reason_phrase}", [(k, str(v)) for k, v in response.items()])
    if isinstance(response, StreamingHttpResponse):
        return response
    return [response.content]  # type: ignore[attr-defined]  # every other response has content
