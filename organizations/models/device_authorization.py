"""Sign-ins of command-line programs, which a person approves in a browser."""

from __future__ import annotations

import uuid
from datetime import datetime
from typing import ClassVar

from django.db import models
from django.db.models import Q


class DeviceState(models.TextChoices):
    """Where the sign-in of a device stands."""

    PENDING = "pending", "Pending"
    APPROVED = "approved", "Approved"
    DENIED = "denied", "Denied"
    TAKEN = "taken", "Taken"
    EXPIRED = "expired", "Expired"


class DeviceAuthorization(models.Model):
    """A program that asked to act for whoever approves its code. The row holds an HMAC of the code.

    No key lies here: it is made in the moment in which the program takes it, and known to nobody else.
    """

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    code_hash = models.BinaryField(max_length=32)
    address = models.GenericIPAddressField(null=True)
    # The address, or what of an IPv6 address one subscriber has: by this the pending ones are counted.
    network = models.CharField(max_length=50)
    client = models.CharField(max_length=200, blank=True, help_text="What the program calls itself.")
    created_at = models.DateTimeField(auto_now_add=True)
    expires_at = models.DateTimeField()
    user = models.ForeignKey(
        "organizations.User",
        on_delete=models.CASCADE,
        related_name="device_authorizations",
        null=True,
        blank=True,
        help_text="Who approved or denied it.",
    )
    approved_at = models.DateTimeField(null=True, blank=True)
    denied_at = models.DateTimeField(null=True, blank=True)
    taken_at = models.DateTimeField(null=True, blank=True)
    api_key = models.ForeignKey(
        "organizations.ApiKey", on_delete=models.SET_NULL, related_name="+", null=True, blank=True
    )

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["code_hash"], name="device_authorization_code_unique"),
            models.CheckConstraint(
                condition=Q(approved_at__isnull=True) | Q(denied_at__isnull=True),
                name="device_authorization_one_answer",
            ),
            models.CheckConstraint(
                condition=Q(approved_at__isnull=True, denied_at__isnull=True) | Q(user__isnull=False),
                name="device_authorization_answered_by",
            ),
            models.CheckConstraint(
                condition=Q(taken_at__isnull=True) | Q(approved_at__isnull=False),
                name="device_authorization_taken_approved",
            ),
        ]
        indexes: ClassVar = [
            models.Index(fields=["network", "expires_at"], name="device_authorization_pending"),
            models.Index(fields=["expires_at"], name="device_authorization_by_end"),
            models.Index(fields=["-created_at"], name="device_authorization_by_time"),
        ]

    def __str__(self) -> str:
        return self.client or "unnamed program"

    def state(self, now: datetime) -> DeviceState:
        """Where it stands at this time."""
        if self.denied_at is not None:
            return DeviceState.DENIED
        if self.taken_at is not None:
            return DeviceState.TAKEN
        if self.expires_at <= now:
            return DeviceState.EXPIRED
        return DeviceState.PENDING if self.approved_at is None else DeviceState.APPROVED
