"""Who is at a page of the account."""

from __future__ import annotations

from typing import cast

from django.http import HttpRequest

from kilo_gateway.addresses import client_address
from organizations.audit import Actor
from organizations.models import User, Via


def page_user(request: HttpRequest) -> User:
    """The signed-in person; the page has made sure that there is one."""
    return cast("User", request.user)


def page_actor(request: HttpRequest, user: User | None = None) -> Actor:
    """The signed-in person, or another whom the page has identified, as the audit log names him."""
    return Actor.of(user or page_user(request), Via.WEB, client_address(request.META))
