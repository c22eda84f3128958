"""The custom modes of an organization, as clients read them."""

from __future__ import annotations

from typing import Any

from rest_framework.request import Request
from rest_framework.response import Response

from kilo_gateway.api_views import ReadView
from organizations.callers import person_and_key
from organizations.modes.config import readable_config
from organizations.modes.models import CustomMode
from organizations.selectors import membership_or_404


class ModesView(ReadView):
    """The stored modes, oldest first: neither the built-in ones, which clients have themselves, nor any route."""

    def get(self, request: Request, organization_id: str) -> Response:
        user, key = person_and_key(request)
        membership = membership_or_404(user, organization_id, key=key)
        modes = CustomMode.objects.filter(organization_id=membership.organization_id).order_by("created_at", "slug")
        return Response({"modes": [mode_row(mode) for mode in modes]})


def mode_row(mode: CustomMode) -> dict[str, Any]:
    """One mode in the shape that clients know.

    They drop all modes when one field of one row is null that they expect to be text: a person who is gone is "".
    """
    return {
        "id": mode.pk,
        "organization_id": mode.organization_id,
        "name": mode.name,
        "slug": mode.slug,
        "config": readable_config(mode.config),
        "created_by": mode.created_by_id or "",
        "created_at": mode.created_at,
        "updated_at": mode.updated_at,
    }
