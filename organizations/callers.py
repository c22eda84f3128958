"""Who sent a request to an API."""

from __future__ import annotations

from typing import cast

from rest_framework.request import Request

from organizations.models import ApiKey, User


def person_and_key(request: Request) -> tuple[User, ApiKey | None]:
    """The signed-in person of an authenticated request, and the key that was presented, if it was one."""
    return cast("User", request.user), cast("ApiKey | None", request.auth)
