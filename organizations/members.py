"""Who belongs to an organization: roles, leaving, and invitations.

Each function is one transaction under the lock of the organization's row, with its audit rows. Doing what is already so
writes nothing. An admin is a peer of an owner, except that only owners make, change and remove owners; and one owner
stays, whoever acts.

All raise `Http404` for what is not the acting person's to see, and `GatewayError`: 403 `role_required`, 400 for a value
that is none, 409 for what the current state does not allow, 412 when the routing version has moved on.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final
from uuid import UUID

from django.conf import settings
from django.core.exceptions import ValidationError
from django.core.validators import validate_email
from django.db import transaction
from django.db.models import QuerySet
from django.http import Http404

from kilo_gateway.api_errors import ErrorType, GatewayError
from kilo_gateway.secret import Secret
from organizations import audit
from organizations.acting import Acting
from organizations.attempts import Limit
from organizations.frame import Change, changing
from organizations.models import ApiKey, AuditAction, Invitation, Membership, Organization, Role, User, Via
from organizations.permissions import Ability, may
from organizations.refusals import conflict, invalid, role_required
from organizations.services import api_key_revoke, lock_organization, membership_add
from organizations.users import user_create

ADMINS_MANAGE: Final = "Only owners and admins manage members."
OWNERS_CHANGE_OWNERS: Final = "Only owners change owners."
INVITATION_DAYS: Final = 7
MAX_EMAIL_LENGTH: Final = 254
MAX_TOKEN_LENGTH: Final = 200
# Addresses that nobody could be added with: who tries many learns who has an account in other organizations.
_UNKNOWN_ADDRESSES: Final = Limit("member-add/unknown", 20, 3600)


# ---------------------------------------------------------------- members


def member_add(*, organization_id: UUID, acting: Acting, email: str, role: Role) -> Membership:
    """Make somebody who has an account here a member at once, without an invitation.

    Only an account whose address was shown to be its person's: who else uses it is not who was meant. An open
    invitation of the address is in the way, as it is of another invitation.

    Raises:
        GatewayError: 404 `no_such_account` when there is none that can be added, which is counted; after 20 of them in
            an hour 429 `too_many_unknown_addresses` for every address, of somebody who could be added as well.
    """
    address = _valid_email(email)
    with changing(organization_id, acting) as change:
        _require_newcomer(change, address, role)
        expired = _expired_invitation(change, address)
        _require_known_addresses(change)
        user = User.objects.filter(email=address, is_active=True, email_proven_at__isnull=False).first()
        if user is not None:
            _give_way(change, expired)
            return membership_add(organization=change.organization, user=user, role=role, actor=acting.actor)
        _UNKNOWN_ADDRESSES.allows(str(organization_id))
    # After the transaction, which has counted it and written nothing else.
    raise GatewayError(
        ErrorType.NOT_FOUND, 404, f"There is no account of {address} to add. Invite it.", code="no_such_account"
    )


def member_role_change(*, organization_id: UUID, acting: Acting, user_id: UUID, role: Role) -> Membership:
    """Let a member be something else. What he invited people to and may not any more is revoked."""
    with changing(organization_id, acting) as change:
        change.require(Ability.MANAGE_MEMBERS, ADMINS_MANAGE)
        membership = _member(change, user_id)
        before = Role(membership.role)
        if before == role:
            return membership
        if Role.OWNER in {before, role}:
            _require_owner(change)
        if before == Role.OWNER:
            _require_another_owner(change, user_id)
        membership.role = role
        membership.save(update_fields=["role"])
        email = membership.user.email
        change.record(
            AuditAction.MEMBER_ROLE_CHANGED,
            f"Role of {email} changed from {before.label.lower()} to {role.label.lower()}",
            {"role": (before.value, role.value)},
            target_kind="user",
            target_id=user_id,
        )
        _revoke_sent(change, membership.user, lambda invited: not _may_grant(role, invited))
        return membership


def member_remove(*, organization_id: UUID, acting: Acting, user_id: UUID) -> Organization:
    """End a membership; everybody may end his own.

    The person's keys that are bound to this organization and the invitations that he sent end with it. Nothing of his
    in other organizations does, nor keys that are bound to none: those open nothing here any more.
    """
    with changing(organization_id, acting) as change:
        leaves = acting.user is not None and acting.user.pk == user_id
        if not leaves:
            change.require(Ability.MANAGE_MEMBERS, ADMINS_MANAGE)
        membership = _member(change, user_id)
        user, role = membership.user, Role(membership.role)
        if role == Role.OWNER:
            _require_owner(change)
            _require_another_owner(change, user_id)
        for key in ApiKey.objects.filter(user=user, organization=change.organization, revoked_at=None):
            api_key_revoke(key=key, actor=acting.actor)
        _revoke_sent(change, user, lambda _: True)
        membership.delete()
        change.record(
            AuditAction.MEMBER_REMOVED,
            f"{user.email} left as {role.label.lower()}" if leaves else f"{user.email} removed as {role.label.lower()}",
            {"role": (role.value, None)},
            target_kind="user",
            target_id=user_id,
        )
        return change.organization


def _member(change: Change, user_id: UUID) -> Membership:
    membership = (
        Membership.objects.select_related("user").filter(organization=change.organization, user_id=user_id).first()
    )
    if membership is None:
        raise Http404
    membership.organization = change.organization
    return membership


def _require_newcomer(change: Change, email: str, role: Role) -> None:
    """Whether the acting person may let this address in with this role, and it is no member's."""
    change.require(Ability.MANAGE_MEMBERS, ADMINS_MANAGE)
    if role == Role.OWNER:
        _require_owner(change)
    if Membership.objects.filter(organization=change.organization, user__email=email).exists():
        raise conflict(f"{email} is a member already.", code="already_member")


def _require_known_addresses(change: Change) -> None:
    """Under the lock of the organization, so that those who try at the same time are counted one after the other."""
    if _UNKNOWN_ADDRESSES.is_reached(str(change.organization.pk)):
        raise GatewayError(
            ErrorType.RATE_LIMITED,
            429,
            "Too many addresses that nobody could be added with. Invite them, or try again in an hour.",
            code="too_many_unknown_addresses",
            headers={"Retry-After": str(_UNKNOWN_ADDRESSES.seconds)},
        )


def _require_owner(change: Change) -> None:
    if not change.is_by_owner:
        raise role_required(OWNERS_CHANGE_OWNERS)


def _require_another_owner(change: Change, user_id: UUID) -> None:
    """An owner who cannot sign in does not count: nobody could undo what is done now."""
    others = Membership.objects.filter(organization=change.organization, role=Role.OWNER, user__is_active=True)
    if not others.exclude(user_id=user_id).exists():
        raise conflict(
            "An organization keeps at least one owner. Make somebody else an owner first.", code="last_owner"
        )


# ---------------------------------------------------------------- invitations


@dataclass(frozen=True, slots=True)
class NewInvitation:
    """An invitation just made; `token` is shown to whoever made it once and kept nowhere."""

    row: Invitation
    token: Secret

    @property
    def link(self) -> str:
        """Where the invited person accepts it. It holds the token."""
        return f"{settings.BASE_URL}/invitations/{self.token.reveal()}"


def token_hash(token: str) -> bytes:
    """What the database holds instead of a token, which is 256 random bits."""
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).digest()


def invitation_create(*, organization_id: UUID, acting: Acting, email: str, role: Role) -> NewInvitation:
    """Invite an email address for `INVITATION_DAYS`; there is one open invitation for an address at a time."""
    address = _valid_email(email)
    with changing(organization_id, acting) as change:
        _require_newcomer(change, address, role)
        _give_way(change, _expired_invitation(change, address))
        token = Secret(secrets.token_urlsafe(32))
        row = Invitation(
            organization=change.organization,
            email=address,
            role=role,
            token_hash=token_hash(token.reveal()),
            invited_by=acting.user,
            expires_at=_now() + timedelta(days=INVITATION_DAYS),
        )
        row.full_clean()
        row.save(force_insert=True)
        change.record(
            AuditAction.INVITATION_CREATED,
            f"{address} invited as {role.label.lower()}",
            {"role": (None, role.value), "expires_at": (None, row.expires_at.isoformat())},
            target_kind="invitation",
            target_id=row.pk,
        )
        return NewInvitation(row, token)


def invitation_accept(*, token: str, user: User, actor: audit.Actor) -> Membership:
    """Make the person who was invited a member.

    Raises:
        Http404: no invitation has this token.
        GatewayError: 403 `invitation_of_another` for anybody else; 409 when it is not open any more
            (`invitation_accepted`, `invitation_revoked`, `invitation_expired`), or he is a member (`already_member`).
    """
    found = _invitation(token_hash=token_hash(token[:MAX_TOKEN_LENGTH]))
    if found.email != user.email:
        raise GatewayError(
            ErrorType.ACCESS_DENIED,
            403,
            "This invitation is for another email address. Sign in with the address that was invited.",
            code="invitation_of_another",
        )
    return _accept(found, user, actor)


@transaction.atomic
def _accept(found: Invitation, user: User, actor: audit.Actor) -> Membership:
    organization = lock_organization(found.organization_id)
    row = _invitation(pk=found.pk)
    _require_open(row)
    if Membership.objects.filter(organization=organization, user=user).exists():
        raise conflict("You are a member already.", code="already_member")
    row.accepted_at = _now()
    row.save(update_fields=["accepted_at"])
    audit.record(
        AuditAction.INVITATION_ACCEPTED,
        organization=organization,
        actor=actor,
        message=f"Invitation of {row.email} accepted",
        changes={"accepted_at": (None, row.accepted_at.isoformat())},
        target_kind="invitation",
        target_id=str(row.pk),
    )
    return membership_add(organization=organization, user=user, role=Role(row.role), actor=actor)


@transaction.atomic
def invitation_register(*, token: str, name: str, password: Secret, address: str | None) -> User:
    """Make an account for who was invited and has none, and let him join.

    The token does not prove the email address: whoever sent the invitation has it as well. The organization is locked
    before the account is noted: nobody waits for one who holds the chain of the rows that belong to none.

    Raises:
        Http404: no invitation has this token.
        GatewayError: 409 when it is not open any more.
        ValidationError: the name is no valid one, or the address has an account by now.
    """
    found = _invitation(token_hash=token_hash(token[:MAX_TOKEN_LENGTH]))
    lock_organization(found.organization_id)
    _require_open(found)
    invited = audit.Actor(via=Via.WEB, email=found.email, name=name.strip(), address=address)
    user = user_create(email=found.email, name=name, password=password, actor=invited, email_is_proven=False)
    _accept(found, user, audit.Actor.of(user, Via.WEB, address))
    return user


@transaction.atomic
def invited_person_create(*, email: str, name: str, address: str | None) -> User | None:
    """An account without a password for who proved an email address elsewhere, as a member wherever he is invited.

    None when no open invitation is for this address.
    """
    open_ones = Invitation.objects.filter(
        email=email, accepted_at=None, revoked_at=None, expires_at__gt=_now()
    ).order_by("organization_id")
    invitations = list(open_ones)
    if not invitations:
        return None
    for invitation in invitations:
        lock_organization(invitation.organization_id)
    invited = audit.Actor(via=Via.WEB, email=email, name=name, address=address)
    user = user_create(email=email, name=name, password=None, actor=invited)
    for invitation in invitations:
        _accept(invitation, user, audit.Actor.of(user, Via.WEB, address))
    return user


def invitation_revoke(*, organization_id: UUID, acting: Acting, invitation_id: UUID) -> Invitation:
    """Take an invitation back; nothing happens to one that was taken back before."""
    with changing(organization_id, acting) as change:
        change.require(Ability.MANAGE_MEMBERS, ADMINS_MANAGE)
        row = _invitation(organization=change.organization, pk=invitation_id)
        row.organization = change.organization
        if row.role == Role.OWNER:
            _require_owner(change)
        if row.accepted_at is not None:
            raise conflict("It was accepted. Remove the member instead.", code="invitation_accepted")
        if row.revoked_at is None:
            _revoke(change, row, f"Invitation of {row.email} revoked")
        return row


def _invitation(**which: object) -> Invitation:
    row = Invitation.objects.filter(**which).first()
    if row is None:
        raise Http404
    return row


def _valid_email(email: str) -> str:
    address = email.strip().lower()
    try:
        validate_email(address)
    except ValidationError as error:
        raise invalid("email", error.messages[0]) from None
    if len(address) > MAX_EMAIL_LENGTH:
        raise invalid("email", f"An email address has at most {MAX_EMAIL_LENGTH} characters.")
    return address


def _expired_invitation(change: Change, email: str) -> Invitation | None:
    """The expired invitation of an address that is yet to end; raises 409 for one that is good, and in the way."""
    row = _open_invitations(change).filter(email=email).first()
    if row is not None and row.expires_at > _now():
        raise conflict(f"{email} has been invited. Revoke that invitation first.", code="already_invited")
    return row


def _give_way(change: Change, expired: Invitation | None) -> None:
    if expired is not None:
        _revoke(change, expired, f"Invitation of {expired.email} had expired and gave way to another")


def _open_invitations(change: Change) -> QuerySet[Invitation]:
    return Invitation.objects.filter(organization=change.organization, accepted_at=None, revoked_at=None)


def _may_grant(inviter: Role, role: str) -> bool:
    return may(inviter, Ability.MANAGE_MEMBERS) and (inviter == Role.OWNER or role != Role.OWNER)


def _revoke_sent(change: Change, user: User, concerns: Callable[[str], bool]) -> None:
    """What a person sent is open no longer than he may invite: else he could let himself in again."""
    for row in _open_invitations(change).filter(invited_by=user).order_by("created_at"):
        if concerns(row.role):
            _revoke(change, row, f"Invitation of {row.email} revoked with the rights of {user.email}, who sent it")


def _revoke(change: Change, row: Invitation, message: str) -> None:
    row.revoked_at = _now()
    row.save(update_fields=["revoked_at"])
    change.record(
        AuditAction.INVITATION_REVOKED,
        message,
        {"revoked_at": (None, row.revoked_at.isoformat())},
        target_kind="invitation",
        target_id=row.pk,
    )


def _require_open(row: Invitation) -> None:
    if row.accepted_at is not None:
        raise conflict("This invitation was accepted before.", code="invitation_accepted")
    if row.revoked_at is not None:
        raise conflict("This invitation was revoked.", code="invitation_revoked")
    if row.expires_at <= _now():
        raise conflict("This invitation has expired. Ask for a new one.", code="invitation_expired")


def _now() -> datetime:
    return datetime.now(UTC)
