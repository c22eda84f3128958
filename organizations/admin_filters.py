"""Filters by organization, for the staff's pages over tables that name one."""

from __future__ import annotations

from typing import Any, Final
from uuid import UUID

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

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.wanted = _meant(self.value())
        # No index yields the rows of several organizations in order.
        self.is_indexed = len(self.wanted) <= 1

    def narrow(self, rows: QuerySet[Any], value: str) -> QuerySet[Any]:
        if self.wanted == [None]:
            return rows.filter(organization_id__isnull=True)
        return rows.filter(organization_id__in=self.wanted)


def _meant(value: str) -> list[UUID | None]:
    """The ids that a value stands for, None for rows of no organization. One query for a name."""
    if not value:
        return []
    if value == _NONE:
        return [None]
    wanted = as_uuid(value)
    if wanted is not None:
        return [wanted]
    return list(Organization.objects.filter(name__icontains=value).values_list("pk", flat=True)[:_MOST])
