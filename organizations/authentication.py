"""Who calls an API, other than the proxy, which has a way of its own."""

from __future__ import annotations

from datetime import UTC, datetime

from rest_framework.authentication import BaseAuthentication, SessionAuthentication
from rest_framework.exceptions import PermissionDenied
from rest_framework.request import Request

from kilo_gateway.api_errors import ErrorType, GatewayError, invalid_token
from organizations.api_keys import MAX_LENGTH, key_hash
from organizations.models import ApiKey, User


class ApiKeyAuthentication(BaseAuthentication):
    """`Authorization: Bearer <key>`: `request.user` is its person and `request.auth` the key. One query."""

    def authenticate(self, request: Request) -> tuple[User, ApiKey] | None:
        """None when no bearer key was presented.

        Raises:
            GatewayError: 401 when one was presented that is unknown, revoked or expired.
        """
        scheme, _, token = request.META.get("HTTP_AUTHORIZATION", "").strip().partition(" ")
        token = token.strip()
        if scheme.lower() != "bearer" or not token:
            return None
        key = active_key(token)
        if key is None:
            raise invalid_token()
        return key.user, key

    def authenticate_header(self, request: Request) -> str:
        return "Bearer"


class BrowserSession(SessionAuthentication):
    """The session of a signed-in person; whatever is not a read needs the CSRF token."""

    def enforce_csrf(self, request: Request) -> None:
        """Raises 403 `csrf_failed`."""
        try:
            super().enforce_csrf(request)
        except PermissionDenied:
            raise GatewayError(
                ErrorType.ACCESS_DENIED,
                403,
                "With a session, send the cookie 'csrftoken' in the header 'X-CSRFToken' too.",
                code="csrf_failed",
            ) from None


def active_key(token: str) -> ApiKey | None:
    """The key that may be used now, with its person; None when there is none. One query."""
    if len(token) > MAX_LENGTH:
        return None
    key = ApiKey.objects.select_related("user").filter(key_hash=key_hash(token)).first()
    if key is None or key.revoked_at is not None or not key.user.is_active:
        return None
    return None if key.expires_at is not None and key.expires_at <= datetime.now(UTC) else key
