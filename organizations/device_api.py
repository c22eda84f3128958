"""What a command-line program calls to be signed in. It has no credential yet, so these ask for none."""

from __future__ import annotations

from typing import Any, Final

from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from kilo_gateway.addresses import client_address
from kilo_gateway.api_errors import ErrorType, GatewayError
from kilo_gateway.api_schema import Kind, Tag, described
from kilo_gateway.api_views import ApiView
from organizations.device_authorization import (
    LIFETIME,
    Taken,
    device_authorization_create,
    device_authorization_take,
)
from organizations.models import DeviceState

_ENDS: Final = {
    DeviceState.DENIED: (ErrorType.ACCESS_DENIED, 403, "The sign-in was denied.", "device_denied"),
    DeviceState.TAKEN: (ErrorType.NOT_FOUND, 410, "The key of this code was taken before.", "device_code_taken"),
    DeviceState.EXPIRED: (ErrorType.NOT_FOUND, 410, "This code has expired. Ask for another.", "device_code_expired"),
}


class DeviceCodeSerializer(serializers.Serializer[Any]):
    code = serializers.CharField(help_text="For the person to compare with what the page shows.")
    verificationUrl = serializers.URLField(help_text="Where he approves it.")  # noqa: N815 - as clients read it
    expiresIn = serializers.IntegerField(help_text="Seconds.")  # noqa: N815


class DeviceAnswerSerializer(serializers.Serializer[Any]):
    status = serializers.CharField(help_text="`pending` or `approved`.")
    token = serializers.CharField(required=False, help_text="The API key, in the first answer after the approval.")
    userId = serializers.UUIDField(required=False)  # noqa: N815
    userEmail = serializers.CharField(required=False)  # noqa: N815


class DeviceCodesView(ApiView):
    """Codes for programs that want to be signed in."""

    authentication_classes = ()
    permission_classes = ()
    http_method_names: list[str] = ["post", "options"]

    @described(
        "create_device_code", "Ask to be signed in", tag=Tag.ACCOUNT, kind=Kind.OPEN, answer=DeviceCodeSerializer
    )
    def post(self, request: Request) -> Response:
        """A code, which a person approves at `verificationUrl`."""
        made = device_authorization_create(
            address=client_address(request.META), client=request.META.get("HTTP_USER_AGENT", "")
        )
        return Response(
            {"code": made.code.reveal(), "verificationUrl": made.link, "expiresIn": int(LIFETIME.total_seconds())}
        )


class DeviceCodeView(ApiView):
    """One code, for the program that has it."""

    authentication_classes = ()
    permission_classes = ()
    http_method_names: list[str] = ["get", "options"]

    @described(
        "take_device_key", "Read how a code stands", tag=Tag.ACCOUNT, kind=Kind.OPEN, answer=DeviceAnswerSerializer
    )
    def get(self, request: Request, code: str) -> Response:
        """202 while nobody has answered; 200 with the key once after the approval; 403 after a denial; then 410."""
        found = device_authorization_take(code=code, address=client_address(request.META))
        if isinstance(found, Taken):
            return Response(
                {
                    "status": "approved",
                    "token": found.key.reveal(),
                    "userId": found.user.pk,
                    "userEmail": found.user.email,
                }
            )
        if found is DeviceState.PENDING:
            return Response({"status": "pending"}, status=202)
        error_type, status, message, error_code = _ENDS[found]
        raise GatewayError(error_type, status, message, code=error_code)
