"""Addresses of the pages about an organization's people, and of the start page."""

from __future__ import annotations

from django.urls import path

from organizations.pages import home, members

ORGANIZATION = "organizations/<uuid:organization_id>"

urlpatterns = [
    path("", home.home, name="home"),
    path(f"{ORGANIZATION}/members", members.members, name="members"),
    path(f"{ORGANIZATION}/members/invite", members.invite, name="member-invite"),
    path(f"{ORGANIZATION}/members/<uuid:user_id>", members.member, name="member"),
    path(f"{ORGANIZATION}/members/<uuid:user_id>/remove", members.remove, name="member-remove"),
    path(
        f"{ORGANIZATION}/members/invitations/<uuid:invitation_id>/revoke",
        members.invitation_revoke,
        name="invitation-revoke",
    ),
]
