"""The base of the endpoints that clients read."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NoReturn

from django.http import HttpRequest
from rest_framework.negotiation import BaseContentNegotiation
from rest_framework.parsers import BaseParser
from rest_framework.renderers import BaseRenderer
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from kilo_gateway.api_errors import authentication_required


class AlwaysJson(BaseContentNegotiation):
    """JSON, whatever the request's `Accept` says: agents send all sorts of things there and can read nothing else."""

    def select_parser(self, request: Request, parsers: Iterable[BaseParser]) -> BaseParser:
        return next(iter(parsers))

    def select_renderer(
        self, request: Request, renderers: Iterable[BaseRenderer], format_suffix: str | None = None
    ) -> tuple[BaseRenderer, str]:
        renderer = next(iter(renderers))
        return renderer, str(renderer.media_type)


class ApiView(APIView):
    """An endpoint for programs: JSON in and out, nothing is kept on the way, OPTIONS says which methods there are."""

    content_negotiation_class = AlwaysJson

    def permission_denied(self, request: Request, message: str | None = None, code: str | None = None) -> NoReturn:
        if not request.user:
            raise authentication_required()
        super().permission_denied(request, message, code)

    def options(self, request: HttpRequest, *args: Any, **kwargs: Any) -> Response:
        """The methods are in the header `Allow`; DRF's own answer would also describe the view's code."""
        return Response(status=204)

    def finalize_response(self, request: Request, response: Response, *args: Any, **kwargs: Any) -> Response:
        final = super().finalize_response(request, response, *args, **kwargs)
        final.setdefault("Cache-Control", "private, no-store")
        final.setdefault("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'")
        return final


class ReadView(ApiView):
    """An endpoint that only tells: GET and HEAD with a key."""

    http_method_names: list[str] = ["get", "head", "options"]
