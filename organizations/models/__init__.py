"""Who: users, organizations, memberships, API keys, and the record of what was changed."""

from __future__ import annotations

from organizations.models.api_key import ApiKey, Scope
from organizations.models.attempt import Attempt
from organizations.models.audit import AuditAction, AuditLog, Via
from organizations.models.device_authorization import DeviceAuthorization, DeviceState
from organizations.models.invitation import Invitation
from organizations.models.organization import Membership, Organization, Plan, Role, SettingsVersion
from organizations.models.user import User

__all__ = [
    "ApiKey",
    "Attempt",
    "AuditAction",
    "AuditLog",
    "DeviceAuthorization",
    "DeviceState",
    "Invitation",
    "Membership",
    "Organization",
    "Plan",
    "Role",
    "Scope",
    "SettingsVersion",
    "User",
    "Via",
]
