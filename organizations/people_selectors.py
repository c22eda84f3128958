"""Reading who belongs to an organization, who is invited, and which API keys are bound to it."""

from __future__ import annotations

from uuid import UUID

from organizations.models import ApiKey, Invitation, Membership, User


def members_of(organization_id: UUID) -> list[Membership]:
    """All memberships with their people, by email address. One query."""
    memberships = Membership.objects.filter(organization_id=organization_id)
    return list(memberships.select_related("user").order_by("user__email"))


def open_invitations_of(organization_id: UUID) -> list[Invitation]:
    """The invitations that were neither accepted nor revoked, expired ones included, newest first. One query."""
    invitations = Invitation.objects.filter(organization_id=organization_id, accepted_at=None, revoked_at=None)
    return list(invitations.select_related("invited_by").order_by("-created_at", "pk"))


def keys_of(organization_id: UUID, *, user: User | None = None) -> list[ApiKey]:
    """The keys bound to an organization that were not revoked, newest first; with `user` only his. One query."""
    keys = ApiKey.objects.filter(organization_id=organization_id, revoked_at=None)
    if user is not None:
        keys = keys.filter(user=user)
    return list(keys.select_related("user").order_by("-created_at", "pk"))
