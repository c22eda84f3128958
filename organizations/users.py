"""Changing people's accounts: each change is audited, and is one transaction."""

from __future__ import annotations

from uuid import UUID

from allauth.mfa.models import Authenticator
from django.core.exceptions import ValidationError
from django.db import transaction
from django.db.models import F
from django.http import Http404
from django.utils import timezone

from kilo_gateway.secret import Secret
from organizations import audit
from organizations.models import ApiKey, AuditAction, DeviceAuthorization, User
from organizations.services import api_key_revoke, lock_same_user, lock_user
from organizations.signals import email_proven


@transaction.atomic
def user_create(
    *,
    email: str,
    name: str,
    password: Secret | None,
    actor: audit.Actor,
    is_active: bool = True,
    is_staff: bool = False,
    email_is_proven: bool = True,
) -> User:
    """A person who signs in with this password, which the caller has judged good enough; with None, by other means.

    Args:
        email_is_proven: That the address is this person's is certain, or staff answers for it.

    Raises:
        ValidationError: a field has no valid value, or the address is somebody's already.
    """
    user = User(email=email.strip().lower(), name=name.strip(), is_active=is_active, is_staff=is_staff)
    if not email_is_proven:
        user.email_proven_at = None
    user.set_password(password.reveal() if password else None)
    user.full_clean()
    user.save(force_insert=True)
    rights = " as a member of staff" if is_staff else ""
    audit.record(
        AuditAction.USER_CREATED,
        organization=None,
        actor=actor,
        message=f"User {user.email} created{rights}",
        changes={"email": (None, user.email), "is_active": (None, is_active), "is_staff": (None, is_staff)},
        target_kind="user",
        target_id=str(user.pk),
    )
    return user


@transaction.atomic
def user_update(
    *, user_id: UUID, name: str, is_active: bool, is_staff: bool, actor: audit.Actor, password: Secret | None = None
) -> User:
    """Set what staff decides about an account; with a password, that one from now on, which ends all other sessions.

    Nothing is written when nothing changes.

    Raises:
        ValidationError: it would take the acting person's own access away, so that nobody is left who can undo it.
    """
    user = lock_user(user_id)
    before = _state(user)
    user.name, user.is_active, user.is_staff = name.strip(), is_active, is_staff
    if user.pk == actor.id and not (is_active and is_staff):
        raise ValidationError("You cannot take your own access away: another member of staff can.")
    changes: dict[str, tuple[object, object]] = {
        field: (before[field], after) for field, after in _state(user).items() if before[field] != after
    }
    if password is not None:
        user.set_password(password.reveal())
        changes["password"] = ("set", "replaced")
    if not changes:
        return user
    user.full_clean()
    user.save(update_fields=["name", "is_active", "is_staff", "password"])
    _record_update(user, actor, _told(user, changes), changes)
    return user


def _state(user: User) -> dict[str, object]:
    return {"name": user.name, "is_active": user.is_active, "is_staff": user.is_staff}


def _told(user: User, changes: audit.Changes) -> str:
    told = {
        "name": "renamed",
        "is_active": "activated" if user.is_active else "deactivated",
        "is_staff": "made a member of staff" if user.is_staff else "no longer a member of staff",
        "password": "given a new password",
    }
    return ", ".join(told[field] for field in changes)


@transaction.atomic
def user_rename(*, user_id: UUID, name: str, actor: audit.Actor) -> User:
    """Let a person be called something else; nothing is written when that is so already.

    Raises:
        ValidationError: the name is no valid one.
    """
    user = lock_user(user_id)
    before, user.name = user.name, name.strip()
    if user.name == before:
        return user
    user.full_clean()
    user.save(update_fields=["name"])
    _record_update(user, actor, "renamed", {"name": (before, user.name)})
    return user


@transaction.atomic
def user_password_set(*, user: User, password: Secret, actor: audit.Actor) -> None:
    """Replace a person's password by one that the caller has judged good enough. All sessions but the caller's end.

    Raises:
        GatewayError: 401 `signed_out` when the person's access has ended since he was let in.
    """
    lock_same_user(user)
    user.set_password(password.reveal())
    user.save(update_fields=["password"])
    _record_update(user, actor, "given a new password", {"password": ("set", "replaced")})


@transaction.atomic
def user_password_reset(*, user: User, password: Secret, actor: audit.Actor) -> None:
    """Replace the password of who has opened the link in a mail, which proves the address. All sessions end.

    Raises:
        GatewayError: 401 `signed_out` when the account has been closed meanwhile.
    """
    user_email_prove(user=user, actor=actor)
    user_password_set(user=user, password=password, actor=actor)


@transaction.atomic
def user_email_prove(*, user: User, actor: audit.Actor) -> None:
    """Note that a person has shown that the address of his account is his. Only the first time changes anything.

    Until then somebody else may have used the account. Whatever lets him in ends: the password, sessions, programs that
    wait for their key, and API keys, in organizations as well. Provider keys of the account's own go too: requests
    would be answered by somebody else's account. A second factor stays: staff removes it.

    Whatever makes one of these takes the lock of the person's row too, and looks there whether he is still let in
    (`lock_same_user`): what comes before is found here, and what comes after is refused.
    """
    user.email_proven_at = lock_user(user.pk).email_proven_at
    if user.email_proven_at is not None:
        return
    now = timezone.now()
    DeviceAuthorization.objects.filter(user=user, approved_at__isnull=False, taken_at=None).update(
        approved_at=None, denied_at=now
    )
    keys = list(ApiKey.objects.filter(user=user, revoked_at=None).order_by("organization_id", "pk"))
    for key in keys:
        api_key_revoke(key=key, actor=actor)
    user.set_password(None)
    user.email_proven_at = now
    user.save(update_fields=["password", "email_proven_at"])
    email_proven.send(User, user=user, actor=actor)
    told = f"shown to have this address: password and sessions ended, API keys revoked: {len(keys)}"
    _record_update(user, actor, told, {"email_proven_at": (None, now.isoformat()), "password": ("set", "removed")})


@transaction.atomic
def user_email_trust(*, user: User, actor: audit.Actor) -> None:
    """Note that the address of an account is its person's, as was shown before such things were noted. Nothing ends."""
    user.email_proven_at = lock_user(user.pk).email_proven_at
    if user.email_proven_at is not None:
        return
    user.email_proven_at = timezone.now()
    user.save(update_fields=["email_proven_at"])
    changes = {"email_proven_at": (None, user.email_proven_at.isoformat())}
    _record_update(user, actor, "known to have this address", changes)


@transaction.atomic
def user_sessions_end(*, user: User, actor: audit.Actor) -> None:
    """End all sessions of a person at once; who wants to keep his own renews its hash."""
    User.objects.filter(pk=user.pk).update(sessions_ended=F("sessions_ended") + 1)
    user.refresh_from_db(fields=["sessions_ended"])
    _record_update(user, actor, "signed out everywhere", {"sessions": ("open", "ended")})


@transaction.atomic
def own_key_revoke(*, user: User, key_id: UUID, actor: audit.Actor) -> ApiKey:
    """End a key of a person's that is bound to no organization; nothing happens to one that was revoked before.

    Raises:
        Http404: the person has no such key.
    """
    key = ApiKey.objects.filter(pk=key_id, user=user, organization=None).first()
    if key is None:
        raise Http404
    api_key_revoke(key=key, actor=actor)
    return key


@transaction.atomic
def second_factor_record(*, user: User, actor: audit.Actor, is_on: bool) -> None:
    """Note that a person's second factor was set up or removed, in the transaction of that change."""
    told = "given a second factor" if is_on else "without a second factor from now on"
    _record_update(user, actor, told, {"second_factor": (not is_on, is_on)})


@transaction.atomic
def recovery_codes_record(*, user: User, actor: audit.Actor) -> None:
    """Note that a person's recovery codes were replaced, in the transaction of that change."""
    _record_update(user, actor, "given new recovery codes", {"recovery_codes": ("set", "replaced")})


@transaction.atomic
def identity_record(*, user: User, actor: audit.Actor) -> None:
    """Note that a person may sign in through the identity provider from now on, in the transaction of that change."""
    _record_update(user, actor, "connected with the identity provider", {"identity": (None, "connected")})


@transaction.atomic
def second_factor_remove(*, user: User, actor: audit.Actor) -> None:
    """Let another person in with the password alone from now on; recovery codes go too.

    Nothing is written for somebody who has no second factor.

    Raises:
        ValidationError: it is the acting person's own, for which there is a page that asks for the password.
    """
    if user.pk == actor.id:
        raise ValidationError("Your own second factor you remove on the page of your account.")
    lock_user(user.pk)
    deleted, _ = Authenticator.objects.filter(user=user).delete()
    if deleted:
        second_factor_record(user=user, actor=actor, is_on=False)


def _record_update(user: User, actor: audit.Actor, told: str, changes: audit.Changes) -> None:
    audit.record(
        AuditAction.USER_UPDATED,
        organization=None,
        actor=actor,
        message=f"User {user.email} {told}",
        changes=changes,
        target_kind="user",
        target_id=str(user.pk),
    )
