"""What every change of routing has in common: one transaction, one lock, the acting person's rights, one way to write.

Nothing here calls the network. The release toggle may, so it is asked before the transaction begins.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from django.db import transaction
from django.http import Http404

from byok.selectors import enabled_credentials
from kilo_gateway.api_errors import temporarily_unavailable
from organizations import audit
from organizations.acting import Acting
from organizations.models import AuditAction, AuditLog, Membership, Organization
from organizations.permissions import Ability, may
from organizations.services import lock_organization, routing_version_raise, settings_version_keep
from routing.catalog.cache import CatalogUnreadable
from routing.catalog.index import CatalogIndex, load_current_index
from routing.catalog.tiers import load_tier_table
from routing.direct import direct_providers, without_secret
from routing.domain.settings import MalformedSettings, RoutingSettings, parse_settings
from routing.domain.targets import Owner, ValidTarget, validate_target
from routing.domain.types import ENTERPRISE, Refusal, TierTable, Trace, World
from routing.services.refusals import invalid, moved_on, plan_required, role_required

__all__ = ["Acting", "Change", "changing", "stored_auto"]


@dataclass(slots=True)
class Change:
    """A change in the making: the locked organization, and what was read in the same transaction.

    `settings` is a copy to be edited; `commit` writes it once, if it differs from what is stored.
    """

    organization: Organization
    acting: Acting
    role: str
    world: World
    owner: Owner
    settings: dict[str, Any] = field(default_factory=dict)

    @property
    def parsed(self) -> RoutingSettings:
        """The settings as edited so far."""
        return parse_settings(self.settings)

    def may(self, ability: Ability) -> bool:
        """Whether the acting person may do this."""
        return self.acting.user is None or may(self.role, ability)

    def require(self, ability: Ability, message: str) -> None:
        """Raises 403 `role_required` with this message when he may not."""
        if not self.may(ability):
            raise role_required(message)

    def require_enterprise(self) -> None:
        """Raises 403 `plan_required`."""
        if self.organization.plan != ENTERPRISE:
            raise plan_required()

    def validate(self, target: str) -> ValidTarget | Refusal:
        """Validate a target against the locked row, the settings as edited so far, and the credentials read here."""
        owner = Owner(self.owner.plan, self.parsed, self.owner.credentials)
        return validate_target(target, owner, self.world, mode="", api_kind=None, trace=Trace())

    def record(
        self,
        action: AuditAction,
        message: str,
        changes: audit.Changes,
        *,
        target_kind: str = "organization",
        target_id: str = "",
    ) -> AuditLog:
        """Write one audit row for a part of this change."""
        return audit.record(
            action,
            organization=self.organization,
            actor=self.acting.actor,
            message=message,
            changes=changes,
            target_kind=target_kind,
            target_id=target_id or str(self.organization.pk),
        )

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
    with transaction.atomic():
        try:
            organization = lock_organization(organization_id)
        except Organization.DoesNotExist:
            raise Http404 from None
        role = _role(organization, acting)
        expected = acting.expected_version
        if expected is not None and expected != organization.routing_version:
            raise moved_on(expected, organization.routing_version)
        yield Change(
            organization=organization,
            acting=acting,
            role=role,
            world=_world(organization),
            owner=_owner(organization),
            settings=copy.deepcopy(organization.settings),
        )


def _catalog() -> tuple[CatalogIndex, TierTable]:
    try:
        return load_current_index(), load_tier_table()
    except CatalogUnreadable as error:
        raise temporarily_unavailable(str(error), code="catalog_unavailable") from None


def _world(organization: Organization) -> World:
    index, tiers = _catalog()
    return World(index.models, direct_providers(organization), tiers)


def _role(organization: Organization, acting: Acting) -> str:
    if acting.user is None:
        return ""
    role = Membership.objects.filter(organization=organization, user=acting.user).values_list("role", flat=True).first()
    if role is None:
        raise Http404
    return role


def _owner(organization: Organization) -> Owner:
    try:
        settings = parse_settings(organization.settings)
    except MalformedSettings as error:
        raise invalid("settings", f"The stored settings are malformed, and staff has to mend them: {error}.") from None
    credentials = enabled_credentials(organization.pk)
    return Owner(organization.plan, settings, {key: without_secret(value) for key, value in credentials.items()})


def stored_auto(settings: Mapping[str, Any]) -> dict[str, Any]:
    """The routes and the fallback as stored, as a copy; the defaults where nothing is stored yet."""
    stored = settings.get("org_auto_model") or {}
    return {"routes": {}, "fallback_model": "kilo-auto/balanced", **copy.deepcopy(stored)}
