"""How the API describes itself: one error body, one list of answers for each kind of operation, the ways to sign in."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from enum import Enum, StrEnum
from typing import Any, Final, TypeVar

from drf_spectacular.extensions import OpenApiAuthenticationExtension
from drf_spectacular.openapi import AutoSchema
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiParameter, OpenApiResponse, extend_schema
from rest_framework import serializers

from kilo_gateway.api_errors import ErrorType

Method = TypeVar("Method", bound=Callable[..., Any])
Shown = type[serializers.Serializer[Any]] | dict[str, Any] | None

CANONICAL_PREFIX: Final = "/api/gateway/v1/"
# An answer's ETag becomes a weak one where the answer is compressed on its way.
IF_MATCH_PATTERN: Final = r'^(\*|(W/)?"[0-9]{1,18}")$'


class Tag(StrEnum):
    """The sections of the documentation, in their order."""

    ORGANIZATION_AUTO = "Organization Auto"
    MODES = "Modes"
    MODEL_POLICY = "Model policy"
    SPENDING_LIMITS = "Spending limits"
    EXPLAIN = "Explain"
    HISTORY = "History"
    CREDENTIALS = "Provider keys"
    PEOPLE = "Members and keys"
    RECORDS = "Audit log and usage"
    ACCOUNT = "Account"
    MODEL_REQUESTS = "Model requests"
    MODELS = "Models"
    OTHER_ADDRESSES = "Other addresses of the same"


def list_sections(result: dict[str, Any], generator: Any, request: Any, public: bool) -> dict[str, Any]:  # noqa: FBT001 - drf-spectacular's hook
    """Name the sections that there is something in."""
    operations = [entry for path in result["paths"].values() for entry in path.values() if isinstance(entry, dict)]
    used = {tag for operation in operations for tag in operation.get("tags", ())}
    return {**result, "tags": [{"name": tag.value} for tag in Tag if tag.value in used]}


class Schema(AutoSchema):
    """Operations that stand at several addresses are listed in full at one of them and aside at the others."""

    def get_tags(self) -> list[str]:
        if self.path.startswith(CANONICAL_PREFIX):
            return [Tag.MODEL_REQUESTS if self.method == "POST" else Tag.MODELS]
        return [Tag.OTHER_ADDRESSES]


class ApiKeyScheme(OpenApiAuthenticationExtension):  # type: ignore[no-untyped-call]  # it registers itself by being defined
    target_class = "organizations.authentication.ApiKeyAuthentication"
    name = "apiKey"

    def get_security_definition(self, auto_schema: AutoSchema) -> dict[str, str]:
        return {
            "type": "http",
            "scheme": "bearer",
            "description": "An API key. Management needs one with the scope `management`, model requests `inference`.",
        }


class SessionScheme(OpenApiAuthenticationExtension):  # type: ignore[no-untyped-call]  # it registers itself by being defined
    target_class = "organizations.authentication.BrowserSession"
    name = "session"

    def get_security_definition(self, auto_schema: AutoSchema) -> dict[str, str]:
        return {
            "type": "apiKey",
            "in": "cookie",
            "name": "sessionid",
            "description": "A browser's session. Writes send the cookie `csrftoken` in the header `X-CSRFToken` too.",
        }


class ErrorDetailSerializer(serializers.Serializer[Any]):
    message = serializers.CharField(help_text="For a person.")
    type = serializers.CharField(help_text="As `error_type`; on the messages API, Anthropic's word for it.")
    code = serializers.CharField(help_text="Stable: what exactly went wrong within the type.")
    fields = serializers.DictField(  # type: ignore[assignment]  # our body's word, not the serializer's attribute
        child=serializers.ListField(child=serializers.CharField()),
        required=False,
        help_text="What is wrong by field; on 400.",
    )
    broken = serializers.ListField(
        child=serializers.DictField(), required=False, help_text="The routes that a change would break."
    )
    routing_version = serializers.IntegerField(required=False, help_text="The current one; on 412.")


class ErrorSerializer(serializers.Serializer[Any]):
    error = ErrorDetailSerializer()
    error_type = serializers.ChoiceField(choices=[(kind.value, kind.value) for kind in ErrorType])
    message = serializers.CharField()


class Kind(Enum):
    """What an operation does, which says how it can fail."""

    READ = (400, 401, 403, 404, 409, 503)
    # Has a body and takes no `If-Match`: it changes nothing, or nothing of an organization.
    QUESTION = (400, 401, 403, 404, 409, 413, 415, 503)
    # Takes `If-Match`.
    WRITE = (400, 401, 403, 404, 409, 412, 413, 415, 503)
    # The same, and what it says may be asked only so often.
    LIMITED_WRITE = (400, 401, 403, 404, 409, 412, 413, 415, 429, 503)
    # Streams, if it is asked to.
    MODEL_REQUEST = (400, 401, 402, 403, 404, 413, 429, 502, 503, 504)
    # For whoever has no credential yet.
    OPEN = (403, 410, 429, 503)


_FAILURES: Final[Mapping[int, str]] = {
    400: "Something in the request has no valid value; `fields`, where it is there, says what.",
    401: "Nothing valid to authenticate with.",
    402: "The balance for hosted models is used up.",
    403: "Membership, scope, role, plan or release toggle do not allow it; `code` says which.",
    404: "No such object, or not yours.",
    409: "The current state does not allow it.",
    410: "What it was for is over.",
    412: "The organization has moved on from the version in `If-Match`.",
    413: "The body is too large.",
    415: "The body is not `application/json`.",
    429: "Too many requests; try again after `Retry-After`.",
    502: "The upstream cannot be reached.",
    503: "Something that the gateway needs does not answer; try again after `Retry-After`.",
    504: "The upstream does not begin to answer.",
}
_ETAG = OpenApiParameter(
    "ETag", str, OpenApiParameter.HEADER, description="The routing version, in quotes.", response=[200, 201]
)
_IF_MATCH = OpenApiParameter(
    "If-Match",
    {"type": "string", "pattern": IF_MATCH_PATTERN},
    OpenApiParameter.HEADER,
    description='The routing version that was read, as `"7"`: the change is refused with 412 if it has moved on.',
)

# How to sign in, where it is not as the view's authentication classes say. It goes into the schema as it is.
_TAKES_IF_MATCH: Final = frozenset({Kind.WRITE, Kind.LIMITED_WRITE})
_AUTH: Final[Mapping[Kind, Any]] = {Kind.MODEL_REQUEST: [{ApiKeyScheme.name: []}], Kind.OPEN: [{}]}


def described(
    name: str | None,
    summary: str,
    *,
    answer: Shown,
    kind: Kind = Kind.READ,
    tag: Tag | None = None,
    body: Shown = None,
    parameters: Sequence[OpenApiParameter | type[serializers.Serializer[Any]]] = (),
    status: int = 200,
    has_version: bool = False,
    files: Sequence[str] = (),
) -> Callable[[Method], Method]:
    """Describe the handler of a method; its docstring is the description.

    Args:
        name: The operation's id; None for one that stands at several addresses, where each has its own.
        tag: Its section; None likewise.
        parameters: A serializer stands for one query parameter a field.
        has_version: The answer has the organization's routing version in `ETag`.
        files: The media types of a success, where it is a file and not JSON.
    """
    answers: dict[Any, Any] = {status: OpenApiResponse(answer, description="Success.")}
    if kind is Kind.MODEL_REQUEST:
        answers = {
            (status, "application/json"): OpenApiResponse(answer, description="The upstream's answer."),
            (status, "text/event-stream"): OpenApiResponse(OpenApiTypes.STR, description="With `stream`: its events."),
        }
    if files:
        answers = {(status, media_type): OpenApiResponse(answer, description="A file.") for media_type in files}
    failures = {code: OpenApiResponse(ErrorSerializer, description=_FAILURES[code]) for code in kind.value}
    added = [*parameters, *([_ETAG] if has_version else []), *([_IF_MATCH] if kind in _TAKES_IF_MATCH else [])]
    return extend_schema(
        operation_id=name,
        summary=summary,
        tags=[tag.value] if tag else None,
        request={"application/json": body} if isinstance(body, dict) else body,
        parameters=added,
        responses={**answers, **failures},
        auth=_AUTH.get(kind),
    )


ORGANIZATION_HEADER: Final = OpenApiParameter(
    "X-KiloCode-OrganizationId",
    str,
    OpenApiParameter.HEADER,
    description="The UUID of the organization for which a key acts that is bound to none; blank counts as absent.",
)
ORGANIZATION_ID: Final = OpenApiParameter("organization_id", OpenApiTypes.UUID, OpenApiParameter.PATH)
