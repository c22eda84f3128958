"""The description of the API: as an OpenAPI document for programs, and as a page. Neither knows of any tenant."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, wraps
from typing import Final

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from drf_spectacular.generators import SchemaGenerator
from drf_spectacular.renderers import OpenApiJsonRenderer

from kilo_gateway.api_errors import error_response, method_not_allowed

MEDIA_TYPE: Final = "application/vnd.oai.openapi+json"

View = Callable[[HttpRequest], HttpResponse]


def _only_read(view: View) -> View:
    @wraps(view)
    def reading(request: HttpRequest) -> HttpResponse:
        if request.method not in {"GET", "HEAD"}:
            return error_response(method_not_allowed("GET", "HEAD"))
        return view(request)

    return reading


@_only_read
def schema(request: HttpRequest) -> HttpResponse:
    """The OpenAPI document. The same for everybody."""
    return HttpResponse(_document(), content_type=MEDIA_TYPE, headers={"Cache-Control": "public, max-age=300"})


@cache
def _document() -> bytes:
    """Made once for a process: it takes a good part of a second."""
    made = SchemaGenerator().get_schema(request=None, public=True)  # type: ignore[no-untyped-call]
    return bytes(OpenApiJsonRenderer().render(made, renderer_context={}))


@_only_read
def page(request: HttpRequest) -> HttpResponse:
    """The document to read and to try out, with Swagger UI from this host."""
    return render(request, "api_docs.html")
