"""The entries of the navigation, and what else stands beside a page."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final
from uuid import UUID

from organizations.models import Plan, Role


@dataclass(frozen=True, slots=True)
class Entry:
    """A link to a section of an organization's pages."""

    key: str
    label: str
    icon: str
    href: str
    is_current: bool


@dataclass(frozen=True, slots=True)
class Choice:
    """An organization that the person can go to."""

    name: str
    role: str
    href: str
    is_current: bool


# By group: key (a page says it to be marked), label, icon, and the path below the organization.
SECTIONS: Final = (
    ("", (("overview", "Overview", "home", ""),)),
    (
        "Routing",
        (
            ("modes", "Modes", "modes", "modes"),
            ("providers-and-models", "Providers & Models", "models", "providers-and-models"),
            ("byok", "Provider keys", "credential", "byok"),
            ("explain", "Explain", "route", "explain"),
            ("history", "History", "history", "history"),
        ),
    ),
    (
        "Access",
        (
            ("members", "Members", "members", "members"),
            ("api-keys", "API keys", "key", "api-keys"),
        ),
    ),
    (
        "Records",
        (
            ("usage", "Usage", "usage", "usage"),
            ("audit-logs", "Audit log", "audit", "audit-logs"),
        ),
    ),
)


def organization_path(organization_id: UUID) -> str:
    """Where the pages of an organization begin: its Overview."""
    return f"/organizations/{organization_id}/"


def navigation(organization_id: UUID, current: str) -> tuple[tuple[str, tuple[Entry, ...]], ...]:
    """The groups with their entries; the current section is marked."""
    start = organization_path(organization_id)
    return tuple(
        (title, tuple(Entry(key, label, icon, start + rest, key == current) for key, label, icon, rest in entries))
        for title, entries in SECTIONS
    )


@dataclass(frozen=True, slots=True)
class Menus:
    """All that stands beside the pages of an organization: where else one can go, and who one is.

    Attributes:
        memberships: Name, role and id of each organization that the person belongs to.
    """

    organization_id: UUID
    organization_name: str
    plan: str
    section: str
    memberships: tuple[tuple[str, str, UUID], ...]
    user_id: UUID
    user_name: str
    email: str
    role: str
    is_staff: bool

    @property
    def plan_told(self) -> str:
        return str(Plan(self.plan).label)

    @property
    def role_told(self) -> str:
        return str(Role(self.role).label)

    @property
    def organizations(self) -> tuple[Choice, ...]:
        """Those that the person belongs to."""
        return tuple(
            Choice(name, str(Role(role).label), organization_path(pk), pk == self.organization_id)
            for name, role, pk in self.memberships
        )

    @property
    def navigation(self) -> tuple[tuple[str, tuple[Entry, ...]], ...]:
        return navigation(self.organization_id, self.section)
