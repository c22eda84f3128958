"""Reading which models there are for an organization, and what became of its routing."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final
from uuid import UUID

from django.db import connection

from byok.encryption import SealedSecret, SecretOwner
from byok.providers import PROVIDERS, Provider
from byok.selectors import StoredCredential, personal_credentials, providers_of, stored_credential
from kilo_gateway.api_errors import ErrorType, GatewayError
from organizations.models import Membership, Organization, User
from routing.catalog.cache import CatalogUnreadable
from routing.catalog.index import CatalogIndex, CatalogProvider, current_index
from routing.catalog.parse import provider_slug
from routing.catalog.status import CatalogStatus, status_of
from routing.catalog.tiers import tier_table
from routing.direct import without_secrets
from routing.domain.policy import denied_directly, judge, policy_in_force
from routing.domain.settings import MalformedSettings, RoutingSettings, parse_settings, state_of
from routing.domain.targets import Owner, ValidTarget, validate_target
from routing.domain.types import (
    DEFAULT_FALLBACK,
    ENTERPRISE,
    ORGANIZATION_AUTO,
    CatalogModel,
    Refusal,
    RefusalCode,
    Tier,
    TierTable,
    Trace,
    World,
)
from routing.listing import Entry, direct_entries, listing_of, organization_auto_entry, tier_entries
from routing.models import HostedBalance, Installation
from routing.proxy.identity import Stamp

# What a client uses that was told nothing else.
DEFAULT_MODEL = DEFAULT_FALLBACK
DEFAULT_FREE_MODEL = Tier.FREE.model_id


def current_stamp(routing_version: int = 0) -> Stamp:
    """The catalog snapshot and the tier version in force. One query.

    Raises:
        CatalogUnreadable: the installation has no catalog.
    """
    row = Installation.objects.filter(pk=1).values_list("catalog_snapshot_id", "tier_version").first()
    if row is None:
        raise _no_catalog()
    return Stamp(routing_version, *row)


# There is a row without a credential where there is none.
_INPUTS: Final = """
SELECT i.catalog_snapshot_id, i.tier_version, i.catalog_checked_at, i.catalog_error,
       EXISTS (SELECT FROM byok_customprovider p WHERE p.organization_id = %(organization)s),
       c.id, c.provider, c.key_id, c.ciphertext, c.offered_models
FROM routing_installation i
LEFT JOIN byok_credential c ON c.organization_id = %(organization)s AND c.is_enabled
WHERE i.id = 1
"""


@dataclass(frozen=True, slots=True)
class Inputs:
    """What routing depends on beside an organization's settings: the catalog and the tiers in force, and its keys."""

    stamp: Stamp
    index: CatalogIndex
    tiers: TierTable
    catalog: CatalogStatus
    credentials: Mapping[str, StoredCredential]
    providers: Mapping[str, Provider]


def routing_inputs(organization_id: UUID | None) -> Inputs:
    """Read it all: one query, three for an organization with providers of its own. None has no keys.

    Raises:
        CatalogUnreadable: the catalog or the tiers cannot be read.
    """
    with connection.cursor() as cursor:
        cursor.execute(_INPUTS, {"organization": organization_id})
        rows = cursor.fetchall()
    if not rows:
        raise _no_catalog()
    snapshot_id, tier_version, checked_at, error, has_own = rows[0][:5]
    index = current_index(snapshot_id)
    credentials = {}
    for credential_id, provider_id, key_id, ciphertext, offered in (row[5:] for row in rows):
        if organization_id is not None and credential_id is not None:
            owner, sealed = SecretOwner.organization(organization_id), SealedSecret(key_id, bytes(ciphertext))
            models = None if offered is None else json.loads(offered)
            credentials[provider_id] = stored_credential(credential_id, owner, provider_id, sealed, models)
    return Inputs(
        stamp=Stamp(0, snapshot_id, tier_version),
        index=index,
        tiers=tier_table(tier_version),
        catalog=status_of(index.origin, index.source, checked_at, error),
        credentials=credentials,
        providers=providers_of(organization_id) if has_own and organization_id is not None else PROVIDERS,
    )


def _no_catalog() -> CatalogUnreadable:
    return CatalogUnreadable("The installation has no catalog: its database is not migrated.")


@dataclass(frozen=True, slots=True)
class Offer:
    """What the installation offers, and to whom: an organization, or (None) a person who acts for none."""

    index: CatalogIndex
    tiers: TierTable
    catalog: CatalogStatus
    organization: Organization | None
    settings: RoutingSettings
    providers: Mapping[str, Provider]
    credentials: Mapping[str, StoredCredential]
    stamp: Stamp

    @property
    def plan(self) -> str:
        return self.organization.plan if self.organization else ""

    def verdict_on(self, model: CatalogModel) -> tuple[str, ...] | Refusal | None:
        """The policy's judgement of a hosted model; see `routing.domain.policy.judge`."""
        return judge(model, self.plan, self.settings)


def offer_to(organization: Organization | None, *, person: User | None = None) -> Offer:
    """Read what an organization is offered: one query, three when it has providers of its own.

    Without an organization it is what everybody is offered, which is one query, and for a person his own keys, which is
    one more.

    Raises:
        CatalogUnreadable: the catalog cannot be read, so nobody knows what is allowed.
        GatewayError: 409 when the organization's stored policy cannot be read, which is not "no policy".
    """
    found = routing_inputs(organization.pk if organization is not None else None)
    settings, credentials = RoutingSettings(), found.credentials
    if organization is not None:
        settings = _settings_of(organization)
    elif person is not None:
        credentials = personal_credentials(person.pk)
    return Offer(
        index=found.index,
        tiers=found.tiers,
        catalog=found.catalog,
        organization=organization,
        settings=settings,
        providers=found.providers,
        credentials=credentials,
        stamp=found.stamp,
    )


def _settings_of(organization: Organization) -> RoutingSettings:
    try:
        return parse_settings(organization.settings)
    except MalformedSettings as error:
        raise GatewayError(
            ErrorType.CONFLICT,
            409,
            f"The organization's routing settings are malformed: {error}.",
            code=RefusalCode.MALFORMED_SETTINGS,
        ) from error


def model_entries(offer: Offer) -> list[Entry]:
    """The models that a client may ask for: Organization Auto, auto tiers, hosted models, direct models. No query.

    Organization Auto comes first, while it is enabled. Tiers are left out under a model policy, because they can move
    to a model that it refuses. The entries are shared: nothing in them may be changed.
    """
    listing = listing_of(offer.index)
    entries: list[Entry] = []
    auto = offer.settings.organization_auto
    tiers = tier_entries(offer.tiers, listing)
    if auto is not None and state_of(offer.plan, offer.settings).enabled:
        entries.append(organization_auto_entry(auto, tiers, offer.providers, listing))
    if not policy_in_force(offer.plan, offer.settings):
        entries += tiers
    entries += [entry for model, entry in listing.hosted if not isinstance(offer.verdict_on(model), Refusal)]
    entries += [
        entry
        for entry in direct_entries(offer.credentials.values(), offer.providers, listing)
        if denied_directly(entry["id"], offer.plan, offer.settings) is None
    ]
    return entries


@dataclass(frozen=True, slots=True)
class Defaults:
    """The model that a client uses when nobody chose one; `free_model` is None when no free one is allowed."""

    model: str
    free_model: str | None


def defaults_of(offer: Offer) -> Defaults:
    """Which model a client of this organization starts with. No query.

    Organization Auto while it is enabled and its fallback is valid; else the stored default, the installation's own,
    the first hosted model: the first of these that is allowed.

    Raises:
        GatewayError: 409 when nothing is allowed.
    """
    if offer.organization is None:
        return Defaults(DEFAULT_MODEL, DEFAULT_FREE_MODEL)
    auto = offer.settings.organization_auto
    candidates = [offer.settings.default_model, DEFAULT_MODEL]
    if auto is not None and state_of(offer.plan, offer.settings).enabled and _is_valid(offer, auto.fallback_model):
        model: str | None = ORGANIZATION_AUTO
    else:
        model = next((found for target in candidates if (found := _is_valid(offer, target))), None)
    model = model or _first_hosted(offer)
    if model is None:
        raise GatewayError(ErrorType.CONFLICT, 409, "The model policy of the organization allows no model at all.")
    return Defaults(model, _is_valid(offer, DEFAULT_FREE_MODEL) or _first_hosted(offer, only_free=True))


def _is_valid(offer: Offer, target: str | None) -> str | None:
    """The canonical id of a target that may be used now."""
    if not target:
        return None
    owner = Owner(offer.plan, offer.settings, without_secrets(offer.credentials, offer.providers))
    world = World(offer.index.models, offer.providers, offer.tiers)
    found = validate_target(target, owner, world, mode="", api_kind=None, trace=Trace())
    return found.id if isinstance(found, ValidTarget) else None


def _first_hosted(offer: Offer, *, only_free: bool = False) -> str | None:
    """The first allowed model of the catalog that takes tools, which agents need; else the first allowed one."""
    first: str | None = None
    for model, entry in listing_of(offer.index).hosted:
        if (only_free and not model.pricing.is_free) or isinstance(offer.verdict_on(model), Refusal):
            continue
        if not entry["supported_parameters"] or "tools" in entry["supported_parameters"]:
            return model.id
        first = first or model.id
    return first


def serving_providers(offer: Offer, model_id: str) -> dict[str, Any]:
    """A hosted model with the providers that may serve it, in OpenRouter's shape. No query.

    Raises:
        GatewayError: 404 for a model that is not in the catalog or that the policy refuses.
    """
    model_id = model_id.strip().lower()
    entry = listing_of(offer.index).by_id.get(model_id)
    if entry is None:
        raise GatewayError(ErrorType.MODEL_NOT_FOUND, 404, "There is no such model in the catalog.")
    verdict = offer.verdict_on(offer.index.models[model_id])
    if isinstance(verdict, Refusal):
        raise GatewayError(ErrorType.MODEL_NOT_ALLOWED, 404, verdict.message, code=verdict.code)
    endpoints = [
        endpoint
        for endpoint in offer.index.serving(model_id)
        if verdict is None or provider_slug(endpoint["tag"]) in verdict
    ]
    kept = ("id", "name", "created", "description", "architecture")
    return {**{key: entry[key] for key in kept}, "endpoints": endpoints}


def allowed_providers(offer: Offer) -> list[CatalogProvider]:
    """The providers that serve hosted models, those only that the model policy allows. No query."""
    allowed = offer.settings.provider_allow_list if offer.plan == ENTERPRISE else None
    return [provider for provider in offer.index.providers() if allowed is None or provider.slug in allowed]


def balances_of(memberships: list[Membership]) -> dict[UUID, int]:
    """The hosted balance of these organizations in microdollars; one for which none is kept is absent. One query."""
    ids = [membership.organization_id for membership in memberships]
    rows = HostedBalance.objects.filter(organization_id__in=ids) if ids else HostedBalance.objects.none()
    balances = rows.values_list("organization_id", "balance_microdollars")
    return {organization_id: balance for organization_id, balance in balances if balance is not None}
