"""The audit log: one row for each change, chained by hash, never altered."""

from __future__ import annotations

from typing import ClassVar

from django.db import models
from django.db.models import Q


class AuditAction(models.TextChoices):
    """Everything that the audit log can say."""

    ORGANIZATION_CREATED = "organization.created"
    ORGANIZATION_PLAN_CHANGED = "organization.plan.changed"
    HOSTED_BALANCE_CHANGED = "organization.hosted_balance.changed"
    DEFAULT_MODEL_CHANGED = "settings.default_model.changed"
    MODEL_POLICY_CHANGED = "settings.model_policy.changed"
    DATA_COLLECTION_CHANGED = "settings.data_collection.changed"
    SPENDING_LIMITS_CHANGED = "settings.spending_limits.changed"
    SETTINGS_RESTORED = "settings.restored"
    ORGANIZATION_AUTO_ENABLED = "organization_auto.enabled"
    ORGANIZATION_AUTO_DISABLED = "organization_auto.disabled"
    ROUTE_SET = "organization_auto.route.set"
    ROUTE_UPDATED = "organization_auto.route.updated"
    ROUTE_CLEARED = "organization_auto.route.cleared"
    ROUTE_MIGRATED = "organization_auto.route.migrated"
    ROUTE_PRESERVED = "organization_auto.route.preserved"
    ROUTE_REMOVED = "organization_auto.route.removed"
    ROUTE_BROKEN = "organization_auto.route.broken"
    FALLBACK_CHANGED = "organization_auto.fallback.changed"
    MODE_CREATED = "mode.created"
    MODE_UPDATED = "mode.updated"
    MODE_DELETED = "mode.deleted"
    MODE_REVERTED = "mode.reverted"
    BYOK_CREATED = "byok.created"
    BYOK_REPLACED = "byok.replaced"
    BYOK_ENABLED = "byok.enabled"
    BYOK_DISABLED = "byok.disabled"
    BYOK_DELETED = "byok.deleted"
    BYOK_TESTED = "byok.tested"
    BYOK_DISCOVERED = "byok.discovered"
    CUSTOM_PROVIDER_CREATED = "custom_provider.created"
    CUSTOM_PROVIDER_UPDATED = "custom_provider.updated"
    CUSTOM_PROVIDER_DELETED = "custom_provider.deleted"
    MEMBER_ADDED = "member.added"
    MEMBER_ROLE_CHANGED = "member.role_changed"
    MEMBER_REMOVED = "member.removed"
    INVITATION_CREATED = "invitation.created"
    INVITATION_ACCEPTED = "invitation.accepted"
    INVITATION_REVOKED = "invitation.revoked"
    API_KEY_CREATED = "api_key.created"
    API_KEY_UPDATED = "api_key.updated"
    API_KEY_REVOKED = "api_key.revoked"
    DEVICE_AUTH_APPROVED = "device_auth.approved"
    USER_LOGIN = "user.login"
    USER_LOGIN_FAILED = "user.login_failed"
    USER_CREATED = "user.created"
    USER_UPDATED = "user.updated"
    AUTO_TIER_CHANGED = "auto_tier.changed"
    CATALOG_SYNCED = "catalog.synced"


class Via(models.TextChoices):
    """The way by which a change came."""

    WEB = "web"
    API = "api"
    ADMIN = "admin"
    COMMAND = "command"
    SYSTEM = "system"


class AuditLog(models.Model):
    """What was changed, by whom and how, as it was then. Database triggers refuse UPDATE, DELETE and TRUNCATE.

    The rows of one organization (and those of none) are a chain: `sequence` counts them without a gap, and `hash`
    covers the row and the hash before it. `organizations.audit` writes and verifies them.
    """

    # Without an index of its own: those below begin with it, and all rows of an organization are never what is wanted.
    organization = models.ForeignKey(
        "organizations.Organization", on_delete=models.PROTECT, related_name="audit_logs", null=True, db_index=False
    )
    sequence = models.PositiveBigIntegerField()
    created_at = models.DateTimeField()
    action = models.CharField(max_length=60, choices=AuditAction)
    # No foreign key, and the name kept beside it: the row outlives the person.
    actor_id = models.UUIDField(null=True)
    actor_email = models.CharField(max_length=254, blank=True)
    actor_name = models.CharField(max_length=150, blank=True)
    via = models.CharField(max_length=10, choices=Via)
    address = models.GenericIPAddressField(null=True)
    request_id = models.CharField(max_length=64, blank=True)
    target_kind = models.CharField(max_length=40, blank=True)
    target_id = models.CharField(max_length=200, blank=True)
    changes = models.JSONField(default=dict)
    message = models.TextField()
    previous_hash = models.CharField(max_length=64, blank=True)
    hash = models.CharField(max_length=64)

    class Meta:
        verbose_name = "audit log entry"
        verbose_name_plural = "audit log"
        constraints: ClassVar = [
            models.UniqueConstraint(
                fields=["organization", "sequence"], name="audit_log_sequence_unique", nulls_distinct=False
            ),
            models.CheckConstraint(condition=Q(action__in=AuditAction.values), name="audit_log_action_known"),
            models.CheckConstraint(condition=Q(via__in=Via.values), name="audit_log_via_known"),
        ]
        indexes: ClassVar = [
            models.Index(fields=["organization", "-created_at"], name="audit_log_by_time"),
            models.Index(fields=["organization", "action", "-sequence"], name="audit_log_by_action"),
            models.Index(fields=["organization", "actor_email", "-sequence"], name="audit_log_by_actor"),
            models.Index(fields=["organization", "actor_id", "-sequence"], name="audit_log_by_actor_id"),
            # Staff read the rows of all organizations.
            models.Index(fields=["-created_at"], name="audit_log_all_by_time"),
            models.Index(fields=["action", "-created_at"], name="audit_log_all_by_action"),
            models.Index(fields=["actor_email", "-created_at"], name="audit_log_all_by_actor"),
            models.Index(fields=["target_id", "-created_at"], name="audit_log_all_by_target"),
        ]

    def __str__(self) -> str:
        return self.message
