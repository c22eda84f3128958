"""The page where a person lets a command-line program act for him."""

from __future__ import annotations

from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.cache import never_cache

from kilo_gateway.addresses import client_address
from kilo_gateway.api_errors import GatewayError
from organizations.accounts.callers import page_user
from organizations.device_authorization import (
    device_authorization_answer,
    device_authorization_pending,
    normal_code,
)


@never_cache
@login_required
def device_auth(request: HttpRequest) -> HttpResponse:
    """What asks, from where, and with which code; approve or deny."""
    address = client_address(request.META)
    typed = (request.POST if request.method == "POST" else request.GET).get("code", "")
    code = normal_code(typed)
    try:
        if request.method == "POST":
            approve = request.POST.get("answer") == "approve"
            row = device_authorization_answer(code=code, user=page_user(request), address=address, approve=approve)
            return _page(request, "approved" if approve else "denied", {"device": row})
        pending = device_authorization_pending(code=code, address=address) if typed else None
    except GatewayError as error:
        return _page(request, "limited" if error.status == 429 else "over", {}, error.status)
    if pending is None:
        return _page(request, "over" if typed else "ask", {}, 410 if typed else 200)
    return _page(request, "pending", {"device": pending, "code": code})


def _page(request: HttpRequest, state: str, context: dict[str, object], status: int = 200) -> HttpResponse:
    return render(request, "account/device.html", {"state": state, **context}, status=status)
