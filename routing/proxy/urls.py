"""The paths of the proxy: four prefixes that mean the same, three APIs."""

from __future__ import annotations

from collections.abc import Callable

from django.http import HttpResponseBase
from django.urls import path

from routing.proxy.views import ChatCompletionsView, MessagesView, ResponsesView

PREFIXES = ("api/openrouter", "api/openrouter/v1", "api/gateway", "api/gateway/v1")

_VIEWS: dict[str, Callable[..., HttpResponseBase]] = {
    "chat/completions": ChatCompletionsView.as_view(),
    "responses": ResponsesView.as_view(),
    "messages": MessagesView.as_view(),
}

# By exact path, so that the request path needs no resolver.
PROXY_VIEWS = {f"/{prefix}/{name}": view for prefix in PREFIXES for name, view in _VIEWS.items()}

urlpatterns = [path(address.removeprefix("/"), view) for address, view in PROXY_VIEWS.items()]
