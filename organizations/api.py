"""What clients read about a person and an organization."""

from __future__ import annotations

from rest_framework.request import Request
from rest_framework.response import Response

from kilo_gateway.api_schema import ORGANIZATION_ID, Tag, described
from kilo_gateway.api_views import ReadView
from organizations.callers import person_and_key
from organizations.schema import OrganizationSerializer, UserSerializer
from organizations.selectors import membership_or_404, routing_settings


class UserView(ReadView):
    """The person behind the key."""

    @described("get_user", "Read who a key belongs to", tag=Tag.ACCOUNT, answer=UserSerializer)
    def get(self, request: Request) -> Response:
        user, _ = person_and_key(request)
        return Response({"id": user.pk, "email": user.email, "name": user.name})


class OrganizationView(ReadView):
    """An organization as one of its members sees it; of its settings, what is about routing."""

    @described(
        "get_organization",
        "Read an organization",
        tag=Tag.ACCOUNT,
        answer=OrganizationSerializer,
        parameters=[ORGANIZATION_ID],
    )
    def get(self, request: Request, organization_id: str) -> Response:
        user, key = person_and_key(request)
        membership = membership_or_404(user, organization_id, key=key)
        organization = membership.organization
        return Response(
            {
                "id": organization.pk,
                "name": organization.name,
                "plan": organization.plan,
                "role": membership.role,
                "settings": routing_settings(organization),
            }
        )
