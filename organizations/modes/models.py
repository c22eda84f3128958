"""Custom modes."""

from __future__ import annotations

import uuid
from typing import ClassVar

from django.db import models
from django.db.models import Q


class CustomMode(models.Model):
    """A mode that the organization defined; with the slug of a built-in mode it is an override of that one.

    It never holds a route: routes are in the organization's settings, keyed by slug.
    """

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    organization = models.ForeignKey(
        "organizations.Organization", on_delete=models.CASCADE, related_name="custom_modes"
    )
    name = models.CharField(max_length=100)
    slug = models.CharField(max_length=50)
    config = models.JSONField()
    created_by = models.ForeignKey(
        "organizations.User", on_delete=models.SET_NULL, null=True, related_name="created_modes"
    )
    created_at = models.DateTimeField(auto_now_add=True)
    updated_at = models.DateTimeField(auto_now=True)

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["organization", "slug"], name="custom_mode_slug_unique"),
            models.CheckConstraint(condition=Q(slug__regex=r"^[a-z0-9-]{1,50}$"), name="custom_mode_slug_shape"),
            models.CheckConstraint(condition=~Q(name=""), name="custom_mode_name_present"),
        ]

    def __str__(self) -> str:
        return self.slug
