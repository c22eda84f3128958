"""Addresses of the management of people and of the audit log, below an organization."""

from __future__ import annotations

from django.urls import path

from organizations.management_api.api_keys import ApiKeysView, ApiKeyView
from organizations.management_api.audit_logs import AuditExportView, AuditLogsView
from organizations.management_api.members import InvitationsView, InvitationView, MembersView, MemberView

ORGANIZATION = "api/organizations/<uuid:organization_id>"

urlpatterns = [
    path(f"{ORGANIZATION}/members", MembersView.as_view(), name="api-members"),
    path(f"{ORGANIZATION}/members/<uuid:user_id>", MemberView.as_view(), name="api-member"),
    path(f"{ORGANIZATION}/invitations", InvitationsView.as_view(), name="api-invitations"),
    path(f"{ORGANIZATION}/invitations/<uuid:invitation_id>", InvitationView.as_view(), name="api-invitation"),
    path(f"{ORGANIZATION}/api-keys", ApiKeysView.as_view(), name="api-keys"),
    path(f"{ORGANIZATION}/api-keys/<uuid:key_id>", ApiKeyView.as_view(), name="api-key"),
    path(f"{ORGANIZATION}/audit-logs", AuditLogsView.as_view(), name="api-audit-logs"),
    path(f"{ORGANIZATION}/audit-logs/export", AuditExportView.as_view(), name="api-audit-export"),
]
