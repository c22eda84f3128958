"""Credentials: keys of providers, stored encrypted, each owned by one organization or one person. Custom providers:
upstreams that an organization has registered for itself.
"""

from __future__ import annotations

import uuid
from typing import ClassVar

from django.db import models
from django.db.models import Q

from byok.providers import KeyStyle


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
    discovery_error = models.CharField(
        max_length=200, blank=True, help_text="Why the newest discovery failed, which left the former list."
    )
    last_used_at = models.DateTimeField(null=True, blank=True)
    last_tested_at = models.DateTimeField(null=True, blank=True)
    last_test_result = models.CharField(max_length=200, blank=True, help_text="A word; see `byok.key_check.KeyResult`.")
    last_test_status = models.PositiveSmallIntegerField(null=True, blank=True, help_text="The provider's answer.")
    last_test_message = models.CharField(max_length=200, blank=True)
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


class CustomProvider(models.Model):
    """An upstream of an organization's own. Its key is a credential like those of the other providers."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    organization = models.ForeignKey(
        "organizations.Organization", on_delete=models.CASCADE, related_name="custom_providers"
    )
    provider_id = models.CharField(max_length=47, help_text="What stands before the slash of its models' ids.")
    name = models.CharField(max_length=100)
    base_url = models.CharField(max_length=500)
    api_kinds = models.JSONField(help_text="The request formats that it speaks.")
    key_style = models.CharField(max_length=20, choices=[(style.value, style.value) for style in KeyStyle])
    known_models = models.JSONField(
        default=list, blank=True, help_text="Models written by hand, beside those discovered."
    )
    created_at = models.DateTimeField(auto_now_add=True)
    updated_at = models.DateTimeField(auto_now=True)

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["organization", "provider_id"], name="custom_provider_unique"),
            models.CheckConstraint(
                condition=Q(provider_id__regex=r"^custom-[a-z0-9-]{1,40}$"), name="custom_provider_id_shape"
            ),
            models.CheckConstraint(condition=~Q(api_kinds=[]), name="custom_provider_api_kinds_some"),
            models.CheckConstraint(
                condition=Q(key_style__in=[style.value for style in KeyStyle]), name="custom_provider_key_style_known"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.name} ({self.provider_id})"


class CustomProviderHeader(models.Model):
    """A header that every request to a custom provider carries. Its value is write-only, as a key is."""

    custom_provider = models.ForeignKey(CustomProvider, on_delete=models.CASCADE, related_name="headers")
    name = models.CharField(max_length=100, help_text="In small letters.")
    key_id = models.CharField(max_length=50, help_text="Which encryption key sealed the value.")
    ciphertext = models.BinaryField()
    last_four = models.CharField(max_length=4, blank=True, help_text="Blank for a short value.")

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["custom_provider", "name"], name="custom_provider_header_unique"),
        ]

    def __str__(self) -> str:
        return self.name
