"""The bases of the management endpoints: who asks, about what of whom, and how answers look."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, ClassVar, Final

from django.http import UnreadablePostError
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from kilo_gateway import strict_json
from kilo_gateway.addresses import client_address
from kilo_gateway.api_errors import ErrorType, GatewayError
from kilo_gateway.api_schema import IF_MATCH_PATTERN
from kilo_gateway.api_views import ApiView
from organizations.acting import Acting
from organizations.audit import Actor
from organizations.authentication import ApiKeyAuthentication, BrowserSession
from organizations.callers import person_and_key
from organizations.management_api.shapes import Nothing, Shape
from organizations.models import ApiKey, Membership, Organization, Scope, User, Via
from organizations.permissions import Ability, may
from organizations.refusals import role_required
from organizations.selectors import bound_organization_id, membership_or_404

JSON: Final = "application/json"
MAX_BODY_BYTES: Final = 1024 * 1024
_IF_MATCH: Final = re.compile(IF_MATCH_PATTERN)


class ManagingView(ApiView, ABC):
    """An endpoint for people: with a session, or with a key for management.

    Before a handler runs, `admit` has let the person in, and `query` holds the checked parameters of the address. A
    handler reads the body with `body`, and calls one service or selector.

    Attributes:
        queries: The parameters that a method takes in the address, by method; none where it is not named.
        open_to_every_key: The methods that keys for model requests may use too.
    """

    authentication_classes = (ApiKeyAuthentication, BrowserSession)
    queries: ClassVar[Mapping[str, type[Shape]]] = MappingProxyType({})
    open_to_every_key: ClassVar[frozenset[str]] = frozenset()

    query: Mapping[str, Any]

    def initial(self, request: Request, *args: Any, **kwargs: Any) -> None:
        # Before authentication, because the check of the CSRF token would parse a form.
        _require_json(request)
        super().initial(request, *args, **kwargs)
        if request.method not in self.allowed_methods:
            self.http_method_not_allowed(request)
        user, key = person_and_key(request)
        method = "GET" if request.method == "HEAD" else str(request.method)
        if key is not None and Scope.MANAGEMENT.value not in key.scopes and method not in self.open_to_every_key:
            raise GatewayError(
                ErrorType.ACCESS_DENIED,
                403,
                "This API key is not for management: it lacks the scope 'management'.",
                code="scope_required",
            )
        self.admit(user, key)
        if method != "OPTIONS":
            self.query = self._read_query(request, self.queries.get(method, Nothing))

    @abstractmethod
    def admit(self, user: User, key: ApiKey | None) -> None:
        """Whether this person may ask here at all, with this key; raises what he is told when he may not."""

    def _read_query(self, request: Request, shape: type[Shape]) -> Mapping[str, Any]:
        twice = [name for name, values in request.query_params.lists() if len(values) > 1]
        if twice:
            raise serializers.ValidationError({twice[0]: ["It is there twice."]})
        return _checked(shape, request.query_params.dict())

    def body(self, request: Request, shape: type[Shape]) -> dict[str, Any]:
        """The fields of the body; those that are absent in the body are absent here.

        Raises:
            GatewayError: 413, or 400 for what is not JSON.
            ValidationError: 400 by field.
        """
        return _checked(shape, _json(request))

    def acting(self, request: Request) -> Acting:
        """The person who asks, for a service that changes something."""
        user, _ = person_and_key(request)
        actor = Actor.of(user, Via.API, client_address(request.META))
        return Acting(actor, user, expected_version(request))


class ManagementView(ManagingView):
    """An endpoint below an organization, for its members; `membership` is that of the person who asks.

    Attributes:
        reading_needs: What only some roles may read, and what the others are told. What is changed needs no word here:
            its service looks, under the lock.
    """

    reading_needs: ClassVar[tuple[Ability, str] | None] = None

    membership: Membership

    def admit(self, user: User, key: ApiKey | None) -> None:
        self.membership = membership_or_404(user, self.kwargs["organization_id"], key=key)
        if self.reading_needs and self.request.method in {"GET", "HEAD"}:
            ability, message = self.reading_needs
            if not may(self.membership.role, ability):
                raise role_required(message)

    @property
    def organization(self) -> Organization:
        """The organization as it was when the request came."""
        return self.membership.organization

    def answer(self, state: Mapping[str, Any], at: Organization | int, *, status: int = 200) -> Response:
        """A state of the organization with its routing version: `at`, or that of the row from which it was read."""
        version = at if isinstance(at, int) else at.routing_version
        return Response({**state, "routing_version": version}, status=status, headers=version_tag(version))


class OwnView(ManagingView):
    """An endpoint about what a person has for himself, in no organization."""

    def admit(self, user: User, key: ApiKey | None) -> None:
        """A key that is bound to an organization reaches what its person does there, and nothing else of his."""
        if bound_organization_id(key) is not None:
            raise GatewayError(
                ErrorType.ACCESS_DENIED,
                403,
                "This API key is bound to an organization: use one that is not.",
                code="key_is_bound",
            )


def version_tag(version: int) -> dict[str, str]:
    """The header with which an answer says a routing version."""
    return {"ETag": f'"{version}"'}


def expected_version(request: Request) -> int | None:
    """The routing version that `If-Match` names; None when there is none, and for `*`, which any version matches.

    A weak tag counts as well: the version is the same however an answer was packed on its way.

    Raises:
        GatewayError: 400 for anything else: several tags, what no answer of ours contained.
    """
    header = request.headers.get("If-Match")
    if header is None:
        return None
    text = header.strip()
    if not _IF_MATCH.fullmatch(text):
        raise GatewayError(
            ErrorType.INVALID_REQUEST,
            400,
            'If-Match must be one routing version in quotes, as in the ETag of an answer, for example "7".',
            code="invalid_if_match",
        )
    return None if text == "*" else int(text.removeprefix("W/").strip('"'))


def _checked(shape: type[Shape], data: Any) -> dict[str, Any]:
    shaped = shape(data=data)
    shaped.is_valid(raise_exception=True)
    return dict(shaped.validated_data)


def _require_json(request: Request) -> None:
    media_type = request.content_type.partition(";")[0].strip().lower()
    if request.method not in {"GET", "HEAD", "OPTIONS"} and _length(request) and media_type != JSON:
        raise GatewayError(
            ErrorType.INVALID_REQUEST,
            415,
            f"The body must be JSON: send it with 'Content-Type: {JSON}'.",
            code="unsupported_media_type",
        )


def _length(request: Request) -> int:
    try:
        return int(request.META.get("CONTENT_LENGTH") or 0)
    except ValueError:
        return 0


def _json(request: Request) -> Any:
    """The body as data; an absent one is an object without fields."""
    length = _length(request)
    if not length:
        return {}
    if length > MAX_BODY_BYTES:
        raise GatewayError(ErrorType.REQUEST_TOO_LARGE, 413, f"The body may have at most {MAX_BODY_BYTES} bytes.")
    try:
        return strict_json.parse(request.body)
    except strict_json.NotStrictJson as error:
        raise GatewayError(ErrorType.INVALID_REQUEST, 400, f"The body is not JSON: {error}.", code="not_json") from None
    except UnreadablePostError:
        raise GatewayError(ErrorType.INVALID_REQUEST, 400, "The body broke off.", code="not_json") from None
