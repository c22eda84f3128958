"""The paths of the proxy: four prefixes that mean the same, three APIs."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any

from django.http import HttpResponse, HttpResponseBase, StreamingHttpResponse
from django.urls import path

from routing.proxy.reply import Reply
from routing.proxy.views import ChatCompletionsView, MessagesView, ResponsesView

PREFIXES = ("api/openrouter", "api/openrouter/v1", "api/gateway", "api/gateway/v1")

View = Callable[..., Reply | HttpResponse]

_VIEWS: dict[str, View] = {
    "chat/completions": ChatCompletionsView.as_view(),
    "responses": ResponsesView.as_view(),
    "messages": MessagesView.as_view(),
}

# By exact path, so that the request path needs no resolver.
PROXY_VIEWS = {f"/{prefix}/{name}": view for prefix in PREFIXES for name, view in _VIEWS.items()}


def _with_django_response(view: View) -> Callable[..., HttpResponseBase]:
    """The same view for those who come through Django's own handler, which the server never does."""

    @wraps(view)
    def answering(*args: Any, **kwargs: Any) -> HttpResponseBase:
        answer = view(*args, **kwargs)
        if not isinstance(answer, Reply):
            return answer
        kind = HttpResponse if isinstance(answer.body, list) else StreamingHttpResponse
        return kind(answer.body, status=answer.status, headers=answer.headers)

    return answering


urlpatterns = [path(address.removeprefix("/"), _with_django_response(view)) for address, view in PROXY_VIEWS.items()]
