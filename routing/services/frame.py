"""What every change of routing has in common: the frame of all changes, what routes depend on, and one way to write.

Nothing here calls the network. The release toggle may, so it is asked before the transaction begins.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from byok.providers import Provider
from byok.selectors import enabled_credentials
from kilo_gateway.api_errors import temporarily_unavailable
from organizations import frame
from organizations.acting import Acting
from organizations.models import AuditLog, Organization
from organizations.services import routing_version_raise, settings_version_keep
from routing.catalog.cache import CatalogUnreadable
from routing.catalog.index import CatalogIndex, load_current_index
from routing.catalog.tiers import load_tier_table
from routing.direct import direct_providers, without_secrets
from routing.domain.settings import MalformedSettings, RoutingSettings, parse_settings
from routing.domain.targets import Owner, ValidTarget, validate_target
from routing.domain.types import ENTERPRISE, Refusal, Tier, TierTable, Trace, World
from routing.services.refusals import invalid, plan_required

__all__ = ["Acting", "Change", "changing", "stored_auto"]


@dataclass(slots=True)
class Change(frame.Change):
    """A change in the making: the locked organization, and what was read in the same transaction.

    `settings` is a copy to be edited; `commit` writes it once, if it differs from what is stored.
    """

    world: World
    owner: Owner
    settings: dict[str, Any] = field(default_factory=dict)

    @property
    def parsed(self) -> RoutingSettings:
        """The settings as edited so far."""
        return parse_settings(self.settings)

    def require_enterprise(self) -> None:
        """Raises 403 `plan_required`."""
        if self.organization.plan != ENTERPRISE:
            raise plan_required()

    def validate(self, target: str) -> ValidTarget | Refusal:
        """Validate a target against the locked row, the settings as edited so far, and the credentials read here."""
        owner = Owner(self.owner.plan, self.parsed, self.owner.credentials)
        return validate_target(target, owner, self.world, mode="", api_kind=None, trace=Trace())

    def commit(self, row: AuditLog) -> None:
        """Store the edited settings, and the plan, as the next routing version, kept beside the audit row."""
        self.organization.settings = self.settings
        routing_version_raise(self.organization)
        settings_version_keep(self.organization, self.acting.actor, row)


@contextmanager
def changing(organization_id: UUID, acting: Acting) -> Iterator[Change]:
    """One transaction that first locks the organization's row.

    The role of the acting person, the settings, the credentials, the catalog and the tiers are read in it, after the
    lock: what is validated is what will be there when the change is. (The catalog is also loaded before, so that the
    lock is not held while a large one is compiled.)

    Raises:
        Http404: no such organization, or the person does not belong to it.
        GatewayError: 412 when the routing version is not the expected one; 400 when the stored settings are malformed;
            503 when the catalog cannot be read.
    """
    _catalog()
    with frame.changing(organization_id, acting) as change:
        organization = change.organization
        providers = direct_providers(organization)
        yield Change(
            organization=organization,
            acting=acting,
            role=change.role,
            world=_world(providers),
            owner=_owner(organization, providers),
            settings=copy.deepcopy(organization.settings),
        )


def _catalog() -> tuple[CatalogIndex, TierTable]:
    try:
        return load_current_index(), load_tier_table()
    except CatalogUnreadable as error:
        raise temporarily_unavailable(str(error), code="catalog_unavailable") from None


def _world(providers: Mapping[str, Provider]) -> World:
    index, tiers = _catalog()
    return World(index.models, providers, tiers)


def _owner(organization: Organization, providers: Mapping[str, Provider]) -> Owner:
    try:
        settings = parse_settings(organization.settings)
    except MalformedSettings as error:
        raise invalid("settings", f"The stored settings are malformed, and staff has to mend them: {error}.") from None
    credentials = enabled_credentials(organization.pk)
    return Owner(organization.plan, settings, without_secrets(credentials, providers))


def stored_auto(settings: Mapping[str, Any]) -> dict[str, Any]:
    """The routes and the fallback as stored, as a copy; the defaults where nothing is stored yet.

    What is stored without a fallback has none.
    """
    stored = settings.get("org_auto_model")
    if stored is None:
        return {"routes": {}, "fallback_model": Tier.BALANCED.model_id}
    return {"routes": {}, "fallback_model": None, **copy.deepcopy(stored)}
