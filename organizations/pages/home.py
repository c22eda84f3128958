"""`/`: where somebody who comes without an address belongs."""

from __future__ import annotations

from uuid import UUID

from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.shortcuts import render

from kilo_gateway.api_errors import method_not_allowed
from kilo_gateway.error_pages import error_page
from organizations.pages.frame import LAST_ORGANIZATION, sign_in_first
from organizations.pages.navigation import organization_path
from organizations.selectors import memberships_of


def home(request: HttpRequest) -> HttpResponse:
    """The organization that this person looked at last, else his first; who has none is told so."""
    if request.method not in {"GET", "HEAD"}:
        return error_page(request, method_not_allowed("GET"))
    if not request.user.is_authenticated:
        return sign_in_first(request)
    memberships = memberships_of(request.user)
    if not memberships:
        response = render(request, "home/none.html")
        response.headers["Cache-Control"] = "no-store"
        return response
    last = request.session.get(LAST_ORGANIZATION)
    own: list[UUID] = [row.organization_id for row in memberships]
    found = next((pk for pk in own if str(pk) == last), own[0])
    return HttpResponseRedirect(organization_path(found), headers={"Cache-Control": "no-store"})
