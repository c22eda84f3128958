"""Who makes a change, as every service is told."""

from __future__ import annotations

from dataclasses import dataclass
from uuid import UUID

from organizations import audit
from organizations.models import Organization, User
from organizations.release_toggle import require_release_toggle


@dataclass(frozen=True, slots=True)
class Acting:
    """Who makes a change.

    Attributes:
        actor: How the audit log names him.
        user: The member whose role decides; None for staff and for the installation itself, who may do everything.
        expected_version: The routing version that he has seen, if he says so; another one refuses the change.
    """

    actor: audit.Actor
    user: User | None = None
    expected_version: int | None = None

    def require_toggle(self, organization_id: UUID) -> None:
        """Ask the release toggle for this person; may call the network, so it comes before the lock.

        Raises:
            GatewayError: 403 `release_toggle_off`.
        """
        if self.user is not None:
            require_release_toggle(self.user, Organization(pk=organization_id))
