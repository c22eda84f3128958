"""The proxy endpoints as DRF views without the parts of DRF that they do not use."""

from __future__ import annotations

from typing import Any, ClassVar, NoReturn

from django.http import HttpRequest, HttpResponse
from drf_spectacular.utils import extend_schema_view
from rest_framework.request import Request
from rest_framework.views import APIView

from kilo_gateway.api_errors import as_gateway_error, method_not_allowed, outer_error_response
from kilo_gateway.api_kinds import ApiKind
from routing.proxy.exchange import Exchange
from routing.proxy.reply import Reply
from routing.schema import proxied


class ProxyView(APIView):
    """Base of the three: authentication, parsing and errors are the exchange's, so DRF's own do not run.

    DRF negotiates a content type, authenticates, throttles, parses and renders for each request by default; that work
    costs more than the rest of the path and its results would go unused.
    """

    api_kind: ClassVar[ApiKind]
    authentication_classes = ()
    permission_classes = ()
    # OPTIONS is none of them: no browser calls this API from another origin.
    http_method_names: list[str] = ["post"]
    # What DRF would work out for each answer: `Allow` stands in the one refusal that needs it.
    default_response_headers: ClassVar[dict[str, str]] = {}

    def initialize_request(self, request: HttpRequest, *args: Any, **kwargs: Any) -> Request:
        return Request(request)

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        return

    def finalize_response(self, request: Request, response: Any, *args: Any, **kwargs: Any) -> Any:
        return response

    def http_method_not_allowed(self, request: HttpRequest, *args: Any, **kwargs: Any) -> NoReturn:
        raise method_not_allowed("POST")

    def handle_exception(self, exc: Exception) -> Any:
        """Only what is raised before the exchange begins, such as 405; the exchange answers for itself."""
        return outer_error_response(as_gateway_error(exc), anthropic=self.api_kind is ApiKind.MESSAGES)

    def post(self, request: Request) -> Reply | HttpResponse:
        """Resolve the model, check the request, and answer with what the upstream answers, in the same format.

        Not described here: the formats themselves, which are OpenAI's and Anthropic's. `kilo-auto/org` is the model
        that the organization decided on for the mode; `kilo-auto/org:<mode>` names the mode in the model.
        """
        return Exchange(request.META, self.api_kind).run()


@extend_schema_view(post=proxied("Chat completions"))
class ChatCompletionsView(ProxyView):
    """OpenAI chat completions."""

    api_kind = ApiKind.CHAT_COMPLETIONS


@extend_schema_view(post=proxied("Responses"))
class ResponsesView(ProxyView):
    """OpenAI responses, stateless."""

    api_kind = ApiKind.RESPONSES


@extend_schema_view(post=proxied("Messages"))
class MessagesView(ProxyView):
    """Anthropic messages."""

    api_kind = ApiKind.MESSAGES
