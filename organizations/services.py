"""Changing organizations: each change takes the lock on the organization's row, is audited, and is one transaction."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

from django.db import transaction

from kilo_gateway.api_errors import ErrorType, GatewayError
from organizations import audit
from organizations.models import (
    ApiKey,
    AuditAction,
    AuditLog,
    Membership,
    Organization,
    Plan,
    Role,
    SettingsVersion,
    User,
)


@transaction.atomic
def organization_create(
    *, name: str, plan: Plan, owner: User, actor: audit.Actor, organization_id: UUID | None = None
) -> Organization:
    """A new organization with its first owner and the first version of its (empty) settings.

    Raises:
        ValidationError: a field has no valid value.
    """
    organization = Organization(pk=organization_id or uuid4(), name=name.strip(), plan=plan, settings={})
    organization.full_clean()
    organization.save(force_insert=True)
    row = audit.record(
        AuditAction.ORGANIZATION_CREATED,
        organization=organization,
        actor=actor,
        message=f'Organization "{organization.name}" created with the plan {organization.plan}',
        changes={"name": (None, organization.name), "plan": (None, str(organization.plan))},
        target_kind="organization",
        target_id=str(organization.pk),
    )
    settings_version_keep(organization, actor, row)
    membership_add(organization=organization, user=owner, role=Role.OWNER, actor=actor)
    return organization


@transaction.atomic
def membership_add(*, organization: Organization, user: User, role: Role, actor: audit.Actor) -> Membership:
    """Make a person a member.

    Raises:
        ValidationError: the person is one already, or the role is none.
    """
    lock_organization(organization.pk)
    membership = Membership(organization=organization, user=user, role=role)
    membership.full_clean()
    membership.save(force_insert=True)
    audit.record(
        AuditAction.MEMBER_ADDED,
        organization=organization,
        actor=actor,
        message=f"{user.email} added as {membership.get_role_display().lower()}",
        changes={"role": (None, str(membership.role))},
        target_kind="user",
        target_id=str(user.pk),
    )
    return membership


@transaction.atomic
def organization_settings_write(
    *,
    organization: Organization,
    settings: Mapping[str, Any],
    actor: audit.Actor,
    action: AuditAction,
    message: str,
    changes: audit.Changes,
) -> Organization:
    """Replace the settings, audited, as a new routing version; the version is kept in the history.

    Nothing is written when nothing changes. Whoever calls this has decided that the settings are valid, in the same
    transaction and under the lock (`lock_organization`) if that depends on anything stored.

    Returns:
        The organization as it is now.
    """
    locked = lock_organization(organization.pk)
    if locked.settings == dict(settings):
        return locked
    locked.settings = dict(settings)
    # The name is not what is written: one that is older than its rules is in nobody's way.
    locked.full_clean(exclude={"name"})
    routing_version_raise(locked)
    row = audit.record(
        action,
        organization=locked,
        actor=actor,
        message=message,
        changes=changes,
        target_kind="organization",
        target_id=str(locked.pk),
    )
    settings_version_keep(locked, actor, row)
    return locked


def routing_version_raise(organization: Organization) -> None:
    """Save a locked organization under its next routing version, so that no remembered decision is used again."""
    organization.routing_version += 1
    organization.save(update_fields=["settings", "plan", "routing_version", "updated_at"])


def lock_organization(organization_id: UUID) -> Organization:
    """The organization's row, locked until the transaction ends: every change that can change a decision starts here.

    `FOR NO KEY UPDATE`: it excludes all other such changes and every resolution, but not inserts of rows that merely
    refer to the organization.
    """
    return Organization.objects.select_for_update(no_key=True).get(pk=organization_id)


def lock_user(user_id: UUID) -> User:
    """The person's row, locked until the transaction ends: every change of an account and of what it owns starts here.

    Before the lock of any organization. `FOR NO KEY UPDATE`, as for those. Raises `User.DoesNotExist`.
    """
    return User.objects.select_for_update(no_key=True).get(pk=user_id)


def lock_same_user(user: User) -> User:
    """The locked row of somebody who acts, and may still: whose account this is was not shown since he was let in.

    What is written under this lock is seen by whoever proves the address later, and ended with all the rest.

    Raises:
        GatewayError: 401 `signed_out`: the address was proven meanwhile, or the account is closed or gone.
    """
    locked = User.objects.select_for_update(no_key=True).filter(pk=user.pk).first()
    if locked is None or not locked.is_active or locked.email_proven_at != user.email_proven_at:
        raise GatewayError(
            ErrorType.AUTHENTICATION_REQUIRED,
            401,
            "Your access has ended meanwhile, and nothing was changed. Sign in again.",
            code="signed_out",
        )
    return locked


def settings_version_keep(organization: Organization, actor: audit.Actor, row: AuditLog) -> None:
    """Keep the settings of a locked organization as the version that it is at now."""
    SettingsVersion.objects.create(
        organization=organization,
        routing_version=organization.routing_version,
        settings=organization.settings,
        actor_id=actor.id,
        actor_email=actor.email,
        audit_log=row,
    )


@transaction.atomic
def api_key_revoke(*, key: ApiKey, actor: audit.Actor) -> None:
    """End a key for good; nothing happens to one that has been revoked.

    Takes the lock of its organization, or of its person when it is bound to none.
    """
    if key.organization_id is not None:
        lock_organization(key.organization_id)
    else:
        lock_user(key.user_id)
    locked = ApiKey.objects.select_for_update().get(pk=key.pk)
    if locked.revoked_at is not None:
        return
    locked.revoked_at = datetime.now(UTC)
    locked.save(update_fields=["revoked_at"])
    audit.record(
        AuditAction.API_KEY_REVOKED,
        organization=locked.organization,
        actor=actor,
        message=f'API key "{locked.name}" (…{locked.last_four}) of {locked.user.email} revoked',
        changes={"revoked_at": (None, locked.revoked_at.isoformat())},
        target_kind="api_key",
        target_id=str(locked.pk),
    )
