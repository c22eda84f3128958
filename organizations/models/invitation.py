"""Invitations to become a member."""

from __future__ import annotations

import uuid
from typing import ClassVar

from django.db import models
from django.db.models import Q
from django.db.models.functions import Lower

from organizations.models.organization import Role

_OPEN = Q(accepted_at__isnull=True, revoked_at__isnull=True)


class Invitation(models.Model):
    """That whoever signs in with this email address may become a member. The row holds the SHA-256 of its token.

    It is open until it is accepted or revoked. An open one that has expired cannot be accepted any more, and gives way
    to a new one.
    """

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    organization = models.ForeignKey("organizations.Organization", on_delete=models.CASCADE, related_name="invitations")
    email = models.EmailField(max_length=254)
    role = models.CharField(max_length=20, choices=Role, default=Role.MEMBER)
    token_hash = models.BinaryField(max_length=32)
    # Null: staff, or a command. An invitation is worth nothing without the person who answers for it.
    invited_by = models.ForeignKey(
        "organizations.User", on_delete=models.CASCADE, related_name="sent_invitations", null=True, blank=True
    )
    created_at = models.DateTimeField(auto_now_add=True)
    expires_at = models.DateTimeField()
    accepted_at = models.DateTimeField(null=True, blank=True)
    revoked_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["token_hash"], name="invitation_token_unique"),
            models.UniqueConstraint(fields=["organization", "email"], condition=_OPEN, name="invitation_open_unique"),
            models.CheckConstraint(condition=Q(email=Lower("email")), name="invitation_email_lower_case"),
            models.CheckConstraint(condition=Q(role__in=Role.values), name="invitation_role_known"),
            models.CheckConstraint(
                condition=Q(accepted_at__isnull=True) | Q(revoked_at__isnull=True), name="invitation_one_end"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.email} to {self.organization_id} as {self.role}"
