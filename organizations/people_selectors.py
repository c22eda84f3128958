"""Reading who belongs to an organization, who is invited, and which API keys are bound to it."""

from __future__ import annotations

from datetime import UTC, datetime
from enum import StrEnum
from uuid import UUID

from organizations.members import MAX_TOKEN_LENGTH, token_hash
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


def own_keys_of(user: User) -> list[ApiKey]:
    """A person's keys that are bound to no organization and were not revoked, newest first. One query."""
    keys = ApiKey.objects.filter(user=user, organization=None, revoked_at=None)
    return list(keys.order_by("-created_at", "pk"))


def keys_expiring(
    organization_id: UUID, *, since: datetime, before: datetime, user: User | None = None
) -> list[ApiKey]:
    """The keys bound to an organization that expire in this time, soonest first; with `user` only his. One query."""
    keys = ApiKey.objects.filter(organization_id=organization_id, revoked_at=None)
    keys = keys.filter(expires_at__gte=since, expires_at__lt=before)
    if user is not None:
        keys = keys.filter(user=user)
    return list(keys.select_related("user").order_by("expires_at", "pk"))


class InvitationState(StrEnum):
    """What an invitation is for the person who opened its link."""

    OPEN = "open"
    UNKNOWN = "unknown"
    ACCEPTED = "accepted"
    REVOKED = "revoked"
    EXPIRED = "expired"
    OF_ANOTHER = "of_another"


def invitation_of_token(token: str) -> Invitation | None:
    """The invitation with its organization and who sent it; None when none has this token. One query."""
    found = Invitation.objects.filter(token_hash=token_hash(token[:MAX_TOKEN_LENGTH]))
    return found.select_related("organization", "invited_by").first()


def invitation_state(row: Invitation | None, user: User | None) -> InvitationState:
    """How an invitation stands for a signed-in person, or for somebody who is not signed in. No query."""
    if row is None:
        return InvitationState.UNKNOWN
    if row.accepted_at is not None:
        return InvitationState.ACCEPTED
    if row.revoked_at is not None:
        return InvitationState.REVOKED
    if row.expires_at <= datetime.now(UTC):
        return InvitationState.EXPIRED
    return InvitationState.OPEN if user is None or user.email == row.email else InvitationState.OF_ANOTHER


def account_of(email: str) -> User | None:
    """Whose email address this is; None for nobody's. One query."""
    return User.objects.filter(email=email).first()
