"""Keys with which agents and scripts authenticate."""

from __future__ import annotations

import uuid
from typing import ClassVar

from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models import Q

from organizations.models.names import without_control_characters


class Scope(models.TextChoices):
    """What a key may be used for."""

    INFERENCE = "inference", "Model requests"
    MANAGEMENT = "management", "Management API"


class ApiKey(models.Model):
    """A person's key. The key itself is known only when it is made; the row holds its SHA-256."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    user = models.ForeignKey("organizations.User", on_delete=models.CASCADE, related_name="api_keys")
    organization = models.ForeignKey(
        "organizations.Organization",
        on_delete=models.CASCADE,
        related_name="api_keys",
        null=True,
        blank=True,
        help_text="The organization that this key always acts for, whatever the request's header says.",
    )
    name = models.CharField(max_length=100, validators=[without_control_characters])
    key_hash = models.BinaryField(max_length=32)
    prefix = models.CharField(max_length=12)
    last_four = models.CharField(max_length=4)
    default_mode = models.CharField(max_length=50, blank=True)
    scopes = ArrayField(models.CharField(max_length=20, choices=Scope), default=list)
    expires_at = models.DateTimeField(null=True, blank=True)
    revoked_at = models.DateTimeField(null=True, blank=True)
    last_used_at = models.DateTimeField(null=True, blank=True, help_text="To the minute.")
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        verbose_name = "API key"
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["key_hash"], name="api_key_hash_unique"),
            models.CheckConstraint(condition=Q(scopes__contained_by=Scope.values), name="api_key_scopes_known"),
            models.CheckConstraint(condition=~Q(scopes=[]), name="api_key_scopes_present"),
        ]

    def __str__(self) -> str:
        return f"{self.prefix}…{self.last_four}"
