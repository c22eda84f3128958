"""What every change of an organization has in common: one transaction, one lock, the acting person's rights.

Changes of people raise no routing version: each request reads the membership and the key anew. Whatever else can change
a decision does; `routing.services.frame` builds on this one and also reads what routes depend on.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from uuid import UUID

from django.db import transaction
from django.http import Http404

from organizations import audit
from organizations.acting import Acting
from organizations.models import AuditAction, AuditLog, Membership, Organization, Role
from organizations.permissions import Ability, may
from organizations.refusals import moved_on, role_required
from organizations.services import lock_organization, lock_same_user


@dataclass(slots=True)
class Change:
    """A change in the making: the locked organization, and what the acting person is in it now.

    Attributes:
        role: Empty for staff and for the installation itself, who may do everything.
    """

    organization: Organization
    acting: Acting
    role: str

    @property
    def is_by_owner(self) -> bool:
        """Whether an owner, or somebody above owners, makes the change."""
        return self.acting.user is None or self.role == Role.OWNER

    def may(self, ability: Ability) -> bool:
        """Whether the acting person may do this."""
        return self.acting.user is None or may(self.role, ability)

    def require(self, ability: Ability, message: str) -> None:
        """Raises 403 `role_required` with this message when he may not."""
        if not self.may(ability):
            raise role_required(message)

    def record(
        self,
        action: AuditAction,
        message: str,
        changes: audit.Changes,
        *,
        target_kind: str = "organization",
        target_id: UUID | str = "",
    ) -> AuditLog:
        """Write one audit row for a part of this change; about the organization itself unless a target is named."""
        return audit.record(
            action,
            organization=self.organization,
            actor=self.acting.actor,
            message=message,
            changes=changes,
            target_kind=target_kind,
            target_id=str(target_id or self.organization.pk),
        )


@contextmanager
def changing(organization_id: UUID, acting: Acting, *, for_oneself: bool = False) -> Iterator[Change]:
    """One transaction that first locks the organization's row, then reads the role of the acting person.

    Args:
        for_oneself: What is made lets the acting person in, so his own row is locked before, and read again.

    Raises:
        Http404: no such organization, or the person does not belong to it (any more).
        GatewayError: 412 when the routing version is not the expected one; 401 of `lock_same_user`.
    """
    with transaction.atomic():
        if for_oneself and acting.user is not None:
            lock_same_user(acting.user)
        try:
            organization = lock_organization(organization_id)
        except Organization.DoesNotExist:
            raise Http404 from None
        role = _role(organization, acting)
        expected = acting.expected_version
        if expected is not None and expected != organization.routing_version:
            raise moved_on(expected, organization.routing_version)
        yield Change(organization, acting, role)


def _role(organization: Organization, acting: Acting) -> str:
    if acting.user is None:
        return ""
    role = Membership.objects.filter(organization=organization, user=acting.user).values_list("role", flat=True).first()
    if role is None:
        raise Http404
    return role
