"""What the endpoints of routing have in common."""

from __future__ import annotations

from rest_framework.response import Response

from kilo_gateway.api_errors import temporarily_unavailable
from organizations.management_api.views import ManagementView
from routing.catalog.cache import CatalogUnreadable
from routing.domain.types import RefusalCode


class RoutingView(ManagementView):
    """A management endpoint that needs the catalog: 503 while that cannot be read, never "allowed"."""

    def handle_exception(self, exc: Exception) -> Response:
        if isinstance(exc, CatalogUnreadable):
            exc = temporarily_unavailable(
                "The model catalog cannot be read at the moment.", code=RefusalCode.CATALOG_UNAVAILABLE.value
            )
        return super().handle_exception(exc)
