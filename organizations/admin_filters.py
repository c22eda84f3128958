"""Filters by organization, for the staff's pages over tables that name one."""

from __future__ import annotations

from typing import Any, Final

from django.db.models import QuerySet

from kilo_gateway.admin_filters import FieldFilter, as_uuid
from organizations.models import Organization

_NONE: Final = "-"
_MOST: Final = 100


class OrganizationFilter(FieldFilter):
    """An organization by its id, all whose name contains a text, or rows of none."""

    title = "Organization"
    parameter_name = "organization"
    placeholder = "name or id; - for none"

    def narrow(self, rows: QuerySet[Any], value: str) -> QuerySet[Any]:
        if value == _NONE:
            return rows.filter(organization_id__isnull=True)
        wanted = as_uuid(value)
        if wanted is not None:
            return rows.filter(organization_id=wanted)
        named = Organization.objects.filter(name__icontains=value).values_list("pk", flat=True)[:_MOST]
        return rows.filter(organization_id__in=list(named))
