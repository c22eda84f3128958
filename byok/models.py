"""Credentials: keys of providers, stored encrypted, each owned by one organization or one person."""

from __future__ import annotations

import uuid
from typing import ClassVar

from django.db import models
from django.db.models import Q


class Credential(models.Model):
    """A provider's key. Its secret is write-only: the row holds the ciphertext and the last four characters."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    organization = models.ForeignKey(
        "organizations.Organization", on_delete=models.CASCADE, related_name="credentials", null=True, blank=True
    )
    user = models.ForeignKey(
        "organizations.User", on_delete=models.CASCADE, related_name="credentials", null=True, blank=True
    )
    provider = models.CharField(max_length=50)
    key_id = models.CharField(max_length=50, help_text="Which encryption key sealed the secret.")
    ciphertext = models.BinaryField()
    last_four = models.CharField(max_length=4)
    is_enabled = models.BooleanField(default=True)
    offered_models = models.JSONField(
        null=True, blank=True, help_text="What discovery found, in the provider's spelling; null: any model is taken."
    )
    discovered_at = models.DateTimeField(null=True, blank=True)
    last_used_at = models.DateTimeField(null=True, blank=True)
    last_tested_at = models.DateTimeField(null=True, blank=True)
    last_test_result = models.CharField(max_length=200, blank=True)
    last_refused_at = models.DateTimeField(null=True, blank=True)
    last_refusal_status = models.PositiveSmallIntegerField(null=True, blank=True)
    created_at = models.DateTimeField(auto_now_add=True)
    updated_at = models.DateTimeField(auto_now=True)

    class Meta:
        constraints: ClassVar = [
            models.CheckConstraint(
                condition=Q(organization__isnull=True, user__isnull=False)
                | Q(organization__isnull=False, user__isnull=True),
                name="credential_one_owner",
            ),
            models.UniqueConstraint(fields=["organization", "provider"], name="credential_organization_unique"),
            models.UniqueConstraint(fields=["user", "provider"], name="credential_user_unique"),
        ]

    def __str__(self) -> str:
        return f"{self.provider} …{self.last_four}"
