"""Reading the custom modes of an organization."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from django.http import Http404

from organizations.modes.config import readable_config
from organizations.modes.models import CustomMode


def modes_of(organization_id: UUID) -> list[CustomMode]:
    """The stored modes, oldest first: neither the built-in ones, which clients have themselves, nor any route."""
    return list(CustomMode.objects.filter(organization_id=organization_id).order_by("created_at", "slug"))


def modes_listed(organization_id: UUID) -> list[CustomMode]:
    """The same in the same order, read without who made them and when: each of that would be a query more."""
    rows = CustomMode.objects.filter(organization_id=organization_id).order_by("created_at", "slug")
    return list(rows.only("slug", "name", "config"))


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
