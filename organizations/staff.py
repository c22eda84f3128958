"""Members of staff as the services and the audit log know them."""

from __future__ import annotations

from typing import cast

from django.http import HttpRequest

from kilo_gateway.addresses import client_address
from organizations.acting import Acting
from organizations.audit import Actor
from organizations.models import User, Via


def staff_actor(request: HttpRequest) -> Actor:
    """The member of staff who sent a request of Django admin."""
    return Actor.of(cast("User", request.user), Via.ADMIN, client_address(request.META))


def staff_acting(request: HttpRequest) -> Acting:
    """The same for services that ask for a member's role: staff needs none."""
    return Acting(staff_actor(request))
