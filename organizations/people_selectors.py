"""Reading who belongs to an organization, who is invited, and which API keys are bound to it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Final
from uuid import UUID

from django.db.models import QuerySet
from django.http import Http404

from kilo_gateway.fixed_query import FixedQuery
from kilo_gateway.newest_first import Log, Position
from organizations.members import MAX_TOKEN_LENGTH, token_hash
from organizations.models import ApiKey, Invitation, Membership, User

KEYS_PAGE: Final = 100
OWN_KEYS_PAGE: Final = 20


def members_of(organization_id: UUID) -> list[Membership]:
    """All memberships with their people, by email address. One query."""
    memberships = Membership.objects.filter(organization_id=organization_id)
    return list(memberships.select_related("user").order_by("user__email"))


def _addresses(organization_id: UUID) -> QuerySet[Membership, tuple[str, str]]:
    rows = Membership.objects.filter(organization_id=organization_id).order_by("user__email")
    return rows.values_list("user__email", "user__name")


_ADDRESSES: Final = FixedQuery(_addresses, UUID(int=1))


def addresses_of(organization_id: UUID) -> list[tuple[str, str]]:
    """The email address and the name of each member, by address. One query."""
    return [(email, name) for email, name in _ADDRESSES.rows(organization_id)]


def open_invitations_of(organization_id: UUID) -> list[Invitation]:
    """The invitations that were neither accepted nor revoked, expired ones included, newest first. One query."""
    invitations = Invitation.objects.filter(organization_id=organization_id, accepted_at=None, revoked_at=None)
    return list(invitations.select_related("invited_by").order_by("-created_at", "pk"))


@dataclass(frozen=True, slots=True)
class KeyPage:
    """Keys, newest first; `next_cursor` leads to the older ones, None at the end."""

    rows: list[ApiKey]
    next_cursor: UUID | None


def keys_of(
    organization_id: UUID, *, user: User | None = None, cursor: UUID | None = None, size: int = KEYS_PAGE
) -> KeyPage:
    """The newest keys bound to an organization, or those older than the key `cursor`; with `user` only his.

    Revoked ones are left out; as a cursor one still counts, and one that is none of these keys does not. One query, two
    with a cursor.
    """
    return _page(_bound_to(organization_id, user), cursor, size)


def key_or_404(organization_id: UUID, key_id: UUID, *, user: User | None = None) -> ApiKey:
    """One of them; raises `Http404`. One query."""
    key = _not_revoked(_bound_to(organization_id, user)).filter(pk=key_id).first()
    if key is None:
        raise Http404
    return key


def own_keys_of(user: User, *, cursor: UUID | None = None, size: int = OWN_KEYS_PAGE) -> KeyPage:
    """A person's newest keys that are bound to no organization, or those older than the key `cursor`, as above."""
    return _page(ApiKey.objects.filter(user=user, organization=None), cursor, size)


def _bound_to(organization_id: UUID, user: User | None) -> QuerySet[ApiKey]:
    keys = ApiKey.objects.filter(organization_id=organization_id).select_related("user")
    return keys if user is None else keys.filter(user=user)


def _not_revoked(keys: QuerySet[ApiKey]) -> QuerySet[ApiKey]:
    return keys.filter(revoked_at=None)


def _page(keys: QuerySet[ApiKey], cursor: UUID | None, size: int) -> KeyPage:
    place = None if cursor is None else keys.filter(pk=cursor).values_list("created_at", "pk").first()
    page = Log(_not_revoked(keys)).older(size, Position(*place) if place else None)
    return KeyPage(page.rows, page.older.pk if page.older else None)


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
