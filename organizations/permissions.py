"""Who may do what in an organization: one table, which pages and API ask alike."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType
from typing import Final

from organizations.models import Role


class Ability(StrEnum):
    """Something that a role allows; each is one row of the table of roles."""

    # Modes, models, routes, explanations, one's own usage, the list of credentials.
    VIEW = "view"
    # Modes without a route: create, edit, delete.
    EDIT_MODES = "edit_modes"
    # Routes, fallback, default behaviour, model policy, renaming or deleting a routed mode, restoring a version.
    CONFIGURE_ROUTING = "configure_routing"
    # Storing and testing provider keys, custom providers.
    MANAGE_CREDENTIALS = "manage_credentials"
    # Data collection, spending limits, the usage of the whole organization.
    MANAGE_SPENDING = "manage_spending"
    READ_AUDIT_LOG = "read_audit_log"
    # Members, invitations, other people's API keys.
    MANAGE_MEMBERS = "manage_members"
    OWN_API_KEYS = "own_api_keys"


_EVERYONE: Final = frozenset(Role)
_ADMINS: Final = frozenset({Role.OWNER, Role.ADMIN})
_ADMINS_AND_BILLING: Final = _ADMINS | {Role.BILLING_MANAGER}

ABILITIES: Final[Mapping[Ability, frozenset[Role]]] = MappingProxyType(
    {
        Ability.VIEW: _EVERYONE,
        Ability.EDIT_MODES: _EVERYONE,
        Ability.CONFIGURE_ROUTING: _ADMINS,
        Ability.MANAGE_CREDENTIALS: _ADMINS_AND_BILLING,
        Ability.MANAGE_SPENDING: _ADMINS_AND_BILLING,
        Ability.READ_AUDIT_LOG: _ADMINS_AND_BILLING,
        Ability.MANAGE_MEMBERS: _ADMINS,
        Ability.OWN_API_KEYS: _EVERYONE,
    }
)


# What an ability is for, after "Only owners and admins ...".
_DOING: Final[Mapping[Ability, str]] = MappingProxyType(
    {
        Ability.VIEW: "see this",
        Ability.EDIT_MODES: "edit modes",
        Ability.CONFIGURE_ROUTING: "change routes, the fallback and the model policy",
        Ability.MANAGE_CREDENTIALS: "manage provider keys",
        Ability.MANAGE_SPENDING: "see the organization's usage and set its limits",
        Ability.READ_AUDIT_LOG: "read the audit log",
        Ability.MANAGE_MEMBERS: "manage members",
        Ability.OWN_API_KEYS: "have API keys",
    }
)
_PLURALS: Final = ((Role.OWNER, "owners"), (Role.ADMIN, "admins"), (Role.BILLING_MANAGER, "billing managers"))


def may(role: Role | str, ability: Ability) -> bool:
    """Whether a member with this role may do it; a role that nobody knows may nothing."""
    return role in ABILITIES[ability]


def reason(ability: Ability) -> str:
    """Why somebody may not: who may, as a sentence for him."""
    who = [plural for role, plural in _PLURALS if may(role, ability)]
    *others, last = who
    return f"Only {', '.join(others)} and {last} {_DOING[ability]}."
