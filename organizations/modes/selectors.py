"""Reading the custom modes of an organization."""

from __future__ import annotations

import json
from typing import Any, Final, NamedTuple
from uuid import UUID

from django.db.models import QuerySet, TextField
from django.db.models.functions import Cast
from django.http import Http404

from kilo_gateway.fixed_query import FixedQuery
from organizations.modes.config import readable_config
from organizations.modes.models import CustomMode


def modes_of(organization_id: UUID) -> list[CustomMode]:
    """The stored modes, oldest first: neither the built-in ones, which clients have themselves, nor any route."""
    return list(CustomMode.objects.filter(organization_id=organization_id).order_by("created_at", "slug"))


class ListedMode(NamedTuple):
    """A stored mode without who made it and when; id and config as texts, which are quickly read and compared."""

    pk_text: str
    slug: str
    name: str
    config_text: str

    @property
    def pk(self) -> UUID:
        return UUID(self.pk_text)

    @property
    def config(self) -> dict[str, Any]:
        """Parsed anew each time."""
        return readable_config(json.loads(self.config_text))


def _listed(organization_id: UUID) -> QuerySet[CustomMode, tuple[Any, ...]]:
    rows = CustomMode.objects.filter(organization_id=organization_id).order_by("created_at", "slug")
    return rows.values_list(Cast("pk", TextField()), "slug", "name", Cast("config", TextField()))


_LISTED: Final = FixedQuery(_listed, UUID(int=1))


def modes_listed(organization_id: UUID) -> tuple[ListedMode, ...]:
    """The same in the same order, and less of them. One query."""
    return tuple(map(ListedMode._make, _LISTED.rows(organization_id)))


def mode_or_404(organization_id: UUID, mode_id: UUID) -> CustomMode:
    """One stored mode of the organization; raises `Http404` when it has none with this id."""
    mode = CustomMode.objects.filter(organization_id=organization_id, pk=mode_id).first()
    if mode is None:
        raise Http404
    return mode


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
