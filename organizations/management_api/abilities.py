"""What may be read only by some roles. Changes are not checked here: their services do that, under the lock."""

from __future__ import annotations

from organizations.models import Membership
from organizations.permissions import Ability, may
from organizations.refusals import role_required


def require(membership: Membership, ability: Ability, message: str) -> None:
    """Raises 403 `role_required` with this message when the member's role does not allow it."""
    if not may(membership.role, ability):
        raise role_required(message)
