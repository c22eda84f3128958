"""The proxy endpoints as DRF views without the parts of DRF that they do not use."""

from __future__ import annotations

from typing import Any, ClassVar

from django.http import HttpRequest, HttpResponse
from drf_spectacular.utils import extend_schema_view
from rest_framework.views import APIView

from kilo_gateway.api_errors import method_not_allowed, outer_error_response
from kilo_gateway.api_kinds import ApiKind
from routing.proxy.exchange import Exchange
from routing.proxy.reply import Reply
from routing.schema import proxied


class ProxyView(APIView):
    """Base of the three: authentication, parsing and errors are the exchange's, so DRF's own do not run.

    DRF negotiates a content type, authenticates, throttles, parses and renders for each request by default; that work
    costs more than the rest of the path and its results would go unused. What is left of it is the API's description.
    """

    api_kind: ClassVar[ApiKind]
    authentication_classes = ()
    permission_classes = ()
    # OPTIONS is none of them: no browser calls this API from another origin.
    http_method_names: list[str] = ["post"]

    def dispatch(self, request: HttpRequest, *args: Any, **kwargs: Any) -> Any:
        """Straight to the exchange, which answers for itself whatever happens."""
        if request.method == "POST":
            return self.post(request)
        return outer_error_response(method_not_allowed("POST"), anthropic=self.api_kind is ApiKind.MESSAGES)

    def post(self, request: HttpRequest) -> Reply | HttpResponse:
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
