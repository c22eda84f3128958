"""Organizations, who belongs to them, and every version of their settings."""

from __future__ import annotations

import uuid
from typing import ClassVar

from django.db import models
from django.db.models import Func, Q, Value
from django.db.models.lookups import Exact

from organizations.models.names import without_control_characters


class Plan(models.TextChoices):
    """What an organization has bought; only `enterprise` is eligible for Organization Auto and a model policy."""

    TEAMS = "teams", "Teams"
    ENTERPRISE = "enterprise", "Enterprise"


class Role(models.TextChoices):
    """What a member may do; `organizations.permissions` says what that is."""

    OWNER = "owner", "Owner"
    ADMIN = "admin", "Admin"
    BILLING_MANAGER = "billing_manager", "Billing manager"
    MEMBER = "member", "Member"


def _is_object(column: str) -> Exact:
    return Exact(Func(column, function="jsonb_typeof", output_field=models.TextField()), Value("object"))


class Organization(models.Model):
    """A customer. Its `settings` are the only store of routing; its row is what every routing change locks."""

    id = models.UUIDField(primary_key=True, default=uuid.uuid4, editable=False)
    name = models.CharField(max_length=100, validators=[without_control_characters])
    plan = models.CharField(max_length=20, choices=Plan, default=Plan.TEAMS)
    settings = models.JSONField(default=dict, blank=True)
    routing_version = models.PositiveBigIntegerField(
        default=1, help_text="Raised by one in every transaction that can change a routing decision."
    )
    created_at = models.DateTimeField(auto_now_add=True)
    updated_at = models.DateTimeField(auto_now=True)

    class Meta:
        constraints: ClassVar = [
            models.CheckConstraint(condition=Q(plan__in=Plan.values), name="organization_plan_known"),
            models.CheckConstraint(condition=_is_object("settings"), name="organization_settings_object"),
            models.CheckConstraint(condition=~Q(name=""), name="organization_name_present"),
        ]

    def __str__(self) -> str:
        return self.name


class Membership(models.Model):
    """That a person belongs to an organization, and as what."""

    organization = models.ForeignKey(Organization, on_delete=models.CASCADE, related_name="memberships")
    user = models.ForeignKey("organizations.User", on_delete=models.CASCADE, related_name="memberships")
    role = models.CharField(max_length=20, choices=Role, default=Role.MEMBER)
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["user", "organization"], name="membership_unique"),
            models.CheckConstraint(condition=Q(role__in=Role.values), name="membership_role_known"),
        ]

    def __str__(self) -> str:
        return f"{self.user_id} in {self.organization_id} as {self.role}"


class SettingsVersion(models.Model):
    """The settings of an organization as they were from one routing version on. Rows never change."""

    organization = models.ForeignKey(Organization, on_delete=models.PROTECT, related_name="settings_versions")
    routing_version = models.PositiveBigIntegerField()
    settings = models.JSONField()
    # No foreign key: the version outlives the person.
    actor_id = models.UUIDField(null=True)
    actor_email = models.CharField(max_length=254, blank=True)
    audit_log = models.ForeignKey("organizations.AuditLog", on_delete=models.PROTECT, related_name="+")
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        constraints: ClassVar = [
            models.UniqueConstraint(fields=["organization", "routing_version"], name="settings_version_unique"),
            models.CheckConstraint(condition=_is_object("settings"), name="settings_version_object"),
        ]

    def __str__(self) -> str:
        return f"{self.organization_id} v{self.routing_version}"
