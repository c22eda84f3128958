"""Addresses of the pages about an organization's people, and of the start page."""

from __future__ import annotations

from django.urls import path

from organizations.pages import api_keys, audit_logs, home, members

ORGANIZATION = "organizations/<uuid:organization_id>"

urlpatterns = [
    path("", home.home, name="home"),
    path(f"{ORGANIZATION}/audit-logs", audit_logs.audit_logs, name="audit-logs"),
    path(f"{ORGANIZATION}/audit-logs/<int:sequence>", audit_logs.audit_log, name="audit-log"),
    path(f"{ORGANIZATION}/members", members.members, name="members"),
    path(f"{ORGANIZATION}/members/invite", members.invite, name="member-invite"),
    path(f"{ORGANIZATION}/members/<uuid:user_id>", members.member, name="member"),
    path(f"{ORGANIZATION}/members/<uuid:user_id>/remove", members.remove, name="member-remove"),
    path(
        f"{ORGANIZATION}/members/invitations/<uuid:invitation_id>/revoke",
        members.invitation_revoke,
        name="invitation-revoke",
    ),
    path(f"{ORGANIZATION}/api-keys", api_keys.api_keys, name="api-keys-page"),
    path(f"{ORGANIZATION}/api-keys/create", api_keys.create, name="api-key-create"),
    path(f"{ORGANIZATION}/api-keys/<uuid:key_id>", api_keys.edit, name="api-key-edit"),
    path(f"{ORGANIZATION}/api-keys/<uuid:key_id>/revoke", api_keys.revoke, name="api-key-revoke"),
]
