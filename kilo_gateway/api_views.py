"""The base of the endpoints that clients read."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, NoReturn

from django.http import HttpResponseBase
from rest_framework.negotiation import BaseContentNegotiation
from rest_framework.parsers import BaseParser
from rest_framework.renderers import BaseRenderer
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from kilo_gateway.api_errors import authentication_required


class AlwaysJson(BaseContentNegotiation):
    """JSON, whatever the request's `Accept` says: agents send all sorts of things there and can read nothing else."""

    def select_parser(self, request: Request, parsers: Sequence[BaseParser]) -> BaseParser:
        return parsers[0]

    def select_renderer(
        self, request: Request, renderers: Sequence[BaseRenderer], format_suffix: str | None = None
    ) -> tuple[BaseRenderer, str]:
        return renderers[0], renderers[0].media_type


class ReadView(APIView):
    """An endpoint that only tells: GET and HEAD with a key, OPTIONS says just that, nothing is cached on the way."""

    http_method_names: ClassVar[list[str]] = ["get", "head", "options"]
    content_negotiation_class = AlwaysJson

    def permission_denied(self, request: Request, message: str | None = None, code: str | None = None) -> NoReturn:
        if not request.user:
            raise authentication_required()
        super().permission_denied(request, message, code)

    def options(self, request: Request, *args: Any, **kwargs: Any) -> Response:
        """The methods are in the header `Allow`; DRF's own answer would also describe the view's code."""
        return Response(status=204)

    def finalize_response(
        self, request: Request, response: HttpResponseBase, *args: Any, **kwargs: Any
    ) -> HttpResponseBase:
        final: HttpResponseBase = super().finalize_response(request, response, *args, **kwargs)
        final.setdefault("Cache-Control", "private, no-store")
        return final
